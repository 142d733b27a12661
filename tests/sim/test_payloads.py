"""Payloads of any layout survive the trip through bytes."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Const, Shape, signed, unsigned
from amaranth.lib import data, enum
from hypothesis import given, settings
from hypothesis import strategies as st

from hwroute.sim.payloads import pack, unpack, width_of


class Kind(enum.Enum, shape=2):
    """An enumeration as a field."""

    ONE = 1
    TWO = 2


class Beat(data.Struct):
    """A struct with every kind of field."""

    kind: Kind
    value: signed(11)
    words: data.ArrayLayout(unsigned(5), 3)
    last: 1


LAYOUTS = [
    unsigned(1),
    signed(1),
    unsigned(13),
    signed(13),
    unsigned(64),
    signed(64),
    Kind,
    Beat,
    data.StructLayout({"a": signed(3), "b": data.StructLayout({"c": unsigned(9), "d": Kind})}),
    data.ArrayLayout(signed(7), 4),
    data.ArrayLayout(data.ArrayLayout(unsigned(3), 2), 3),
    data.ArrayLayout(Beat, 2),
    data.StructLayout({"beats": data.ArrayLayout(Beat, 2), "x": unsigned(64)}),
]


def random_values(shape: Any, count: int, rng: np.random.Generator) -> Any:
    """Return values [count, ...] of a layout, corners among them."""
    if isinstance(shape, type) and issubclass(shape, data.Struct):
        shape = data.Layout.cast(shape)
    if isinstance(shape, data.StructLayout):
        return {name: random_values(field.shape, count, rng) for name, field in shape}
    if isinstance(shape, data.ArrayLayout):
        parts = [random_values(shape.elem_shape, count, rng) for _ in range(shape.length)]
        return joined(parts)
    width, is_signed = Shape.cast(shape).width, Shape.cast(shape).signed
    words = rng.integers(0, 1 << 64, count, np.uint64, endpoint=False)
    words[: count // 4] = (1 << 64) - 1
    words >>= np.uint64(64 - width)
    if not is_signed:
        return words if width == 64 else words.astype(np.int64)
    return (words << np.uint64(64 - width)).astype(np.int64) >> np.int64(64 - width)


def joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {name: joined([part[name] for part in parts]) for name in parts[0]}
    return np.stack(parts, axis=1)


def check_equal(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            check_equal(a[name], b[name])
    else:
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.sampled_from(LAYOUTS), st.integers(0, 9), st.integers(0, 1000))
def test_values_survive_the_trip(shape: Any, count: int, seed: int) -> None:
    values = random_values(shape, count, np.random.default_rng(seed))
    raw = pack(shape, values)
    assert (raw.dtype, raw.shape) == (np.uint8, (count, (width_of(shape) + 7) // 8))
    check_equal(unpack(shape, raw), values)


def element(values: Any, index: int) -> Any:
    """Return one payload's values in the form that Amaranth's constants take."""
    if isinstance(values, dict):
        return {name: element(value, index) for name, value in values.items()}
    return values[index].tolist()


@pytest.mark.parametrize(
    "shape", [layout for layout in LAYOUTS if "beats" not in str(layout) and layout is not Kind]
)
def test_bits_stand_where_amaranth_puts_them(shape: Any) -> None:
    values = random_values(shape, 5, np.random.default_rng(3))
    raw = pack(shape, values)
    for index in range(5):
        one = element(values, index)
        if isinstance(shape, data.ArrayLayout) and isinstance(one, dict):
            one = [
                {name: value[place] for name, value in one.items()} for place in range(shape.length)
            ]
        bits = int.from_bytes(raw[index].tobytes(), "little")
        assert bits == constant(shape, one)


def constant(shape: Any, value: Any) -> int:
    """Return the bits of a value as Amaranth lays it out, unsigned."""
    if isinstance(shape, type) and issubclass(shape, data.Struct):
        shape = data.Layout.cast(shape)
    if isinstance(shape, data.Layout):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return sum(constant(shape[name].shape, part) << shape[name].offset for name, part in items)
    width = Shape.cast(shape).width
    return Const(value, unsigned(64)).value & ((1 << width) - 1)


def test_negative_and_large_integers_are_taken_modulo_the_width() -> None:
    assert pack(unsigned(4), [-1, 17, 8]).tolist() == [[15], [1], [8]]
    assert unpack(signed(4), pack(unsigned(4), [-1, 17, 8])).tolist() == [-1, 1, -8]


def test_booleans_are_one_bit() -> None:
    assert pack(unsigned(1), np.array([True, False])).tolist() == [[1], [0]]


def test_no_payloads_are_no_bytes() -> None:
    assert pack(Beat, random_values(Beat, 0, np.random.default_rng(1))).shape == (0, 4)
    assert pack(unsigned(9), []).shape == (0, 2)


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match="Payload values must be integers, not float64"):
        pack(unsigned(4), np.array([1.5]))


def test_a_missing_field_is_named() -> None:
    with pytest.raises(KeyError, match="last"):
        pack(Beat, {"kind": [1], "value": [1], "words": [[1, 2, 3]]})
