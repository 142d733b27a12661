"""Run one unit in Verilator on arrays of payloads."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cocotb_tools.runner
import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from hwroute.errors import HwrouteError
from hwroute.rtl.emit import library_files, simulation_files
from hwroute.sim.emission import TOP, EmittedUnit
from hwroute.sim.faults import Fault
from hwroute.sim.payloads import pack, unpack, width_of
from hwroute.sim.verilate import build

LIBRARY = Path(__file__).parent / "verilog"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a simulation gave.

    Parameters
    ----------
    outputs
        Values of each output stream, in order.
    out_cycles
        Clock cycle in which each payload left, by stream: [count] int64.
    in_cycles
        Clock cycle in which each payload was accepted, by stream: [count] int64.
    results
        Plain outputs at the end.
    cycles
        Length of the run.
    """

    outputs: dict[str, Any]
    out_cycles: dict[str, NDArray[np.int64]]
    in_cycles: dict[str, NDArray[np.int64]]
    results: dict[str, int] = field(default_factory=dict)
    cycles: int = 0


class UnitSimulation:
    """A unit built for Verilator; built at most once for each distinct Verilog.

    Parameters
    ----------
    unit
        A component whose members are streams and plain ports, or one that is emitted already.
    folder
        Where builds are cached.
    waves
        Build it able to write waves; a run then leaves ``dump.vcd`` in its folder.
    fault
        Plant this fault in the Verilog.
    """

    def __init__(
        self,
        unit: wiring.Component | EmittedUnit,
        *,
        folder: Path,
        waves: bool = False,
        fault: Fault | None = None,
    ):
        emitted = unit if isinstance(unit, EmittedUnit) else EmittedUnit.of(unit)
        self.ports = emitted.ports
        self.waves = waves
        verilog = emitted.verilog
        sources = {"unit.v": fault.plant(verilog) if fault else verilog}
        # A change of a model builds those that use it anew, not every unit.
        models = [path for path in sorted(LIBRARY.glob("*.v")) if path.stem in verilog]
        for path in (*library_files(), *simulation_files(), *models):
            sources[path.name.replace(".v", ".sv")] = path.read_text(encoding="utf-8")
        self.executable = build(sources, top=TOP, folder=folder / "verilator", waves=waves)

    def run(
        self,
        inputs: Mapping[str, Any],
        expect: Mapping[str, int],
        *,
        folder: Path,
        settings: Mapping[str, int] | None = None,
        stall: float = 0.0,
        seed: int = 1,
        max_cycles: int = 1_000_000,
    ) -> Run:
        """Feed every input stream, wait for `expect` payloads on each output stream.

        Parameters
        ----------
        inputs
            Values for each input stream, as `hwroute.sim.payloads.pack` takes them.
        expect
            Payloads to wait for on each output stream; one more within 16 cycles of the last is
            an error.
        folder
            For the files of this run; made if missing.
        settings
            Values of plain inputs; zero where not given.
        stall
            Chance that a source idles, and that a sink is not ready, in a cycle.
        seed
            Of the stalls.
        max_cycles
            Watchdog.

        Raises
        ------
        ValueError
            `stall` is out of range.
        HwrouteError
            The unit hung, broke the stream protocol, failed an assertion or sent too much.
        """
        threshold = round(stall * 256)
        if not 0 <= threshold < 256:
            raise ValueError(f"Stall must be from 0 to below 1, not {stall!r}")
        folder.mkdir(parents=True, exist_ok=True)
        for name, shape in self.ports.sources.items():
            pack(shape, inputs[name]).tofile(folder / f"{name}.bin")
        job = {
            "settings": dict.fromkeys(self.ports.settings, 0) | dict(settings or {}),
            "results": list(self.ports.results),
            "stall_in": threshold,
            "stall_out": threshold,
            "seed": seed,
            "max_cycles": max_cycles,
            "drain_cycles": 16,
        }
        self._simulate(job, expect, folder)
        return self._collect(expect, folder)

    def _simulate(self, job: dict[str, Any], expect: Mapping[str, int], folder: Path) -> None:
        runner = cocotb_tools.runner.get_runner("verilator")
        results = folder.resolve() / "results.xml"
        log = folder.resolve() / "simulation.log"
        try:
            runner.test(
                test_module="hwroute.sim.stream_bench",
                hdl_toplevel=TOP,
                hdl_toplevel_lang="verilog",
                build_dir=self.executable.parent,
                test_dir=folder,
                results_xml=str(results),
                seed=job["seed"],
                plusargs=[
                    f"+folder={folder.resolve()}",
                    *(f"+{name}={expect[name]}" for name in self.ports.sinks),
                ],
                extra_env={
                    "HWROUTE_JOB": json.dumps(job),
                    "HWROUTE_RESULT": str(folder.resolve() / "result.json"),
                },
                waves=self.waves,
                log_file=log,
            )
        except (SystemExit, RuntimeError):
            raise HwrouteError(_reason(log)) from None
        if not results.exists() or not _passed(results):
            raise HwrouteError(_reason(log))

    def _collect(self, expect: Mapping[str, int], folder: Path) -> Run:
        outputs, out_cycles = {}, {}
        for name, shape in self.ports.sinks.items():
            lines = (folder / f"{name}.txt").read_text(encoding="ascii").split()
            if len(lines) // 2 != expect[name]:
                raise HwrouteError(
                    f"stream {name} must send {expect[name]} payloads, not {len(lines) // 2}"
                )
            out_cycles[name] = np.array(lines[0::2], np.int64)
            digits = 2 * ((width_of(shape) + 7) // 8)
            joined = bytes.fromhex("".join(text.zfill(digits) for text in lines[1::2]))
            raw = np.frombuffer(joined, np.uint8).reshape(-1, digits // 2)[:, ::-1]
            outputs[name] = unpack(shape, raw)
        in_cycles = {
            name: np.array((folder / f"{name}.log").read_text(encoding="ascii").split(), np.int64)
            for name in self.ports.sources
        }
        end = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return Run(
            outputs=outputs,
            out_cycles=out_cycles,
            in_cycles=in_cycles,
            results=end["results"],
            cycles=end["cycles"],
        )


def _passed(results: Path) -> bool:
    """Tell whether a results file holds at least one test and none that failed."""
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    bad = [
        case for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    return bool(cases) and not bad


def _reason(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    # Verilator's own messages, then the last line of a Python exception.
    found = re.search(r"^.*(?:%Error|%Fatal).*$|^\s*(?:\w+\.)*\w*Error: .*$", text, re.MULTILINE)
    if found:
        return f"{found.group(0).strip()} (see {log})"
    return f"the simulation ended without a result (see {log})"
