"""A layer of Llama-2-7B's shape on the whole machine at its full size, and in the model of it.

``python -m hwroute.sim.machine.full_layer --out docs/results`` writes the comparison.
"""

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from hwroute import provenance
from hwroute.errors import CheckFailedError
from hwroute.paths import build_dir
from hwroute.program import Program
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.sim.device import load_device
from hwroute.sim.machine.check import Checked, check_machine
from hwroute.sim.machine.full_layer_program import (
    CONFIG,
    CONTEXT,
    EXECUTED,
    SEED,
    TOKEN,
    step_image,
    step_program,
)
from hwroute.sim.machine.log import Kind, field, read_log
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.hbm_rates import FixedHbm
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.result import Run
from hwroute.sim.performance.workload import recorded

LATENCY = load_device("u280").hbm.idle.closed
"""Cycles of a memory's clock: a closed page of HBM."""
CLOCKS = (2, 1)
"""Half periods of machine and HBM: 225 and 450 MHz."""
PAGE = """# A layer of Llama-2-7B on the machine at full size

Written by `python -m hwroute.sim.machine.full_layer --out docs/results`: one decode step at the
`u280` configuration ({columns} columns, {ports} HBM ports), on the RTL in Verilator and in the
performance model, with the same memories: {latency} cycles of latency, HBM at twice the machine's
clock. Weights are random; the step attends to {context} tokens, whose K and V are random too. Layer
0's attention fills the history buffer, its FFN is skipped; layer 1 is the layer that counts: all of
its attention and FFN, unsliced. Every write of the RTL is compared with the interpreter: {writes:,}
events of the log, {instructions} instructions, DDR and HBM in the end.

| | RTL | model | model / RTL |
| --- | ---: | ---: | ---: |
{totals}

Entries that the attentions of both layers read: {hbm} from HBM, {buffer} from the history buffer
(all of them in layer 1, {share:.1%} of its {earlier} earlier tokens).

Instructions of the layer, cycles from issue to end, summed:

| instruction | number | RTL | model | model / RTL |
| --- | ---: | ---: | ---: | ---: |
{classes}
"""


@dataclass(frozen=True)
class Span:
    """An instruction that ran: its index; cycles of its issue and of its end."""

    index: int
    issued: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The run in RTL and in the performance model.

    Parameters
    ----------
    program
        What ran.
    checked
        In RTL.
    model
        Cycles in the performance model.
    rtl_spans
        Instructions in RTL.
    """

    program: Program
    checked: Checked
    model: Run
    rtl_spans: list[Span]

    @property
    def layer(self) -> tuple[float, float]:
        """Cycles of layer 1: RTL, model."""
        rtl, model = (layer_cycles(self.program, spans) for spans in self._spans)
        return rtl, model

    @property
    def classes(self) -> dict[str, tuple[int, float, float]]:
        """Instructions of each mnemonic in layer 1, and their cycles from issue to end in both."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        for way, spans in enumerate(self._spans):
            for one in _of_layer(self.program, spans):
                of_name = sums[self.program.instructions[one.index].name]
                of_name[0] += way
                of_name[1 + way] += one.ended - one.issued
        return {name: (int(count), rtl, model) for name, (count, rtl, model) in sums.items()}

    @property
    def _spans(self) -> tuple[list[Span], list[Span]]:
        return self.rtl_spans, spans_of_model(self.model)


def layer_cycles(program: Program, spans: list[Span]) -> float:
    """Return the cycles of layer 1, from its first issue to its last end."""
    inside = _of_layer(program, spans)
    return max(one.ended for one in inside) - min(one.issued for one in inside)


def _of_layer(program: Program, spans: list[Span]) -> list[Span]:
    return [one for one in spans if program.operations[one.index].startswith("layers.1.")]


def predict(program: Program, executed: NDArray[np.bool_]) -> Run:
    """Return the run of the model, on the memories that the simulated machine has."""
    machine, memory = CLOCKS
    rates = FixedHbm(latency=math.ceil(LATENCY * memory / machine), beat_cycles=memory / machine)
    ports = program.config.kv.hbm_ports
    memories = Memories(ports, rates, ddr_latency=LATENCY, ddr_beat_cycles=1.0)
    workload = recorded([TOKEN] * CONTEXT, executed, source="the interpreter")
    return Machine(Setup(program=program, workload=workload), memories=memories).run()


def measure() -> Comparison:
    """Run the decode step in both.

    Raises
    ------
    CheckFailedError
        The machine differs from the interpreter, or the token took another way.
    """
    program = step_program()
    builds = build_dir() / "machine"
    checked = check_machine(
        program,
        step_image(program),
        [TOKEN] * CONTEXT,
        1,
        folder=builds / "full-layer",
        builds=builds,
        waves=False,
        latency=LATENCY,
        half_periods=CLOCKS,
    )
    if not checked.match:
        raise CheckFailedError(checked.difference)
    executed = checked.generation.executed
    if executed[:, :, -1].tolist() != EXECUTED:
        raise CheckFailedError(f"token {TOKEN} must execute {EXECUTED}")
    model = predict(program, executed)
    assert checked.run.log
    return Comparison(
        program=program,
        checked=checked,
        model=model,
        rtl_spans=list(spans_of(checked.run.log)),
    )


def spans_of(log: Path) -> Iterable[Span]:
    """Yield the instructions of a log of the machine: each unit ends them in order."""
    issued = defaultdict(list)
    for event in read_log(log):
        if event.kind is Kind.ISSUE:
            issued[event.unit].append((field(ISSUED, event.payload, "index"), event.cycle))
        elif event.kind is Kind.DONE:
            index, cycle = issued[event.unit].pop(0)
            assert index == field(DONE, event.payload, "index")
            yield Span(index, cycle, event.cycle)


def spans_of_model(run: Run) -> list[Span]:
    """Return the instructions of a run of the model."""
    return [Span(one.index, one.issued, one.retired) for one in run.events]


def page(found: Comparison) -> str:
    """Return the comparison as a page."""
    run = found.checked.run
    totals = {"whole step": (float(run.cycles), found.model.cycles), "layer 1": found.layer}
    classes = sorted(found.classes.items(), key=lambda item: -item[1][1])
    buffer = run.counters["kv_buffer_entries"]
    return PAGE.format(
        columns=CONFIG.array.columns,
        ports=CONFIG.kv.hbm_ports,
        latency=LATENCY,
        context=CONTEXT,
        writes=found.checked.lockstep.events,
        instructions=found.checked.lockstep.instructions,
        totals="\n".join(_row(name, *both) for name, both in totals.items()),
        hbm=run.counters["kv_hbm_entries"],
        buffer=buffer,
        share=buffer / (CONTEXT - 1),
        earlier=CONTEXT - 1,
        classes="\n".join(_row(f"{name} | {count}", *both) for name, (count, *both) in classes),
    )


def _row(name: str, rtl: float, model: float) -> str:
    return f"| {name} | {rtl:,.0f} | {model:,.0f} | {model / rtl:.3f} |"


def record(found: Comparison) -> dict[str, object]:
    """Return the comparison as plain values, with what it came from."""
    run, (rtl, model) = found.checked.run, found.layer
    return {
        "match": found.checked.match,
        "cycles": {"rtl": run.cycles, "model": found.model.cycles},
        "layer_cycles": {"rtl": rtl, "model": model},
        "kv_entries": {
            "hbm": run.counters["kv_hbm_entries"],
            "buffer": run.counters["kv_buffer_entries"],
        },
        "classes": {
            name: {"instructions": count, "rtl_cycles": rtl, "model_cycles": model}
            for name, (count, rtl, model) in found.classes.items()
        },
        "seconds": {
            "run": found.checked.run_seconds,
            "golden": found.checked.golden_seconds,
        },
        "provenance": provenance.collect(command=sys.argv, config=CONFIG, seed=SEED),
    }


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for full-layer.md and full-layer.json.",
)
def main(out: Path | None) -> None:
    """Run a layer of Llama-2-7B on the machine in RTL and in the performance model."""
    found = measure()
    text = page(found)
    if out is None:
        click.echo(text)
        return
    (out / "full-layer.md").write_text(text, encoding="utf-8")
    values = json.dumps(record(found), indent=2) + "\n"
    (out / "full-layer.json").write_text(values, encoding="utf-8")


if __name__ == "__main__":
    main()
