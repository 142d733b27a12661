"""A unit runs on arrays; one that hangs or breaks the stream protocol is reported."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.errors import HwrouteError
from hwroute.paths import build_dir
from hwroute.sim.units import Run, UnitSimulation, _passed

BEAT = data.StructLayout({"value": signed(11), "words": data.ArrayLayout(5, 3), "last": 1})


class Fault(enum.Enum, shape=3):
    """What a `Wire` does wrong."""

    NONE = 0
    HANG = 1
    WITHDRAW = 2
    CHANGE = 3
    REPEAT = 4


class Wire(wiring.Component):
    """Pass payloads on in the same cycle, with a fault that a setting chooses.

    Members
    -------
    i, o
        Payloads in and out.
    fault
        What goes wrong: nothing passes any more after the eighth payload, valid falls and the
        payload flips in every other cycle, or every payload is sent twice.
    passed
        Payloads accepted.
    """

    i: In(stream.Signature(BEAT))
    o: Out(stream.Signature(BEAT))
    fault: In(Fault)
    passed: Out(16)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        odd, second = Signal(), Signal()
        hangs = (self.fault == Fault.HANG) & (self.passed == 8)
        withdraws = (self.fault == Fault.WITHDRAW) & odd
        changes = (self.fault == Fault.CHANGE) & odd
        repeats = (self.fault == Fault.REPEAT) & ~second
        payload = self.i.payload.as_value()
        m.d.comb += [
            self.o.valid.eq(self.i.valid & ~hangs & ~withdraws),
            self.o.payload.eq(payload ^ Mux(changes, 1, 0)),
            self.i.ready.eq(self.o.ready & self.o.valid & ~repeats),
        ]
        m.d.sync += odd.eq(~odd)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += second.eq(~second)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self.passed.eq(self.passed + 1)
        return m


@pytest.fixture(scope="module")
def simulation() -> UnitSimulation:
    return UnitSimulation(Wire(), folder=build_dir())


def beats(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "value": rng.integers(-1024, 1024, count),
        "words": rng.integers(0, 32, (count, 3)),
        "last": rng.integers(0, 2, count),
    }


def send(
    simulation: UnitSimulation,
    folder: Path,
    fault: Fault = Fault.NONE,
    *,
    count: int = 40,
    expect: int | None = None,
    **options: Any,
) -> Run:
    expected = count if expect is None else expect
    settings = {"fault": fault.value}
    return simulation.run(
        {"i": beats(count)}, {"o": expected}, folder=folder, settings=settings, **options
    )


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5, 0.95])
def test_payloads_arrive_as_they_were_sent(
    simulation: UnitSimulation, tmp_path: Path, stall: float
) -> None:
    run = send(simulation, tmp_path, stall=stall, count=200)
    for name, values in beats(200).items():
        np.testing.assert_array_equal(run.outputs["o"][name], values)
    assert run.results == {"passed": 200}
    np.testing.assert_array_equal(run.in_cycles["i"], run.out_cycles["o"])
    gaps = np.diff(run.out_cycles["o"])
    assert (gaps == 1).all() if stall == 0 else gaps.mean() > 1 / (1 - stall)
    assert run.cycles >= run.out_cycles["o"][-1]


@pytest.mark.cpp
def test_the_seed_decides_the_stalls(simulation: UnitSimulation, tmp_path: Path) -> None:
    cycles = [
        send(simulation, tmp_path / f"{place}", stall=0.5, seed=seed).out_cycles["o"].tolist()
        for place, seed in enumerate((1, 1, 2))
    ]
    assert cycles[0] == cycles[1] != cycles[2]


@pytest.mark.cpp
def test_no_payloads_are_no_outputs(simulation: UnitSimulation, tmp_path: Path) -> None:
    run = send(simulation, tmp_path, count=0)
    assert run.outputs["o"]["words"].shape == (0, 3)
    assert run.results == {"passed": 0}


@pytest.mark.cpp
def test_a_unit_that_hangs_is_ended_by_the_watchdog(
    simulation: UnitSimulation, tmp_path: Path
) -> None:
    with pytest.raises(HwrouteError, match="the unit was not done after 500 cycles"):
        send(simulation, tmp_path, Fault.HANG, max_cycles=500)
    # It is the unit that hangs, not the watchdog that always barks.
    assert send(simulation, tmp_path, Fault.HANG, count=8, max_cycles=500).results == {"passed": 8}


@pytest.mark.cpp
def test_a_payload_too_few_is_a_hang(simulation: UnitSimulation, tmp_path: Path) -> None:
    with pytest.raises(HwrouteError, match="the unit was not done after 300 cycles"):
        send(simulation, tmp_path, expect=41, max_cycles=300)


@pytest.mark.cpp
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault.WITHDRAW, "stream o: valid withdrawn before ready"),
        (Fault.CHANGE, "stream o: payload changed before ready"),
    ],
)
def test_a_broken_stream_protocol_is_reported(
    simulation: UnitSimulation, tmp_path: Path, fault: Fault, message: str
) -> None:
    with pytest.raises(HwrouteError, match=message) as caught:
        send(simulation, tmp_path, fault, stall=0.5, max_cycles=2000)
    assert str(tmp_path / "simulation.log") in str(caught.value)


@pytest.mark.cpp
@pytest.mark.parametrize("count", [1, 40])
def test_payloads_too_many_are_reported(
    simulation: UnitSimulation, tmp_path: Path, count: int
) -> None:
    """All 40 sent twice: within the cycles after the last one expected, 16 more come."""
    with pytest.raises(HwrouteError, match=rf"stream o must send {count} payloads, not \d+"):
        send(simulation, tmp_path, Fault.REPEAT, count=count)


@pytest.mark.cpp
def test_a_run_without_a_result_fails_even_where_an_earlier_one_passed(
    simulation: UnitSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(simulation, tmp_path)
    monkeypatch.setenv("COCOTB_TEST_FILTER", "no test has this name")
    with pytest.raises(HwrouteError):
        send(simulation, tmp_path)


@pytest.mark.cpp
@pytest.mark.parametrize("stall", [1.0, -0.1, 0.9999])
def test_a_stall_that_never_ends_is_refused(
    simulation: UnitSimulation, tmp_path: Path, stall: float
) -> None:
    with pytest.raises(ValueError, match=r"Stall must be from 0 to below 1, not"):
        send(simulation, tmp_path, stall=stall)


@pytest.mark.cpp
def test_a_second_build_of_the_same_unit_is_not_made(simulation: UnitSimulation) -> None:
    before = simulation.executable.stat().st_mtime_ns
    again = UnitSimulation(Wire(), folder=build_dir())
    assert again.executable == simulation.executable
    assert again.executable.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        ('<testcase name="a"/>', True),
        ("", False),
        ('<testcase name="a"><failure/></testcase>', False),
        ('<testcase name="a"/><testcase name="b"><error/></testcase>', False),
    ],
)
def test_only_results_with_a_test_and_no_failure_pass(
    tmp_path: Path, body: str, passed: bool
) -> None:
    results = tmp_path / "results.xml"
    results.write_text(f"<testsuites><testsuite>{body}</testsuite></testsuites>")
    assert _passed(results) is passed
