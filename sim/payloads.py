"""Pack arrays into the payloads of streams, and back."""

from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import NDArray

Fields = dict[str, Any]
"""An array of integers for each field of a payload: [count] for a plain field, [count, ...] for an
array field, a nested dictionary for a struct field. In an array of structs every field is [count,
length, ...]. A payload without fields is an array."""


def width_of(shape: Any) -> int:
    """Return the width of `shape` in bits."""
    return int(Shape.cast(shape).width)


def pack(shape: Any, values: Any) -> NDArray[np.uint8]:
    """Pack values [count, ...] into bytes [count, ceil(width / 8)], least significant first.

    Integers are taken modulo two to the field's width.

    Raises
    ------
    TypeError
        Values that are no integers.
    """
    bits = _to_bits(shape, values)
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack(shape: Any, raw: NDArray[np.uint8]) -> Any:
    """Unpack bytes [count, ceil(width / 8)] into values, signed where the field is.

    int64, but unsigned fields of 64 bits are uint64.
    """
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
        flat = _to_bits(shape.elem_shape, _merged(values))
        return flat.reshape(-1, shape.length * flat.shape[-1])
    if isinstance(shape, type) and issubclass(shape, data.Struct):
        return _to_bits(data.Layout.cast(shape), values)
    width = width_of(shape)
    array = np.asarray(values)
    assert width <= 64, "plain fields are at most 64 bits wide"
    if array.size and array.dtype.kind not in "biu":
        raise TypeError(f"Payload values must be integers, not {array.dtype}")
    octets = array.astype("<i8" if array.dtype.kind != "u" else "<u8").reshape(-1, 1)
    return np.unpackbits(octets.view(np.uint8), axis=-1, bitorder="little")[:, :width]


def _from_bits(shape: Any, bits: NDArray[np.uint8]) -> Any:
    if isinstance(shape, data.StructLayout):
        return {
            name: _from_bits(field.shape, bits[:, field.offset : field.offset + field.width])
            for name, field in shape
        }
    if isinstance(shape, data.ArrayLayout):
        elements = bits.reshape(-1, width_of(shape.elem_shape))
        return _split(_from_bits(shape.elem_shape, elements), shape.length)
    if isinstance(shape, type) and issubclass(shape, data.Struct):
        return _from_bits(data.Layout.cast(shape), bits)
    width = width_of(shape)
    assert width <= 64, "plain fields are at most 64 bits wide"
    octets = np.zeros((bits.shape[0], 64), np.uint8)
    octets[:, :width] = bits
    signed = Shape.cast(shape).signed
    if signed:
        octets[:, width:] = bits[:, width - 1 : width]
    kind = "<u8" if width == 64 and not signed else "<i8"
    return np.packbits(octets, axis=-1, bitorder="little").view(kind)[:, 0]


def _merged(values: Any) -> Any:
    """Merge the first two axes of every array: elements of arrays become payloads."""
    if isinstance(values, dict):
        return {name: _merged(value) for name, value in values.items()}
    array = np.asarray(values)
    return array.reshape(-1, *array.shape[2:])


def _split(values: Any, length: int) -> Any:
    """Split the first axis of every array into payloads and elements: undo `_merged`."""
    if isinstance(values, dict):
        return {name: _split(value, length) for name, value in values.items()}
    return values.reshape(-1, length, *values.shape[1:])
