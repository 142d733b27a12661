# amaranth: UnusedElaboratable=no
"""KV instructions and the sweeps over what they left, against the interpreter."""

from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("memory_rams")

REUSE, EVICT = 0, 1
LAYERS = 4


def prefill(writer: Any, plane: int, position: int, rows: int) -> None:
    """Run a tile in which tokens skip layers after the first."""
    writer.position, writer.rows = position, rows
    for layer in range(LAYERS):
        some = writer.random.random() < 0.8
        chosen = [row for row in range(rows) if some and writer.random.random() < 0.6]
        writer.listed = tuple(chosen if layer else range(rows))
        writer.plane = plane if layer or writer.random.random() < 0.5 else 0
        writer.deal(layer, writer.random.choice((REUSE, EVICT)))
        writer.write(layer)
        writer.order(layer, every=True)
        if writer.listed:
            writer.sweeps()


def decode(writer: Any, plane: int, position: int) -> None:
    """Run a token; it skips layers, keeps and evicts entries."""
    writer.position, writer.rows, writer.plane = position, 1, plane
    for layer in range(LAYERS):
        runs = not layer or writer.random.random() < 0.7
        writer.listed = (0,) if runs else ()
        ahead = layer + 1 < LAYERS
        if writer.random.random() < 0.5:
            wrong = writer.random.random() < 0.2
            writer.issue("kv.prepare", layer=layer, ahead=int(ahead != wrong))
        writer.deal(layer, writer.random.choice((REUSE, REUSE, REUSE, EVICT)))
        if writer.random.random() < 0.5:
            writer.write(layer)
            writer.order(layer, ahead=ahead)
        else:
            writer.order(layer, ahead=ahead)
            writer.write(layer)
        if runs:
            writer.sweeps()
            if writer.random.random() < 0.2:
                writer.sweep(writer.random.randint(0, 1))


PAIRS = {"beat_bits": 512, "entry_beats": 6}
FOUR_BANKS = {"hbm_ports": 2, "buffer_read_ports": 4, "buffer_write_ports": 2}


@pytest.mark.parametrize(
    ("sizes", "lines", "stall", "seed"),
    [
        pytest.param({}, 2, 0.0, 1, id="free"),
        pytest.param(PAIRS, 3, 0.3, 3, id="pairs"),
        pytest.param(FOUR_BANKS, 1, 0.2, 7, id="four-banks"),
    ],
)
def test_a_prompt_and_a_generation(
    kv_unit: Any, sizes: dict[str, int], lines: int, stall: float, seed: int
) -> None:
    """Two tiles, then tokens one by one; the next token is written while sweeps run."""
    writer = kv_unit.Writer(lines, seed=seed)
    writer.map()
    prefill(writer, kv_unit.plane, 0, 4)
    prefill(writer, kv_unit.plane, 4, 2)
    for position in range(6, 10):
        decode(writer, kv_unit.plane, position)
    bench = kv_unit.Bench(kv_unit.config_of(**sizes), stall=stall, seed=seed)
    bench.run(writer.steps)
    assert bench.events[0] > 5, "the history buffer is used"
    assert not bench.errors
