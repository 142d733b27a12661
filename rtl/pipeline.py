"""Parts of pipelines that advance as a whole: every register waits for one enable signal."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value


def register(m: Module, enable: Any, value: Any, name: str) -> Signal:
    """Return a register that takes `value` (shape included) while `enable` is set.

    It is not reset: whether its content means anything is known from a valid bit beside it.
    """
    value = Value.cast(value)
    held = Signal(value.shape(), name=name, reset_less=True)
    with m.If(enable):
        m.d.sync += held.eq(value)
    return held


def delay(m: Module, enable: Any, value: Any, cycles: int, name: str) -> Value:
    """Return `value` as it was `cycles` enabled cycles ago."""
    for cycle in range(cycles):
        value = register(m, enable, value, f"{name}_{cycle + 1}")
    return Value.cast(value)


def advance(m: Module, i: Any, o: Any, latency: int) -> tuple[Signal, Signal]:
    """Carry the valid bits of a lockstep pipeline from stream `i` to stream `o`.

    The pipeline moves whenever its last stage is empty or taken, so it holds up to `latency`
    payloads and accepts one a cycle. Returns the enable of its registers and the valid bits of its
    stages, the first one in bit 0. The caller drives ``o.payload`` from registers that are enabled
    so, `latency` of them after ``i.payload``.
    """
    enable = Signal(name="advance")
    valid = Signal(latency, name="stage_valid")
    m.d.comb += [
        enable.eq(~valid[-1] | o.ready),
        i.ready.eq(enable),
        o.valid.eq(valid[-1]),
    ]
    with m.If(enable):
        m.d.sync += valid.eq(Cat(i.valid, valid[:-1]) if latency > 1 else i.valid)
    return enable, valid


def adder_tree(m: Module, enable: Any, values: Sequence[Value], name: str) -> tuple[Value, int]:
    """Return the exact sum of `values`, and its latency: a register after two levels of adders."""
    level, cycles = list(values), 0
    while len(level) > 1:
        quads = [level[start : start + 4] for start in range(0, len(level), 4)]
        cycles += 1
        level = [
            register(m, enable, _pairwise(quad), f"{name}_{cycles}_{index}")
            for index, quad in enumerate(quads)
        ]
    return level[0], cycles


def _pairwise(values: Sequence[Value]) -> Value:
    if len(values) == 1:
        return values[0]
    half = (len(values) + 1) // 2
    return _pairwise(values[:half]) + _pairwise(values[half:])


def leading_zeros(value: Value) -> Value:
    """Return the number of zeros above the highest one of `value`, which must not be 0."""
    return _leading_zeros([value[index] for index in reversed(range(len(value)))])[1]


def _leading_zeros(bits: Sequence[Value]) -> tuple[Value, Value]:
    """Return whether `bits`, highest first, are all zero, and the zeros before the first one."""
    if len(bits) == 1:
        return ~bits[0], Const(0, 0)
    half = 1 << ((len(bits) - 1).bit_length() - 1)
    high_empty, high_count = _leading_zeros(bits[:half])
    low_empty, low_count = _leading_zeros(bits[half:])
    count = Mux(high_empty, low_count, high_count) if half > 1 else Const(0, 0)
    return high_empty & low_empty, Cat(count, high_empty)
