# amaranth: UnusedElaboratable=no
"""Errors of KV instructions, wide vectors, empty planes; what instructions take."""

from collections.abc import Callable
from typing import Any

import pytest

from hwroute import timing

pytestmark = pytest.mark.usefixtures("memory_rams")

REUSE, EVICT = 0, 1
ROWS = 16
"""Of a tile, at most."""
LINES = 2


def clean(writer: Any) -> None:
    """Begin a sequence: two tokens at two layers, the second of layer 1 from the history buffer."""
    writer.map()
    writer.plane = 0
    for layer in (0, 1):
        writer.position, writer.rows = 0, 2
        writer.deal(layer)
        writer.write(layer)
        writer.order(layer, every=True)
        writer.sweeps()
    writer.position, writer.rows = 2, 1
    writer.order(0, ahead=True)
    writer.sweeps()


def unmapped(writer: Any) -> None:
    for name in ("kv.deal", "kv.prepare", "kv.order"):
        writer.issue(name, fails=True)
    writer.write(0, fails=True)


def maps(writer: Any) -> None:
    """None changes anything: sweeps go on over the last order."""
    clean(writer)
    for wrong in (
        {"mapping": 1},
        {"vector": 4 * 3},
        {"vector": 6},
        {"exponents": 2},
    ):
        writer.map(fails=True, **wrong)
    writer.sweeps()


def registers(writer: Any) -> None:
    """Rows none or too many, tokens beyond the configuration, also where sums wrap."""
    clean(writer)
    for position, rows in ((0, 0), (0, ROWS + 1), (64, 1), (63, 2), ((1 << 32) - 1, 1)):
        writer.position, writer.rows = position, rows
        writer.issue("kv.deal", fails=True)
        writer.write(0, fails=True, k=0, v=0, k_pitch=0, v_pitch=0)
        for name in ("kv.prepare", "kv.order"):
            writer.issue(name, fails=True, entries=1)
    writer.position, writer.rows = 65, 1
    writer.issue("kv.order", fails=True)


def layers(writer: Any) -> None:
    clean(writer)
    for name in ("kv.deal", "kv.prepare", "kv.order"):
        writer.issue(name, fails=True, layer=4)
    writer.write(4, fails=True)


def nothing_to_reuse(writer: Any) -> None:
    """Layer 0: a row before, between, behind those listed; none listed."""
    writer.rows, writer.plane = 3, 1
    for listed in ((1, 2), (0, 2), (0,), ()):
        writer.map()
        writer.listed = listed
        writer.issue("kv.deal", fails=True, rule=REUSE)


def tokens_without_entry(writer: Any) -> None:
    """Write again what was written of an instruction that failed."""
    writer.map()
    writer.rows, writer.plane, writer.listed = 4, 1, (0, 3)
    writer.deal(0, EVICT)
    places = {"k": 9, "k_pitch": 5, "v": 100, "v_pitch": 7}
    for plane, listed in ((0, ()), (1, (2, 3)), (1, (0, 1)), (1, (1,))):
        writer.plane, writer.listed = plane, listed
        writer.write(0, fails=True, **places)
    writer.plane, writer.listed = 1, (0, 3)
    writer.write(0, **places)
    writer.order(0, every=True)
    writer.sweeps()


def lengths(writer: Any) -> None:
    clean(writer)
    for lines in (1, 3, 4095):
        writer.write(0, fails=True, lines=lines)


def lines_beyond_the_scratchpad(writer: Any) -> None:
    writer.map()
    writer.rows = 2
    writer.deal(0)
    for beyond in (
        {"k": 511},
        {"v": 511, "v_pitch": 0},
        {"k": 300, "k_pitch": 4095},
        {"v": 65535, "v_pitch": 4095},
    ):
        writer.write(0, fails=True, **beyond)
    writer.write(0)


FAILURES = (
    unmapped,
    maps,
    registers,
    layers,
    nothing_to_reuse,
    tokens_without_entry,
    lengths,
    lines_beyond_the_scratchpad,
)


@pytest.mark.parametrize("failures", FAILURES)
def test_an_instruction_that_fails(kv_unit: Any, failures: Callable[[Any], None]) -> None:
    """It ends with an error, and what follows is as if it had not been there."""
    writer = kv_unit.Writer(LINES)
    failures(writer)
    clean(writer)
    assert any(getattr(step, "fails", False) for step in writer.steps)
    kv_unit.Bench(kv_unit.config_of(), stall=0.1).run(writer.steps)


def test_slots_beyond_the_memory(kv_unit: Any) -> None:
    """The third token of a port begins its slot inside; the second layer's are all refused."""
    config = kv_unit.config_of()
    writer = kv_unit.Writer(LINES)
    beats = config.memory.hbm_port_bytes // 32
    writer.map(base=beats - 20)
    writer.rows = 4
    writer.deal(0)
    writer.write(0)
    writer.deal(1)
    writer.write(1, fails=True)
    clean(writer)
    kv_unit.Bench(config, stall=0.1).run(writer.steps)


def test_a_sequence_of_shorter_vectors(kv_unit: Any) -> None:
    """Bytes behind its exponents are 0, as those of the longer vectors before were not."""
    writer = kv_unit.Writer(LINES)
    for lines in (2, 1):
        writer.lines = lines
        writer.map()
        writer.deal(0)
        writer.write(0)
        writer.order(0, every=True)
        writer.sweeps()
    kv_unit.Bench(kv_unit.config_of(), stall=0.1).run(writer.steps)


def test_all_ports_answer_at_once(kv_unit: Any) -> None:
    writer = kv_unit.Writer(1)
    writer.map()
    writer.rows = 6
    writer.deal(0)
    writer.write(0)
    bench = kv_unit.Bench(kv_unit.config_of(), answers=512)
    bench.run(writer.steps)
    answers = [bench.givers[f"answer_{port}"].handed for port in range(4)]
    assert [len(cycles) for cycles in answers] == [6, 6, 3, 3]
    assert len({cycles[0] for cycles in answers}) == 1
    assert bench.takers["done"].handed[-1] == answers[0][-1] + 1


def test_errors_of_beats_that_sweeps_read_are_told(kv_unit: Any) -> None:
    writer = kv_unit.Writer(LINES)
    clean(writer)
    bench = kv_unit.Bench(kv_unit.config_of())
    bench.ports[1].faulty = True
    bench.run(writer.steps)
    assert bench.errors


@pytest.mark.parametrize("beat_bits", [256, 512])
def test_vectors_with_two_beats_of_exponents(kv_unit: Any, beat_bits: int) -> None:
    config = kv_unit.config_of(beat_bits=beat_bits, entry_beats=160 * 256 // beat_bits)
    writer = kv_unit.Writer(40)
    writer.map()
    writer.rows = 2
    writer.deal(1, EVICT)
    writer.write(1)
    writer.order(1, every=True)
    for value, line, lines in ((0, 0, 40), (1, 39, 1)):
        writer.sweep(value, line, lines)
    kv_unit.Bench(config).run(writer.steps)


def test_empty_planes(kv_unit: Any) -> None:
    """kv.deal invalidates the buffer; other instructions do nothing, the order stays."""
    writer = kv_unit.Writer(LINES)
    clean(writer)
    writer.position, writer.rows, writer.plane, writer.listed = 2, 1, 1, ()
    writer.order(1)
    writer.issue("kv.prepare", layer=1)
    writer.sweep(0)
    writer.deal(0, EVICT)
    writer.deal(1, EVICT)
    writer.write(0)
    writer.plane = 0
    writer.order(1)
    writer.sweeps()
    bench = kv_unit.Bench(kv_unit.config_of(), stall=0.2)
    bench.run(writer.steps)


def cycles_of(bench: Any) -> list[int]:
    """Return from acceptance to end of each instruction."""
    starts, ends = bench.givers["issue"].handed, bench.takers["done"].handed
    return [end - start for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize(("rows", "listed"), [(1, 1), (2, 1), (5, 3), (4, 0)])
def test_what_a_deal_takes(kv_unit: Any, rows: int, listed: int) -> None:
    """Reuse and evict; rows that are not listed are the last, or stand before the last."""
    writer = kv_unit.Writer(LINES)
    writer.map()
    writer.rows = rows
    writer.deal(0)
    writer.plane = 1
    expected = []
    for layer, rule in ((1, REUSE), (2, EVICT), (3, REUSE)):
        last = layer == 3 and rows > listed
        writer.listed = tuple(range(rows))[rows - listed if last else 0 :][:listed]
        writer.deal(layer, rule)
        other = timing.KV_EVICT_CYCLES if rule == EVICT else timing.KV_SKIP_CYCLES
        requests = listed * timing.KV_WRITE_CYCLES + (rows - listed) * other
        requests += 0 if listed else timing.KV_INVALIDATE_CYCLES
        expected.append(timing.KV_DEAL_CYCLES + requests)
    bench = kv_unit.Bench(kv_unit.config_of())
    bench.run(writer.steps)
    config = bench.config.kv
    reset = timing.kv_reset_cycles(config.max_layers, config.hbm_ports)
    cycles = cycles_of(bench)
    assert cycles[0] == timing.KV_MAP_CYCLES + reset
    assert cycles[2:] == expected


@pytest.mark.parametrize("beat_bits", [256, 512])
def test_what_a_write_takes(kv_unit: Any, beat_bits: int) -> None:
    """Beats of the core's side one a cycle, then the next token."""
    for rows, lines, memory in ((1, 2, 5), (3, 1, 30)):
        writer = kv_unit.Writer(lines)
        writer.map()
        writer.rows = rows
        writer.deal(0)
        writer.write(0)
        bench = kv_unit.Bench(kv_unit.config_of(beat_bits=beat_bits), memory=memory)
        bench.run(writer.steps)
        beats = 8 * lines * 256 // beat_bits + 1
        assert cycles_of(bench)[2] == timing.kv_write_cycles(rows, beats, memory)


def test_what_an_order_takes(kv_unit: Any) -> None:
    """Over an invalid buffer for four rows, over a valid one for one; without and with prepare."""
    writer = kv_unit.Writer(LINES)
    writer.map()
    writer.rows = 4
    for layer in (0, 1, 2):
        writer.deal(layer)
        writer.write(layer)
    writer.issue("kv.prepare", layer=0, entries=1)
    writer.order(0, every=True)
    writer.position, writer.rows = 4, 1
    writer.order(0, ahead=True)
    writer.issue("kv.prepare", layer=1, ahead=1)
    writer.order(1, ahead=True)
    writer.order(2)
    bench = kv_unit.Bench(kv_unit.config_of())
    bench.run(writer.steps)
    begin, order = timing.KV_DEAL_CYCLES, timing.KV_ORDER_CYCLES
    scan = timing.kv_scan_cycles(4)
    walked, queued = timing.kv_walked_cycles(4, 1), timing.kv_queued_cycles(4, 1)
    assert cycles_of(bench)[7:] == [
        begin + 4 + 1,
        order + 4 + walked,
        order + 1 + walked,
        begin + 1 + scan + 1,
        order + 1 + queued,
        order + 1 + scan + queued,
    ]
