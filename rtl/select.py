"""Trees that select one of many."""

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Cat, Mux, Value


class Choice(NamedTuple):
    """A choice among numbered candidates: whether there is one, its number, and its key."""

    any: Value
    number: Value
    key: Value


def lowest_set(mask: Value) -> Choice:
    """Choose the lowest set bit of `mask`; depth logarithmic in its width."""
    return least(mask, [Value.cast(0)] * len(mask))


def least(able: Value, keys: Sequence[Value]) -> Choice:
    """Choose the least of `keys`, the lowest number first, among those whose `able` bit is set.

    The number and the key mean nothing where no bit of `able` is set.
    """
    level = [Choice(able[number], Value.cast(0)[0:0], key) for number, key in enumerate(keys)]
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1]._replace(any=Value.cast(0)))
        level = [_better(*pair) for pair in zip(level[0::2], level[1::2], strict=True)]
    return level[0]


def _better(low: Choice, high: Choice) -> Choice:
    """Return the better of two choices of equal depth; its number gains one bit."""
    take_high = high.any & (~low.any | (high.key < low.key))
    number = Cat(Mux(take_high, high.number, low.number), take_high)
    return Choice(low.any | high.any, number, Mux(take_high, high.key, low.key))
