# amaranth: UnusedElaboratable=no
"""The statistics memory against an array, by the cycles in which requests were accepted."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwroute import timing
from hwroute.config import PRESETS
from hwroute.memory_config import MemoryConfig
from hwroute.rtl.emit import emit
from hwroute.rtl.statistics_memory import READERS, WRITERS, StatisticsMemory
from hwroute.sim.stream_simulation import simulate_streams
from hwroute.sim.units import Run

SIZES = replace(PRESETS["demo"].memory, statistics=100)
Vectors = dict[str, Any]


def vectors(first: Any, pitch: Any, values: Any) -> Vectors:
    parts = np.broadcast_arrays(*(np.atleast_1d(one) for one in (first, pitch, values)))
    return dict(zip(("first", "pitch", "values"), parts, strict=True))


NOTHING = {name: np.zeros(0, np.int64) for name in ("first", "pitch", "values")}


def words_of(requests: Vectors) -> Any:
    """Return the words that the vectors name, one after the other, and whether each ends one."""
    words = [
        first + pitch * np.arange(count)
        for first, pitch, count in zip(*requests.values(), strict=True)
    ]
    last = [np.arange(len(one)) == len(one) - 1 for one in words]
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *words]), np.concatenate([none, *last])


def random_vectors(rng: np.random.Generator, count: int, end: int) -> Vectors:
    """Return vectors of 1 to 6 values, a few of them beyond `end`."""
    first = np.where(rng.random(count) < 0.1, rng.integers(0, 1 << 21, count), 0)
    return vectors(
        first + rng.integers(0, end - 30, count),
        rng.integers(1, 6, count),
        rng.integers(1, 7, count),
    )


def check(
    memory: MemoryConfig, reads: list[Vectors], writes: list[Vectors], stall: float = 0.0
) -> Run:
    """Run; compare every word read with the writes accepted since, up to its own access."""
    rng = np.random.default_rng(31)
    written = [words_of(requests)[0] for requests in writes]
    values = [rng.integers(0, 1 << 32, len(words)) for words in written]
    expected = [words_of(requests) for requests in reads]
    inputs: dict[str, Any] = {}
    for name, requests in zip(READERS, reads, strict=True):
        inputs[f"read_{name}.request"] = requests
    for name, requests, one in zip(WRITERS, writes, values, strict=True):
        inputs[f"write_{name}.request"] = requests
        inputs[f"write_{name}.values"] = one
    expect = {
        f"read_{name}.response": len(words)
        for name, (words, _) in zip(READERS, expected, strict=True)
    }
    run = simulate_streams(StatisticsMemory(memory), inputs, expect, stall=stall, seed=3)
    history = sorted(
        (cycle, word, value)
        for port, name in enumerate(WRITERS)
        for cycle, word, value in zip(
            run.in_cycles[f"write_{name}.values"], written[port], values[port], strict=True
        )
        if word < memory.statistics
    )
    for name, (words, last) in zip(READERS, expected, strict=True):
        got, left = run.outputs[f"read_{name}.response"], run.out_cycles[f"read_{name}.response"]
        assert np.array_equal(got["last"], last)
        asked = np.repeat(
            run.in_cycles[f"read_{name}.request"], reads[READERS.index(name)]["values"]
        )
        for word, value, since, until in zip(words, got["value"], asked, left, strict=True):
            candidates = [value for cycle, at, value in history if at == word and cycle < until]
            before = [value for cycle, at, value in history if at == word and cycle <= since]
            allowed = {0} if not before else {before[-1]}
            allowed |= set(candidates[len(before) :])
            assert value in (allowed if word < memory.statistics else {0}), (name, word)
    return run


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_vectors_read_what_was_written(stall: float) -> None:
    rng = np.random.default_rng(32)
    reads = [random_vectors(rng, 150, SIZES.statistics) for _ in READERS]
    writes = [random_vectors(rng, 150, SIZES.statistics) for _ in WRITERS]
    check(SIZES, reads, writes, stall)


def test_a_request_reads_a_value_accepted_with_it() -> None:
    run = check(SIZES, [vectors([50, 7], 1, 1), NOTHING, NOTHING], [vectors(7, 3, 1), NOTHING])
    assert run.in_cycles["read_npe.request"][1] == run.in_cycles["write_npe.values"][0]
    assert run.outputs["read_npe.response"]["value"][1]


def test_a_word_beyond_the_end_is_an_error_of_its_port() -> None:
    """The last word is inside, the next is not: it reads as 0, and what is there stays."""
    end = SIZES.statistics
    unit: Any = StatisticsMemory(SIZES)
    seen: list[tuple[int, int]] = []
    inputs = {
        "read_array.request": vectors([end - 1, end - 2], 1, [1, 4]),
        "write_npe.request": vectors(end - 3, 1, 4),
        "write_npe.values": np.arange(1, 5),
    }
    run = simulate_streams(
        unit,
        inputs,
        {"read_array.response": 5},
        observe=lambda context: seen.append(
            (context.get(unit.read_errors), context.get(unit.write_errors))
        ),
    )
    assert run.outputs["read_array.response"]["value"].tolist()[3:] == [0, 0]
    assert len(run.in_cycles["write_npe.values"]) == 4
    reads, writes = zip(*seen, strict=True)
    assert sum(reads) == 2 << READERS.index("array")
    assert sum(writes) == 1 << WRITERS.index("npe")


def test_every_port_moves_a_word_a_cycle() -> None:
    reads = [vectors(np.arange(20), 20, 4) for _ in READERS]
    run = check(SIZES, reads, [vectors(np.arange(20), 20, 4), NOTHING])
    for name in READERS:
        left = run.out_cycles[f"read_{name}.response"]
        assert np.all(np.diff(left) == 1)
        first = run.in_cycles[f"read_{name}.request"][0]
        assert left[0] - first == timing.STATISTICS_READ_CYCLES
    assert np.all(np.diff(run.in_cycles["write_npe.values"]) == 1)

    run = check(
        SIZES, [NOTHING] * 3, [vectors(np.arange(20), 20, 4), vectors(np.arange(20), 20, 4)]
    )
    cycles = [run.in_cycles[f"write_{name}.values"] for name in WRITERS]
    assert np.array_equal(np.sort(np.concatenate(cycles)), cycles[0][0] + np.arange(160))
    assert all(np.all(np.diff(one) == len(WRITERS)) for one in cycles)


def test_full_size_is_emitted() -> None:
    assert "[2047:0]" in emit(StatisticsMemory(PRESETS["u280"].memory), "statistics")


def test_wrong_sizes_are_refused() -> None:
    sizes: Any = 2048
    with pytest.raises(TypeError, match="Sizes must be a MemoryConfig, not 2048"):
        StatisticsMemory(sizes)
