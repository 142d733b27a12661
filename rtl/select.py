"""Trees that select one of many."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value


class Choice(NamedTuple):
    """A choice among numbered candidates: whether there is one, its number, and its key."""

    any: Value
    number: Value
    key: Value


def lowest_set(m: Module, mask: Value, name: str) -> Choice:
    """Choose the lowest set bit of `mask`; depth logarithmic in its width."""
    return least(m, mask, [Const(0, 0)] * len(mask), name)


def in_turn(m: Module, requests: Value, name: str) -> Signal:
    """Grant one of `requests` a cycle, as one bit, to each in its turn; none where there is none.

    A request that waits is granted after at most one grant to each of the others. Every grant must
    be taken in its cycle.
    """
    width = len(requests)
    grant = Signal(width, name=f"{name}_grant")
    above = Signal(width, name=f"{name}_above")
    later = Signal(width, name=f"{name}_later")
    pool = Signal(width, name=f"{name}_pool")
    m.d.comb += [
        later.eq(requests & above),
        pool.eq(Mux(later.any(), later, requests)),
        grant.eq(pool & (~pool + 1)),
    ]
    with m.If(grant.any()):
        m.d.sync += above.eq(~(grant | (grant - 1)))
    return grant


def least(m: Module, able: Value, keys: Sequence[Value], name: str) -> Choice:
    """Choose the least of `keys`, the lowest number first, among those whose `able` bit is set.

    The number and the key mean nothing where no bit of `able` is set.
    """
    level = [Choice(able[number], Const(0, 0), key) for number, key in enumerate(keys)]
    step = 0
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1]._replace(any=Const(0, 1)))
        level = [
            _better(m, level[start], level[start + 1], f"{name}_{step}_{start}")
            for start in range(0, len(level), 2)
        ]
        step += 1
    return level[0]


def _better(m: Module, low: Choice, high: Choice, name: str) -> Choice:
    """Return the better of two choices of equal depth; its number gains one bit.

    Signals name the parts: an expression that is used twice is written twice. Numbers of the first
    level and keys of `lowest_set` have no bits, for which Verilog has no signal.
    """

    def named(value: Any, part: str) -> Signal:
        value = Value.cast(value)
        signal = Signal(value.shape(), name=f"{name}_{part}")
        m.d.comb += signal.eq(value)
        return signal

    less = high.key < low.key if len(low.key) else Const(0)
    take_high = named(high.any & (~low.any | less), "high")
    number = Mux(take_high, high.number, low.number) if len(low.number) else Const(0, 0)
    return Choice(
        named(low.any | high.any, "any"),
        named(Cat(number, take_high), "number"),
        named(Mux(take_high, high.key, low.key), "key") if len(low.key) else low.key,
    )
