# amaranth: UnusedElaboratable=no
"""The sequencer's latencies and rates are those of `hwroute.timing`."""

from typing import Any

import pytest

from hwroute import timing
from hwroute.csr import Error
from hwroute.isa.fields import Register, Unit
from hwroute.isa.instruction import Instruction, unit_mask
from hwroute.sequencer_config import SequencerConfig

HALT = Instruction("halt", {}).encode()
START_CYCLES = 3
"""From the start to the first request: settle, clear, ask."""


def load(*, wait: tuple[Unit, ...] = (), signal: tuple[Unit, ...] = ()) -> int:
    masks = {"wait": unit_mask(wait), "signal": unit_mask(signal)}
    return Instruction("load", {"lines": 1} | masks).encode()


def order(*, wait: tuple[Unit, ...] = (), signal: tuple[Unit, ...] = ()) -> int:
    masks = {"wait": unit_mask(wait), "signal": unit_mask(signal)}
    return Instruction("kv.order", masks).encode()


def starts(outcome: Any) -> list[int]:
    assert outcome.error is Error.NONE
    return [one.start for one in outcome.executed]


@pytest.mark.parametrize("memory", [1, 4])
def test_words_control_and_branches_take_their_cycles(bench: Any, memory: int) -> None:
    def run(*words: int) -> Any:
        return sequencer.job([*words, HALT], chances=chances)

    sequencer, chances = bench(), bench.chances(memory=(memory, memory))
    add = Instruction("add", {"d": Register.T0}).encode()
    plain, controlled, jumping = sequencer.run_all(
        [
            run(load(), load()),
            run(load(), *[add] * 5, load()),
            run(load(), Instruction("jump", {"target": 2}).encode(), load()),
        ]
    )
    first, second = starts(plain)
    word_comes = plain.started + START_CYCLES + memory
    assert plain.fetched[0] == (plain.started + START_CYCLES, 0)
    assert first == word_comes + timing.FETCH_CYCLES + timing.UNIT_QUEUE_CYCLES
    assert second == first + 1
    first, second = starts(controlled)
    assert second - first == 1 + 5 * timing.CONTROL_CYCLES
    first, second = starts(jumping)
    assert second - first == 1 + timing.sequencer_branch_cycles(memory)


@pytest.mark.parametrize("memory", [1, 6])
@pytest.mark.parametrize("missing", [0, 1])
def test_prefetch_is_enough_for_an_instruction_a_cycle(
    bench: Any, memory: int, missing: int
) -> None:
    config = SequencerConfig(prefetch=timing.sequencer_prefetch(memory) - missing)
    chances = bench.chances(memory=(memory, memory))
    count = 60
    first, *_, last = starts(bench(config).run([load()] * count + [HALT], chances=chances))
    if missing:
        assert count - 1 < last - first < 2 * count
    else:
        assert last - first == count - 1


def test_tokens_drains_and_dead_locks_take_their_cycles(bench: Any) -> None:
    length = 40
    chances = bench.chances(work=(length, length))
    sequencer = bench()
    sync = Instruction("sync", {"wait": unit_mask([Unit.DMA])}).encode()
    signalled, drained, stuck = sequencer.run_all(
        [
            sequencer.job(
                [load(signal=(Unit.KV,)), order(wait=(Unit.DMA,)), HALT], chances=chances
            ),
            sequencer.job([load(), sync, order(), HALT], chances=chances),
            sequencer.job([load(), order(wait=(Unit.DMA,)), HALT], chances=chances),
        ]
    )
    giver, taker = signalled.executed
    assert taker.start - giver.end == timing.TOKEN_CYCLES
    giver, taker = drained.executed
    handed_on = timing.DRAIN_CYCLES + timing.CONTROL_CYCLES
    assert taker.start - giver.end == handed_on + timing.UNIT_QUEUE_CYCLES
    assert stuck.error is Error.DEADLOCK
    assert stuck.ended - 1 - stuck.executed[0].end == timing.DEADLOCK_CYCLES


def test_a_branch_takes_no_longer_with_a_full_prefetch(bench: Any) -> None:
    """While the sequencer waits for a unit, words are fetched up to the last place."""
    sync = Instruction("sync", {"wait": unit_mask([Unit.DMA])}).encode()
    jump = Instruction("jump", {"target": 20}).encode()
    words = [load(), sync, jump, *[HALT] * 17, order(), HALT]
    outcome = bench().run(words, chances=bench.chances(work=(60, 60)))
    giver, taker = outcome.executed
    begins = giver.end + timing.DRAIN_CYCLES + timing.CONTROL_CYCLES
    branch = timing.sequencer_branch_cycles(1)
    assert taker.start == begins + branch + timing.UNIT_QUEUE_CYCLES
    prefetch = SequencerConfig().prefetch
    ahead = [index for cycle, index in outcome.fetched if cycle < giver.end]
    assert ahead == [*range(len(ahead))]
    assert len(ahead) == 2 + prefetch


def test_a_timeout_counts_cycles_without_progress(bench: Any) -> None:
    sequencer = bench()
    quick = sequencer.job([load()] * 300 + [HALT], timeout=20)
    slow = sequencer.job([load(), HALT], hanging={0: 19}, timeout=20)
    slower = sequencer.job([load(), HALT], hanging={0: 20}, timeout=20)
    ends = [one.error for one in sequencer.run_all([quick, slow, slower])]
    assert ends == [Error.NONE, Error.NONE, Error.TIMEOUT]
