# amaranth: UnusedElaboratable=no
"""Every error with its unit and index, and a clean run after each."""

from typing import Any

import pytest

from hwroute.csr import Error
from hwroute.isa.fields import WORD_BITS, Register, Unit
from hwroute.isa.instruction import Instruction, unit_mask
from hwroute.isa.table import BY_CODE, BY_NAME
from hwroute.rtl.sequencer import Sequencer
from hwroute.sequencer_config import SequencerConfig

NAMES = {
    Unit.DMA: "load",
    Unit.ARRAY: "matmul",
    Unit.NPE: "reduce",
    Unit.ROUTER: "decide",
    Unit.KV: "kv.order",
}
HALT = BY_NAME["halt"].code


def word(name: str, wait: tuple[Unit, ...] = (), signal: tuple[Unit, ...] = (), **own: int) -> int:
    """Return a word whose other fields are at their least."""
    values = {name: field.least for name, field in BY_NAME[name].by_name.items()}
    masks = {"wait": unit_mask(wait), "signal": unit_mask(signal)}
    return Instruction(name, values | masks | own).encode()


def of(unit: Unit, wait: tuple[Unit, ...] = (), signal: tuple[Unit, ...] = ()) -> int:
    return word(NAMES[unit], wait, signal)


ALL = [of(unit) for unit in NAMES]
UNKNOWN = next(code for code in range(256) if code not in BY_CODE)
OUT_OF_RANGE = BY_NAME["add"].code | (max(Register) + 1) << BY_NAME["add"].offsets["d"]
SIGNALS = BY_NAME["sync"].code | 1 << BY_NAME["sync"].offsets["signal"]
ROWS = word("set", d=Register.ROWS, value=1)
BAD: dict[str, tuple[list[int], dict[str, Any], Error, int, int]] = {
    "opcode": ([*ALL, UNKNOWN, HALT], {}, Error.OPCODE, 0, 5),
    "stray": ([*ALL, HALT | 1 << (WORD_BITS - 1)], {}, Error.STRAY, 0, 5),
    "range": ([OUT_OF_RANGE, HALT], {}, Error.RANGE, 0, 0),
    "signal": ([*ALL, SIGNALS, HALT], {}, Error.RANGE, 0, 5),
    "jump out": ([*ALL, word("jump", target=7), HALT], {}, Error.TARGET, 0, 5),
    "untaken out": (
        [ROWS, word("branch.zero", a=Register.ROWS, target=1 << 19), HALT],
        {},
        Error.TARGET,
        0,
        1,
    ),
    "loop out": ([word("loop", d=Register.T0, target=3), HALT, HALT], {}, Error.TARGET, 0, 0),
    "past the end": (ALL, {}, Error.END, 0, 5),
    "no program": ([HALT], {"length": 0}, Error.END, 0, 0),
    "first outside": ([HALT], {"first": 9}, Error.END, 0, 9),
    "loop on 0": ([*ALL, word("loop", d=Register.T0, target=0), HALT], {}, Error.LOOP, 0, 5),
    "no rows": ([word("branch.empty", plane=3, target=0), HALT], {}, Error.ROWS, 0, 0),
    "many rows": (
        [word("set", d=Register.ROWS, value=17), word("branch.empty", target=0), HALT],
        {},
        Error.ROWS,
        0,
        1,
    ),
    **{
        f"{unit.name.lower()} fails": (
            [*ALL, *ALL, HALT],
            {"failing": {5 + unit}},
            Error.UNIT,
            1 + unit,
            5 + unit,
        )
        for unit in NAMES
    },
    "tokens": (
        [of(Unit.KV, signal=(Unit.NPE, Unit.DMA))] * 3
        + [of(Unit.DMA, wait=(Unit.KV,))]
        + [of(Unit.KV, signal=(Unit.NPE,)), HALT],
        {},
        Error.TOKENS,
        1 + Unit.KV,
        4,
    ),
    "nobody gives": (
        [*ALL, of(Unit.ARRAY, wait=(Unit.DMA,)), HALT],
        {},
        Error.DEADLOCK,
        1 + Unit.ARRAY,
        5,
    ),
    "circle": (
        [
            *ALL,
            of(Unit.NPE, wait=(Unit.ROUTER,), signal=(Unit.ROUTER,)),
            of(Unit.ROUTER, wait=(Unit.NPE,), signal=(Unit.NPE,)),
            *ALL,
            word("sync", wait=(Unit.ROUTER,)),
            HALT,
        ],
        {},
        Error.DEADLOCK,
        1 + Unit.NPE,
        5,
    ),
    "own token": ([of(Unit.KV, wait=(Unit.KV,)), HALT], {}, Error.DEADLOCK, 1 + Unit.KV, 0),
    "full queue": (
        [of(Unit.DMA), *[of(Unit.DMA, wait=(Unit.KV,))] * 9, of(Unit.KV, signal=(Unit.DMA,)), HALT],
        {},
        Error.DEADLOCK,
        1 + Unit.DMA,
        1,
    ),
    "hanging": (
        [*ALL, HALT],
        {"hanging": {2: 700}, "timeout": 100},
        Error.TIMEOUT,
        1 + Unit.NPE,
        2,
    ),
    "failing, then hanging": (
        [*ALL, HALT],
        {"failing": {4}, "hanging": {2: 300}, "timeout": 50},
        Error.UNIT,
        1 + Unit.KV,
        4,
    ),
    "silent": ([*ALL, HALT], {"silent": True, "timeout": 100}, Error.TIMEOUT, 0, 0),
}


def good_program() -> list[int]:
    """Return a program that stores every register, then counts, with tokens between all units."""
    puts = [word("put", value=register) for register in Register]
    ring = [*NAMES]
    body = [
        of(unit, wait=(before,) if before is not ring[-1] else (), signal=(after,))
        for before, unit, after in zip([ring[-1], *ring], ring, [*ring[1:], ring[0]], strict=False)
    ]
    back = word("load", (Unit.KV,))
    counted = [word("set", d=Register.T0, value=3), *body, back]
    loop = word("loop", d=Register.T0, target=len(puts) + 1)
    return [*puts, *counted, loop, HALT]


@pytest.mark.parametrize("speed", ["quick", "slow"])
def test_an_error_has_its_index_and_the_next_run_is_clean(bench: Any, speed: str) -> None:
    sequencer = bench(SequencerConfig(token_bits=2))
    chances = bench.slow if speed == "slow" else bench.chances()
    arguments = {"prompt": 3, "generate": 4, "stop": 5, "chances": chances, "seed": 2}
    jobs = []
    for words, options, *_ in BAD.values():
        jobs.append(sequencer.job(words, **arguments, **options))
        jobs.append(sequencer.job(good_program(), **arguments))
    outcomes = sequencer.run_all(jobs)
    registers = [0] * len(Register)
    registers[Register.PROMPT], registers[Register.GENERATE], registers[Register.STOP] = 3, 4, 5
    for name, wrong, right in zip(BAD, outcomes[::2], outcomes[1::2], strict=True):
        assert (wrong.error, wrong.unit, wrong.index) == BAD[name][2:], name
        assert right.error is Error.NONE, name
        puts = right.of(Unit.DMA)[: len(registers)]
        assert [put.value for put in puts] == registers, name
        assert len(right.executed) == len(registers) + 3 * (len(NAMES) + 1), name
        assert all(one.end < right.ended for one in right.executed), name


def test_a_word_of_zeros_is_no_instruction() -> None:
    """It is what the instruction memory gives for a word that it cannot read."""
    assert 0 not in BY_CODE


def test_other_sizes_are_refused() -> None:
    sizes: Any = 8
    with pytest.raises(TypeError, match="Sizes must be a SequencerConfig, not 8"):
        Sequencer(sizes)


def test_a_run_waits_for_what_an_earlier_one_left(bench: Any) -> None:
    """An instruction that hangs; the next run gives up, the one behind it begins when it ends."""
    sequencer = bench()
    words = [*ALL, HALT]
    hung, gives_up, begins = sequencer.run_all(
        [
            sequencer.job(words, hanging={2: 400}, timeout=50),
            sequencer.job(words, timeout=50),
            sequencer.job(words),
        ]
    )
    for outcome in (hung, gives_up):
        blamed = (outcome.error, outcome.unit, outcome.index)
        assert blamed == (Error.TIMEOUT, 1 + Unit.NPE, 2)
    assert not gives_up.executed
    assert not gives_up.fetched
    assert begins.error is Error.NONE
    left = next(one for one in hung.executed if one.index == 2)
    assert begins.executed[0].start > left.end > begins.started


def test_what_an_earlier_run_left_waiting_counts_for_nothing(bench: Any) -> None:
    sequencer = bench()
    stuck = [*ALL, *(of(unit, wait=(unit,)) for unit in NAMES), HALT]
    words = [[*ALL, HALT], stuck, [*ALL, HALT]]
    before, dead, behind = sequencer.run_all([sequencer.job(one) for one in words])
    assert dead.error is Error.DEADLOCK
    assert behind.events == before.events


def test_runs_without_memory_leave_no_words_behind(bench: Any) -> None:
    """More runs than requests may be on their way; then all words come at once."""
    sequencer = bench(SequencerConfig(prefetch=2))
    silent = [sequencer.job([UNKNOWN] * 9, silent=True, timeout=20) for _ in range(7)]
    *failed, fetched = sequencer.run_all([*silent, sequencer.job(good_program())])
    assert [one.error for one in failed] == [Error.TIMEOUT] * 7
    assert sum(len(one.fetched) for one in failed) == 2 * sequencer.dut.config.prefetch
    assert fetched.error is Error.NONE


def test_nothing_starts_after_an_error(bench: Any) -> None:
    """What the unit was offered by then ends, and nothing else is offered."""
    words = [of(Unit.KV)] * 8 + [HALT]
    outcome = bench().run(words, failing={0}, chances=bench.chances(work=(30, 30), flight=1))
    assert (outcome.error, outcome.unit, outcome.index) == (Error.UNIT, 1 + Unit.KV, 0)
    assert [one.index for one in outcome.executed] == [0, 1, 2]
    assert outcome.executed[-1].end == outcome.ended - 2
