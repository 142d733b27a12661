"""The simulated machine generates what the interpreter does, and leaves the same memories."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute import api
from hwroute.compiler import compile_program
from hwroute.config import PRESETS
from hwroute.csr import Error
from hwroute.errors import HwrouteError, InputError
from hwroute.memory_map import Content
from hwroute.models.generate import adjusted_policy
from hwroute.models.image import Image, build_image
from hwroute.models.interpreter import Interpreter, Journal
from hwroute.program import Program
from hwroute.sim.machine import run as module
from hwroute.sim.machine.harness import harness
from hwroute.sim.machine.host import region_of
from hwroute.sim.machine.lockstep import follow
from hwroute.sim.machine.log import Kind, read_log
from hwroute.sim.machine.run import MachineRun, run_machine

CONFIG = PRESETS["demo"]
TOKENS = 2
Run = Callable[..., MachineRun]


@pytest.fixture(scope="module")
def made() -> tuple[Program, Image]:
    tiny = api.load("tiny")
    policy = adjusted_policy(tiny, routing=True, kv=None)
    program = compile_program(tiny.shape, policy, CONFIG, model=tiny.name)
    return program, build_image(program, tiny)


@pytest.fixture(scope="module")
def prompt() -> list[int]:
    return list(api.encode(api.load("tiny"), "Fi"))


@pytest.fixture
def run(made: tuple[Program, Image], prompt: list[int], tmp_path: Path) -> Run:
    def run(**options: Any) -> MachineRun:
        asked: dict[str, Any] = {"prompt": prompt, "generate": TOKENS, "folder": tmp_path}
        return run_machine(made[0], options.pop("image", made[1]), **(asked | options))

    return run


@pytest.fixture(scope="module")
def interpreter(made: tuple[Program, Image], prompt: list[int]) -> tuple[Interpreter, list[int]]:
    one = Interpreter(*made, journal=Journal())
    return one, one.generate(prompt, TOKENS).token_ids


@pytest.mark.cpp
@pytest.mark.parametrize(
    "options",
    [
        {"latency": 16},
        {"latency": 3, "stall": 0.3, "seed": 5, "half_periods": (2, 1)},
        {"latency": 40, "stall": 0.1, "seed": 6, "half_periods": (7, 3), "log": False},
    ],
)
def test_a_run_is_that_of_the_interpreter(
    run: Run, interpreter: tuple[Interpreter, list[int]], options: dict[str, Any]
) -> None:
    one, expected = interpreter
    got = run(**options)
    assert (got.error, got.error_unit, got.error_index) == (Error.NONE, 0, 0)
    assert got.ok
    assert got.token_ids == expected
    assert got.overflowed == bool(one.overflowed)
    for mine, theirs in (
        (got.ddr.reshape(-1), one.state.ddr.view(np.uint8).reshape(-1)),
        (got.hbm.reshape(len(got.hbm), -1), one.state.hbm.reshape(len(got.hbm), -1)),
    ):
        size = theirs.shape[-1]
        np.testing.assert_array_equal(mine[..., :size], theirs)
        assert not mine[..., size:].any(), "behind the image is nothing"
    assert (got.log is None) == ("log" in options)
    if got.log:
        assert one.state.journal
        lockstep = follow(one.program, one.state.journal, read_log(got.log))
        assert lockstep.divergence is None
        units = (name for name in got.counters if name.endswith("_instructions"))
        queued = sum(got.counters[name] for name in units if name != "control_instructions")
        assert lockstep.instructions == queued


@pytest.mark.cpp
def test_the_stop_token_ends_the_ids(run: Run, interpreter: tuple[Interpreter, list[int]]) -> None:
    _, expected = interpreter
    assert run(stop=expected[0]).token_ids == expected[:1]


@pytest.mark.cpp
def test_an_illegal_word_ends_the_run_with_its_error(run: Run, made: tuple[Program, Image]) -> None:
    program, image = made
    ddr = image.ddr.copy()
    ddr[region_of(program, Content.PROGRAM)] = 0xFF
    got = run(image=replace(image, ddr=ddr))
    assert got.finished
    assert not got.ok
    assert (got.error, got.error_unit, got.error_index) == (Error.OPCODE, 0, 0)
    assert got.token_ids == []
    assert got.counters["ddr_bytes_read"] > 0
    assert got.counters["dma_instructions"] == 0
    np.testing.assert_array_equal(got.hbm[:, : image.hbm.shape[1]], image.hbm)
    assert got.waves is None


@pytest.mark.cpp
@pytest.mark.slow
def test_waves_are_those_of_the_cycles_that_were_asked_for(run: Run) -> None:
    got = run(waves=range(1220, 1241))
    assert not got.finished
    assert got.waves
    text = got.waves.read_text(encoding="ascii")
    counter = re.search(r"\$var \S+ +64 (\S+) cycle ", text)
    assert counter
    numbers = re.findall(rf"^b([01]+) {re.escape(counter[1])}$", text, re.MULTILINE)
    cycles = [int(number, 2) for number in numbers]
    # The registers are read afterwards.
    assert 1219 <= min(cycles) <= 1221
    assert 1241 <= max(cycles) <= 2500
    assert "scratchpad" in text


@pytest.mark.cpp
def test_the_watchdog_ends_a_run(run: Run) -> None:
    got = run(max_cycles=2000)
    assert not got.finished
    assert got.error is Error.NONE
    assert got.token_ids == []
    assert 2000 <= got.cycles < 2100
    assert got.log
    events = list(read_log(got.log))
    kinds = {event.kind for event in events}
    assert {Kind.ISSUE, Kind.DONE, Kind.WRITE} <= kinds
    issued = [event.cycle for event in events if event.kind is Kind.ISSUE]
    counted = sum(
        count
        for name, count in got.counters.items()
        if name.endswith("_instructions") and name != "control_instructions"
    )
    # The machine goes on while the host reads one register after the other.
    assert sum(cycle < got.cycles for cycle in issued) <= counted <= len(issued)
    assert counted


@pytest.mark.cpp
def test_a_broken_simulation_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_steps", lambda *_: None)
    with pytest.raises(HwrouteError, match="cannot open the steps of the host"):
        run()


@pytest.mark.parametrize(
    "options",
    [{"stall": 1.0}, {"stall": -0.1}, {"latency": 0}, {"half_periods": (1, 0)}, {"max_cycles": 0}],
)
def test_settings_out_of_range_are_refused(run: Run, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run(**options)


def test_a_prompt_that_does_not_fit_is_refused(run: Run) -> None:
    with pytest.raises(InputError, match="context"):
        run(generate=100_000)


def test_the_harness_has_a_memory_for_each_port() -> None:
    text = harness(CONFIG)
    assert text == harness(CONFIG)
    assert text.count("hwroute_axi_memory #(") == 1 + CONFIG.kv.hbm_ports
    assert text.count(".clk(memory_clk)") == CONFIG.kv.hbm_ports
    assert "$dumpvars" not in text
    assert "$dumpvars" in harness(CONFIG, waves=True)
