"""Pack arrays into the payloads of streams, and back."""

from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import NDArray

Fields = dict[str, Any]
"""An array of integers for each field of a payload: [count] for a plain field, [count, ...] for an
array field, a nested dictionary for a struct field. A payload without fields is ``{"": array}``."""


def width_of(shape: Any) -> int:
    """Return the width of `shape` in bits."""
    return int(Shape.cast(shape).width)


def pack(shape: Any, values: Any) -> NDArray[np.uint8]:
    """Pack values [count, ...] into bytes [count, ceil(width / 8)], least significant first.

    Negative integers are taken modulo the field's width.
    """
    bits = _to_bits(shape, values)
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack(shape: Any, raw: NDArray[np.uint8]) -> Any:
    """Unpack bytes [count, ceil(width / 8)] into values, signed where the field is."""
    bits = np.unpackbits(raw, axis=-1, bitorder="little")[:, : width_of(shape)]
    return _from_bits(shape, bits)


def _to_bits(shape: Any, values: Any) -> NDArray[np.uint8]:
    if isinstance(shape, data.StructLayout):
        parts = []
        position = 0
        for name, field in shape:
            assert field.offset == position
            parts.append(_to_bits(field.shape, values[name]))
            position += field.width
        return np.concatenate(parts, axis=-1)
    if isinstance(shape, data.ArrayLayout):
        array = np.asarray(values)
        flat = _to_bits(shape.elem_shape, array.reshape(-1, *array.shape[2:]))
        return flat.reshape(array.shape[0], -1)
    if isinstance(shape, type) and issubclass(shape, data.Struct):
        return _to_bits(data.Layout.cast(shape), values)
    width = width_of(shape)
    array = np.asarray(values)
    assert width <= 64, "plain fields are at most 64 bits wide"
    octets = array.astype("<i8" if array.dtype.kind != "u" else "<u8").reshape(-1, 1)
    return np.unpackbits(octets.view(np.uint8), axis=-1, bitorder="little")[:, :width]


def _from_bits(shape: Any, bits: NDArray[np.uint8]) -> Any:
    if isinstance(shape, data.StructLayout):
        return {
            name: _from_bits(field.shape, bits[:, field.offset : field.offset + field.width])
            for name, field in shape
        }
    if isinstance(shape, data.ArrayLayout):
        count, length = bits.shape[0], shape.length
        flat = _from_bits(
            shape.elem_shape, bits.reshape(count * length, width_of(shape.elem_shape))
        )
        return flat.reshape(count, length, *flat.shape[1:])
    if isinstance(shape, type) and issubclass(shape, data.Struct):
        return _from_bits(data.Layout.cast(shape), bits)
    width = width_of(shape)
    assert width <= 64, "plain fields are at most 64 bits wide"
    octets = np.zeros((bits.shape[0], 64), np.uint8)
    octets[:, :width] = bits
    if Shape.cast(shape).signed:
        octets[:, width:] = bits[:, width - 1 : width]
    return np.packbits(octets, axis=-1, bitorder="little").view("<i8")[:, 0]
