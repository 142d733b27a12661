# amaranth: UnusedElaboratable=no
"""KV instructions and the sweeps over what they left, against the interpreter."""

from typing import Any

import pytest

from hwroute.isa.instruction import Instruction

pytestmark = pytest.mark.usefixtures("memory_rams")
BASE = 11


def mapped(kv_unit: Any, lines: int) -> Any:
    """Return kv.map for vectors of `lines` lines."""
    fields = {"base": BASE, "vector": 4 * lines, "exponents": -(-lines // 32)}
    return kv_unit.Issue(one=Instruction("kv.map", fields))


def executed(kv_unit: Any, layer: int, lines: int, **issue: Any) -> list[Any]:
    """Return kv.deal and kv.write of all rows of a tile."""
    k, v = 40 + 3 * layer, 400 + 5 * layer
    fields = {"k": k, "k_pitch": lines + 1, "v": v, "v_pitch": lines, "lines": lines}
    return [
        kv_unit.Issue(one=Instruction("kv.deal", {"layer": layer}), **issue),
        kv_unit.Issue(one=Instruction("kv.write", {"layer": layer, **fields}), **issue),
    ]


def ordered(kv_unit: Any, layer: int, lines: int, ahead: bool, **issue: Any) -> list[Any]:
    """Return kv.order of earlier tokens, and sweeps of all K and V."""
    fields = {"layer": layer, "ahead": int(ahead)}
    sweeps = [kv_unit.Sweep(value=value, line=0, lines=lines) for value in (0, 1)]
    return [kv_unit.Issue(one=Instruction("kv.order", fields), **issue), *sweeps]


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_a_decode(kv_unit: Any, stall: float) -> None:
    lines = 2
    steps = [mapped(kv_unit, lines)]
    for position in range(6):
        for layer in range(2):
            steps += executed(kv_unit, layer, lines, position=position)
            steps += ordered(kv_unit, layer, lines, layer == 0, position=position)
    kv_unit.Bench(kv_unit.config_of(), stall=stall).run(steps)
