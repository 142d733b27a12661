"""Payloads between the machine and the engines that read and write memory."""

from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

REQUEST = data.StructLayout({"first": 32, "count": 24})
"""Beats from ``first`` on, ``count`` of them: the beats of the port, or of the machine's side where
that is wider. One that leaves the memory, or asks for no beat, is refused."""
ANSWER = data.StructLayout({"error": 1})
"""A request to write has been answered; ``error`` if it was refused or a part of it failed."""


def beat_layout(shape: data.ArrayLayout) -> data.StructLayout:
    """Return a beat that was read: ``last`` of its request, ``error`` if the memory said so.

    A request that is refused gives one beat, with ``error`` and ``last`` set.
    """
    return data.StructLayout({"data": shape, "error": 1, "last": 1})


def store_layout(shape: data.ArrayLayout) -> data.StructLayout:
    """Return a beat to write, and which of its bytes."""
    return data.StructLayout({"data": shape, "strobe": width_of(shape) // 8})


def width_of(shape: Any) -> int:
    """Return the width of a shape in bits."""
    return int(Shape.cast(shape).width)
