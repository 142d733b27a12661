"""Run a Program on the performance model and on the RTL, and line up what both did."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hwroute.compiler import compile_program
from hwroute.config import PRESETS, Config
from hwroute.errors import CheckFailedError
from hwroute.isa.fields import Unit
from hwroute.models.image import build_image
from hwroute.models.interpreter.run import Interpreter
from hwroute.program import Program
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.kv_port_reader import FIFO_BEATS
from hwroute.sim.machine.log import Event, Kind, field, read_log
from hwroute.sim.machine.run import run_machine
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.parity_cases import Case, Memory
from hwroute.sim.performance.result import Run
from hwroute.sim.performance.simulated import simulated
from hwroute.sim.performance.workload import Workload, recorded

CONFIG: Config = PRESETS["demo"]


@dataclass(frozen=True, kw_only=True)
class Span:
    """An instruction under way: index in the Program, and the cycles of its issue and end."""

    index: int
    issued: float
    retired: float

    @property
    def cycles(self) -> float:
        """From issue to end."""
        return self.retired - self.issued


Spans = dict[Unit, list[Span]]
"""Of each unit, in order."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same instruction of both.

    Parameters
    ----------
    name
        Mnemonic.
    rtl, model
        Its spans.
    """

    name: str
    rtl: Span
    model: Span


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One Program on both.

    Parameters
    ----------
    case
        What ran.
    rtl_cycles, model_cycles
        From start to end.
    pairs
        Of each unit, in order.
    skipped
        Share of attention and of FFN sub-layers that were skipped.
    """

    case: Case
    rtl_cycles: int
    model_cycles: float
    pairs: dict[Unit, list[Pair]]
    skipped: tuple[float, float]

    @property
    def miss(self) -> float:
        """The model's cycles over the RTL's, less 1."""
        return self.model_cycles / self.rtl_cycles - 1


@dataclass(frozen=True, kw_only=True)
class Sum:
    """A class of instructions: how many, and cycles from issue to end of both, summed."""

    count: int
    rtl: float
    model: float

    @property
    def miss(self) -> float:
        """The model's over the RTL's, less 1."""
        return self.model / self.rtl - 1


def spans_of_log(events: Iterable[Event]) -> Spans:
    """Return what a run of the RTL logged of its instructions.

    Raises
    ------
    ValueError
        An instruction ended that was not the oldest of its unit.
    """
    begun: dict[Unit, list[Event]] = defaultdict(list)
    spans: Spans = defaultdict(list)
    for event in events:
        if event.kind is Kind.ISSUE:
            begun[event.unit].append(event)
        elif event.kind is Kind.DONE:
            first = begun[event.unit].pop(0)
            index = field(ISSUED, first.payload, "index")
            if field(DONE, event.payload, "index") != index:
                raise ValueError(f"cycle {event.cycle}: not instruction {index} ended")
            spans[event.unit].append(Span(index=index, issued=first.cycle, retired=event.cycle))
    return dict(spans)


def spans_of_run(run: Run) -> Spans:
    """Return the same of a run of the model."""
    spans: Spans = defaultdict(list)
    for event in run.events:
        span = Span(index=event.index, issued=event.issued, retired=event.retired)
        spans[event.unit].append(span)
    return dict(spans)


def paired(program: Program, rtl: Spans, model: Spans) -> dict[Unit, list[Pair]]:
    """Line up instructions of both, unit by unit.

    Raises
    ------
    CheckFailedError
        They did not run the same.
    """
    pairs = {}
    for unit in sorted(rtl.keys() | model.keys()):
        mine, theirs = model.get(unit, []), rtl.get(unit, [])
        if [span.index for span in mine] != [span.index for span in theirs]:
            raise CheckFailedError(f"model and RTL ran other instructions of {unit.name.lower()}")
        pairs[unit] = [
            Pair(name=program.instructions[rtl_span.index].name, rtl=rtl_span, model=model_span)
            for rtl_span, model_span in zip(theirs, mine, strict=True)
        ]
    return pairs


def modelled(program: Program, workload: Workload, memory: Memory) -> Run:
    """Run the model on the memories of a run of the RTL."""
    memories = simulated(
        program.config.kv,
        latency=memory.latency,
        stall=memory.stall,
        half_periods=memory.half_periods,
    )
    fifo = FIFO_BEATS * program.config.kv.beat_bits // 8
    free = Parameters(port_fifo_bytes=fifo)
    setup = Setup(program=program, workload=workload, parameters=free)
    return Machine(setup, memories=memories).run()


def compare(case: Case, *, folder: Path, builds: Path) -> Parity:
    """Run a case on both.

    Parameters
    ----------
    case
        What to run.
    folder, builds
        As `hwroute.sim.machine.run.run_machine` takes them.

    Raises
    ------
    CheckFailedError
        The RTL did not come to its end with the interpreter's tokens, or the two ran other
        instructions.
    """
    model = case.checkpoint()
    program = compile_program(model.shape, model.policy, CONFIG, model=model.name)
    image, prompt = build_image(program, model), case.prompt_ids()
    generation = Interpreter(program, image).generate(prompt, case.generate)
    workload = recorded(prompt, generation.executed, source=model.name)
    memory = case.memory
    rtl = run_machine(
        program,
        image,
        prompt,
        case.generate,
        folder=folder,
        builds=builds,
        stall=memory.stall,
        seed=memory.seed,
        latency=memory.latency,
        half_periods=memory.half_periods,
    )
    if not rtl.ok or rtl.token_ids != generation.token_ids:
        raise CheckFailedError(f"{case.name}: the RTL does not generate what the interpreter does")
    assert rtl.log
    run = modelled(program, workload, memory)
    return Parity(
        case=case,
        rtl_cycles=rtl.cycles,
        model_cycles=run.cycles,
        pairs=paired(program, spans_of_log(read_log(rtl.log)), spans_of_run(run)),
        skipped=workload.skipped,
    )


def sums(parities: Iterable[Parity]) -> dict[str, Sum]:
    """Return the sums of each class over all runs, by mnemonic."""
    found: dict[str, list[Pair]] = defaultdict(list)
    for parity in parities:
        for pairs in parity.pairs.values():
            for pair in pairs:
                found[pair.name].append(pair)
    return {
        name: Sum(
            count=len(pairs),
            rtl=sum(pair.rtl.cycles for pair in pairs),
            model=sum(pair.model.cycles for pair in pairs),
        )
        for name, pairs in sorted(found.items())
    }


def largest(parity: Parity) -> Iterator[Pair]:
    """Yield the instructions of a run, those first that the model misses by most cycles."""
    everything = (pair for pairs in parity.pairs.values() for pair in pairs)
    yield from sorted(everything, key=lambda pair: -abs(pair.model.cycles - pair.rtl.cycles))
