# amaranth: UnusedElaboratable=no
"""Corners of sweeps: wide vectors, empty orders, errors; how fast they are."""

from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.kv import ORDER_FIELDS

pytestmark = pytest.mark.usefixtures("memory_rams")
PORTS = 4
FIELD = {name: column for column, name in enumerate(ORDER_FIELDS)}


def misses(entries: int, *, ports: int = PORTS) -> Any:
    """Return an order of entries that all come from HBM, one a port and round."""
    order = np.zeros((entries, len(ORDER_FIELDS)), np.int64)
    number = np.arange(entries)
    order[:, FIELD["round"]] = number // ports
    order[:, FIELD["token"]] = number
    order[:, FIELD["port"]] = number % ports
    order[:, FIELD["slot"]] = number // ports
    return order


def whole(kv_sweep: Any, lines: int) -> tuple[Any, ...]:
    """Return sweeps of all K and all V."""
    return tuple(kv_sweep.Sweep(value=value, line=0, lines=lines) for value in (0, 1))


@pytest.mark.parametrize("beat_bits", [256, 512])
def test_vectors_with_two_beats_of_exponents(kv_sweep: Any, beat_bits: int) -> None:
    """40 lines: exponents of lines 30 to 35 are in both beats of HBM; kept entries come whole."""
    config = kv_sweep.config_of(beat_bits=beat_bits, entry_beats=160 * 256 // beat_bits)
    first, second = misses(3), misses(3)
    first[:2, FIELD["keep"]], first[1, FIELD["bank"]] = 1, 1
    second[:2, FIELD["hit"]], second[1, FIELD["bank"]] = 1, 1
    ranges = [(0, 33, 2), (1, 39, 1), (0, 30, 6), (0, 31, 1), (0, 32, 8), (1, 0, 3)]
    sweeps = tuple(kv_sweep.Sweep(value=v, line=a, lines=b) for v, a, b in ranges)
    attentions = [kv_sweep.Attention(order=order, sweeps=sweeps) for order in (first, second)]
    # Whole vectors are longer than the queue of a port: some of one must be asked for later.
    holds = dict.fromkeys(range(config.kv.buffer_banks + PORTS), 400)
    layout = kv_sweep.Map(lines=40, base=5)
    kv_sweep.compare(config, layout, attentions, stall=0.1, holds=holds)


def test_a_place_is_filled_again_when_it_has_been_read(kv_sweep: Any) -> None:
    """The array is late at bank 0, whose place the next round fills again."""
    config = kv_sweep.config_of()
    kept, refilled, read = misses(1), misses(2), misses(2)[1:]
    kept[0, FIELD["keep"]] = 1
    refilled[:, FIELD["round"]] = 0, 1
    refilled[:, FIELD["hit"]] = 1, 0
    refilled[:, FIELD["keep"]] = 0, 1
    read[0, FIELD["round"]], read[0, FIELD["hit"]] = 0, 1
    attentions = [
        kv_sweep.Attention(order=order, sweeps=whole(kv_sweep, 2))
        for order in (kept, refilled, read)
    ]
    options = {"strict": False, "eager": True, "holds": {0: 300}}
    kv_sweep.compare(config, kv_sweep.Map(lines=2), attentions, **options)


def test_the_sweep_of_an_empty_order_is_one_batch_of_none(kv_sweep: Any) -> None:
    """An order without entries, none after kv.map, none at all; then one with entries."""
    config = kv_sweep.config_of()
    sweeps = whole(kv_sweep, 2)
    attentions = [
        kv_sweep.Attention(order=order, sweeps=sweeps)
        for order in (None, misses(0), misses(3), None, misses(1))
    ]
    bench = kv_sweep.compare(config, kv_sweep.Map(lines=2), attentions)
    assert [len(batch) for batch, _ in bench.brought.batches] == [0] * 4 + [3, 3] + [0, 0] + [1, 1]


def test_an_order_of_every_token(kv_sweep: Any) -> None:
    config = kv_sweep.config_of()
    attention = kv_sweep.Attention(order=misses(64), sweeps=whole(kv_sweep, 1))
    kv_sweep.compare(config, kv_sweep.Map(lines=1), [attention], strict=False)


@pytest.mark.parametrize("beat_bits", [256, 512])
def test_a_refused_request_is_an_error_and_does_not_hang(kv_sweep: Any, beat_bits: int) -> None:
    """A slot beyond the memory: all lines come, whatever is in them; what follows is clean."""
    config = kv_sweep.config_of(beat_bits=beat_bits)
    layout = kv_sweep.Map(lines=2)
    hbm = kv_sweep.content(config, layout, 3)
    beyond, good = misses(6), misses(5)
    beyond[2, FIELD["slot"]] = config.kv.port_slots - 1
    sweeps = whole(kv_sweep, 2)
    attentions = [kv_sweep.Attention(order=order, sweeps=sweeps) for order in (beyond, good)]
    short = hbm[:, : -layout.slot_beats]
    bench = kv_sweep.Bench(config, layout, short)
    brought = bench.run(attentions)
    golden = kv_sweep.Golden(config, layout, hbm)
    for attention in attentions:
        golden.attend(attention)
    assert bench.errors == 2
    assert brought.batches == golden.brought.batches
    first = config.kv.buffer_banks
    for source in range(first, first + PORTS):
        got, expected = brought.lines[source], golden.brought.lines[source]
        assert len(got) == len(expected)
        wrong = [n for n, line in enumerate(expected) if got[n] != line]
        assert wrong == ([0, 1, 2, 3] if source == first + 2 else [])


def test_latencies(kv_sweep: Any) -> None:
    config = kv_sweep.config_of()
    attention = kv_sweep.Attention(order=misses(1), sweeps=whole(kv_sweep, 2)[:1])
    layout = kv_sweep.Map(lines=2)
    cycles = kv_sweep.compare(config, layout, [attention], strict=False).cycles
    (sweep,), (read,), beats = cycles["sweep"], cycles["read_0"], cycles["beats_0"]
    lines, exponents = (
        cycles[f"{what}_{config.kv.buffer_banks}"] for what in ("lines", "exponents")
    )
    assert read - sweep == timing.KV_REQUEST_CYCLES
    assert lines[0] - beats[3] == lines[1] - beats[7] == timing.KV_LINE_CYCLES
    assert exponents[0] - beats[8] == timing.KV_EXPONENT_CYCLES
    assert exponents[1] - exponents[0] == 1


@pytest.mark.parametrize(
    ("beat_bits", "lines", "period", "gap"),
    [
        pytest.param(256, 2, 8, 0, id="single-beats"),
        pytest.param(512, 2, 4, timing.KV_SWEEP_CYCLES, id="pairs"),
        pytest.param(512, 1, 4, timing.KV_SWEEP_CYCLES, id="an-entry-a-cycle"),
    ],
)
def test_a_port_moves_a_beat_a_cycle(
    kv_sweep: Any, beat_bits: int, lines: int, period: int, gap: int
) -> None:
    """Entries of V follow each other over two sweeps; the memory is 40 cycles away."""
    config = kv_sweep.config_of(beat_bits=beat_bits)
    sweeps = whole(kv_sweep, lines)[1:] * 2
    attention = kv_sweep.Attention(order=misses(40), sweeps=sweeps)
    layout = kv_sweep.Map(lines=2)
    bench = kv_sweep.compare(config, layout, [attention], strict=False, latencies=(40,))
    for source in range(config.kv.buffer_banks, config.kv.buffer_banks + PORTS):
        arrived = np.array(bench.cycles[f"lines_{source}"])[::lines]
        assert np.diff(arrived).tolist() == [period] * 9 + [period + gap] + [period] * 9


def test_a_bank_moves_a_beat_a_cycle(kv_sweep: Any) -> None:
    """Half of the entries are kept and then hit, four in each bank, while HBM brings the others."""
    config = kv_sweep.config_of()
    first = misses(16)
    kept = first[:, FIELD["port"]] < config.kv.buffer_banks
    first[kept, FIELD["keep"]] = 1
    first[kept, FIELD["bank"]] = first[kept, FIELD["port"]]
    first[kept, FIELD["place"]] = first[kept, FIELD["round"]]
    second = first.copy()
    second[kept, FIELD["hit"]], second[kept, FIELD["keep"]] = 1, 0
    sweeps = whole(kv_sweep, 2)
    attentions = [kv_sweep.Attention(order=order, sweeps=sweeps) for order in (first, second)]
    layout = kv_sweep.Map(lines=2)
    bench = kv_sweep.compare(config, layout, attentions, strict=False, latencies=(40,))
    for bank in range(config.kv.buffer_banks):
        values = np.array(bench.cycles[f"lines_{bank}"])[8:]
        assert np.diff(values).tolist() == [4] * 7
