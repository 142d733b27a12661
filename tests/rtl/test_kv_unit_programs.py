# amaranth: UnusedElaboratable=no
"""The KV unit among models of its memories does what the interpreter's does."""

from typing import Any

import numpy as np
import pytest

from tests.rtl.kv_program_bench import EMPTY, LINES, PITCH, TILE, Bench, V, config_of, issued

pytestmark = pytest.mark.usefixtures("memory_rams")
PAIRS = {"beat_bits": 512, "entry_beats": 4}
BOTH = ((0, 0, LINES), (1, 0, LINES))


def fill(bench: Bench, seed: int) -> None:
    """Put new K and V of all rows into the scratchpad; some lines are zero or subnormal."""
    rng = np.random.default_rng(seed)
    lines = rng.integers(0, 1 << 16, bench.state.scratchpad.shape, np.uint16)
    # Lines of small numbers tell the largest exponent from any.
    lines &= np.where(rng.random(len(lines)) < 0.5, 0xFFFF, 0x8FFF).astype(np.uint16)[:, None]
    lines[V : V + 5 * PITCH : PITCH] &= 0x83FF
    bench.state.scratchpad[:] = lines


def layer_of(bench: Bench, layer: int, position: int, rows: int, plane: int, **fields: Any) -> Any:
    """Deal, write, order and attend at a layer, as a Program does."""
    at: Any = {"position": position, "rows": rows}
    rule = fields.get("rule", 0)
    yield from bench.execute(issued("kv.deal", layer=layer, plane=plane, rule=rule, **at))
    yield from bench.execute(issued("kv.write", layer=layer, plane=plane, **at))
    order = {"layer": layer, "entries": fields["entries"], "ahead": fields["ahead"]}
    for name in ("kv.prepare", "kv.order")[0 if fields.get("prepares", True) else 1 :]:
        yield from bench.execute(issued(name, plane=plane, **order, **at))
    held = plane == 0 or bench.state.planes[plane, :rows].any()
    if held:
        yield from bench.attend(*fields.get("sweeps", BOTH))


def decode(bench: Bench, seed: int, steps: int) -> Any:
    """Prefill a tile, then decode: layers are skipped by reuse, or evicted."""
    rng = np.random.default_rng(seed)
    yield from bench.execute(issued("kv.map"))
    for layer in range(4):
        fill(bench, seed + layer)
        plane = int(rng.integers(1, EMPTY)) if layer else 0
        yield from layer_of(bench, layer, 0, 9, plane, entries=1, ahead=0)
    skipped = 0
    for step in range(steps):
        for layer in range(4):
            fill(bench, 100 * seed + 10 * step + layer)
            plane = EMPTY if layer and rng.random() < 0.3 else 0
            skipped += plane == EMPTY
            parts = (0, 0, 1), (0, 1, 1), *BOTH[1:], *BOTH
            yield from layer_of(
                bench,
                layer,
                9 + step,
                1,
                plane,
                entries=0,
                ahead=int(layer < 3),
                prepares=rng.random() < 0.5,
                rule=int(rng.random() < 0.2),
                sweeps=parts if rng.random() < 0.3 else BOTH,
            )
    bench.compare()
    assert bench.events[0] > 5
    assert skipped


@pytest.mark.parametrize(
    ("sizes", "stall", "steps"),
    [
        pytest.param({}, 0.0, 1, id="free"),
        pytest.param({}, 0.4, 1, id="stalls"),
        pytest.param(PAIRS, 0.0, 1, id="pairs"),
        pytest.param({}, 0.0, 3, id="free-longer", marks=pytest.mark.slow),
        pytest.param({}, 0.4, 3, id="stalls-longer", marks=pytest.mark.slow),
        pytest.param(PAIRS, 0.3, 3, id="pairs-longer", marks=pytest.mark.slow),
    ],
)
def test_a_generation_is_the_interpreters(sizes: dict[str, int], stall: float, steps: int) -> None:
    Bench(config_of(**sizes), stall=stall).run(lambda bench: decode(bench, 11, steps))


REFUSED = [
    issued("kv.map", mapping=1),
    issued("kv.map", vector=4 * LINES + 1),
    issued("kv.map", vector=12),
    issued("kv.deal", rows=0),
    issued("kv.order", rows=TILE + 1, entries=1),
    issued("kv.deal", layer=4),
    issued("kv.write", layer=4),
    issued("kv.order", layer=4),
    issued("kv.prepare", layer=4),
    issued("kv.deal", position=64),
    issued("kv.order", position=64, entries=1),
    issued("kv.order", position=(1 << 32) - 1, entries=1),
    issued("kv.write", lines=1),
    issued("kv.deal", plane=EMPTY, rows=4, position=9),
]


def test_refused_instructions_change_nothing() -> None:
    def program(bench: Bench) -> Any:
        yield from bench.execute(issued("kv.order"), fails=True)
        yield from bench.execute(issued("kv.map"))
        fill(bench, 1)
        for layer in (0, 1):
            yield from bench.execute(issued("kv.deal", layer=layer, rows=9))
            yield from bench.execute(issued("kv.write", layer=layer, rows=9))
        yield from bench.execute(issued("kv.deal", layer=1, position=9, plane=EMPTY, rule=1))
        yield from bench.execute(issued("kv.order", rows=9, entries=1))
        for refused in REFUSED:
            before = bench.hbm.copy()
            yield from bench.execute(refused, fails=True)
            assert np.array_equal(bench.hbm, before), refused
        yield from bench.attend(*BOTH)
        # The token with an entry is written, the one behind it has none.
        yield from bench.execute(issued("kv.write", rows=2, position=8, layer=1), fails=True)
        yield from bench.execute(issued("kv.write", layer=1, position=8))
        yield from layer_of(bench, 0, 9, 2, 0, entries=1, ahead=0)
        bench.compare()

    Bench(config_of()).run(program)


@pytest.mark.parametrize("cause", ["scratchpad", "hbm"])
def test_an_error_of_a_memory_ends_a_write(cause: str) -> None:
    def program(bench: Bench) -> Any:
        yield from bench.execute(issued("kv.map"))
        fill(bench, 1)
        yield from bench.execute(issued("kv.deal", rows=9))
        bench.refuses = cause == "hbm"
        place = {"v": len(bench.state.scratchpad) - 8 * PITCH} if cause == "scratchpad" else {}
        yield from bench.execute(issued("kv.write", rows=9, **place), fails=True)
        bench.refuses = False
        yield from layer_of(bench, 0, 9, 3, 0, entries=0, ahead=0, sweeps=())
        yield from bench.execute(issued("kv.write", rows=9))
        bench.compare()

    Bench(config_of()).run(program)
