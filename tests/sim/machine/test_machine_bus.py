"""A memory that answers with an error ends the run with a status; nothing hangs.

All failures come one after the other in one simulation: the next run begins clean.
"""

from typing import Any

import pytest

from hwroute.csr import Error
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES
from hwroute.isa.instruction import WORD_BYTES
from hwroute.memory_map import Content
from hwroute.rtl.axi import Response
from hwroute.sim.machine.attempts import BusFailure, Earlier
from hwroute.sim.machine.check import Checked
from hwroute.sim.machine.host import region_of

SLVERR, DECERR = Response.SLVERR, Response.DECERR


def lines(first: int, count: int = 1, **ways: Response) -> BusFailure:
    """Return a failure of lines of DDR."""
    places = range(first * LINE_BYTES, (first + count) * LINE_BYTES)
    return BusFailure(memory="ddr", addresses=places, **ways)


def beats(port: int, first: int, count: int = 1, **ways: Response) -> BusFailure:
    """Return a failure of beats of a port of HBM."""
    places = range(first * BEAT_BYTES, (first + count) * BEAT_BYTES)
    return BusFailure(memory=f"hbm_{port}", addresses=places, **ways)


def failures(short: Any) -> dict[str, tuple[str, BusFailure]]:
    """Return the instruction that must be named, the first of its name, and what fails, by name."""
    at = {name: short.at(short.first(name)).values for name in ("gather", "load", "matmul")}
    gather, matmul = at["gather"], at["matmul"]
    token = gather["table"] + short.prompt[1] * gather["lines"]
    kv = short.at(short.first("kv.map")).values
    exponents, values = kv["base"] + kv["vector"], kv["base"] + kv["vector"] + kv["exponents"]
    return {
        "ids": ("gather", lines(gather["ids"], read=SLVERR)),
        "embedding": ("gather", lines(token, read=DECERR)),
        "load": ("load", lines(at["load"]["address"], read=SLVERR)),
        "weights of the first port": ("matmul", beats(0, matmul["weights"] + 1, read=SLVERR)),
        "weights of the last port": ("matmul", beats(3, matmul["weights"], read=DECERR)),
        "scales": ("matmul", lines(matmul["scales"] + 1, read=SLVERR)),
        "K written": ("kv.write", beats(0, kv["base"], write=SLVERR)),
        "V written": ("kv.write", beats(1, values + kv["vector"] - 1, write=DECERR)),
        "K": ("scores", beats(1, kv["base"], read=SLVERR)),
        "exponents": ("scores", beats(0, exponents, read=DECERR)),
        "V": ("values", beats(0, values, read=SLVERR)),
        "ids written": ("put", lines(gather["ids"], write=SLVERR)),
    }


NAMES = (
    *("ids", "embedding", "load", "weights of the first port", "weights of the last port"),
    *("scales", "K written", "V written", "K", "exponents", "V", "ids written"),
)


@pytest.fixture(scope="module")
def checked(short: Any, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Run with every failure, then with one of the program's words, then with none."""
    before = [Earlier(failure=failure) for _, failure in failures(short).values()]
    word = region_of(short.program, Content.PROGRAM) * LINE_BYTES
    word += short.first("rotate") * WORD_BYTES
    places = range(word, word + WORD_BYTES)
    before.append(Earlier(failure=BusFailure(memory="ddr", addresses=places, read=SLVERR)))
    checked: Checked = short.check(tmp_path_factory.mktemp("bus"), before=before)
    return checked


@pytest.mark.cpp
@pytest.mark.parametrize("name", NAMES)
def test_the_instruction_whose_memory_fails_is_named(
    checked: Checked, short: Any, name: str
) -> None:
    instruction, _ = failures(short)[name]
    index = short.first(instruction)
    got = checked.run.earlier[NAMES.index(name)]
    assert got.finished
    assert (got.error, got.error_index) == (Error.UNIT, index)
    assert got.error_unit == 1 + short.at(index).unit


@pytest.mark.cpp
def test_a_word_of_the_program_that_cannot_be_read_is_named(checked: Checked, short: Any) -> None:
    """A beat is two words: it is no instruction from the first of them on."""
    got = checked.run.earlier[-1]
    assert got.finished
    assert (got.error, got.error_unit) == (Error.OPCODE, 0)
    assert got.error_index == short.first("rotate") & ~1


@pytest.mark.cpp
def test_the_run_behind_all_failures_is_clean(checked: Checked, fresh: Checked) -> None:
    """Text, every write, all memories and all counters are those of a run after a reset."""
    assert checked.match, checked.difference
    assert checked.run.counters == fresh.run.counters


def test_every_failure_has_its_test(short: Any) -> None:
    assert tuple(failures(short)) == NAMES


def test_settings_of_a_simulation_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="Addresses must follow each other"):
        BusFailure(memory="ddr", addresses=range(0, 64, 32))
    with pytest.raises(ValueError, match="must be cut off by a reset, not at 5"):
        Earlier(cut=5)
