"""How far results move when a free parameter moves by a tenth."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hwroute.errors import InputError
from hwroute.sim.device import Device
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.reproduce.attention import mean_cycles
from hwroute.sim.performance.reproduce.cases import Case, decode_steps
from hwroute.sim.performance.reproduce.free import QUANTA, STEP, free, moved, neighbours
from hwroute.sim.performance.reproduce.kv_bandwidth import delivered
from hwroute.sim.performance.reproduce.rows import paragraphs

CONTEXT = 640
"""Tokens before the decode steps: the middle of [128, 1024], where a step takes the mean."""
PROMPT, LAYERS = 64, 4
"""Tokens of the prompt whose attention is timed; layers of it, and of the dense step."""
STEPS = 1
"""Decode steps: each skips as many sub-layers as any other."""
SPEED, RATE, PREFILL, DECODE = "token/s", "dense K/V, GB/s", "prefill gain", "decode gain"
FIGURES = (SPEED, RATE, PREFILL, DECODE)
MORE = {"steps": 8, "prompt": 4}
"""Times that the decisions' own parameters are given, since each value draws others."""
SKIP_SOURCE = 'the paper: "about 25 %" of sub-layers'
SEED_SOURCE = "a choice; other draws show how much the mean of a draw moves"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a value of a parameter does.

    Parameters
    ----------
    value
        That the parameter is given.
    moves
        Of each of `FIGURES`, less 1; empty where the model refuses the value.
    """

    value: Any
    moves: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A parameter.

    Parameters
    ----------
    name, value, source
        Of the parameter: its path, what it is, and from where.
    changes
        Below and above the value, or, of a switch, the other way.
    """

    name: str
    value: Any
    source: str
    changes: tuple[Change, ...]

    def fields(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        changes = [{"value": one.value, "moves": one.moves} for one in self.changes]
        return {
            "parameter": self.name,
            "value": self.value,
            "source": self.source,
            "changes": changes,
        }


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Every free parameter, and how far results move with it.

    Parameters
    ----------
    about
        What was run: paragraphs of one line.
    base
        `FIGURES` as they are.
    shifts
        The parameters.
    """

    about: tuple[str, ...]
    base: dict[str, float]
    shifts: list[Shift]


class Runs:
    """What is run for every value.

    Parameters
    ----------
    case
        Model and machine.
    context, steps
        Tokens before the decode steps, and steps.
    prompt, layers
        Tokens of the prompt whose attention is timed; layers of it, and of the dense step.
    """

    def __init__(self, case: Case, *, context: int, steps: int, prompt: int, layers: int):
        plain = replace(case, skip=0.0).with_layers(layers)
        self.routed = case.setup(context, steps + 1, even=True)
        self.dense = plain.setup(context, 2)
        self.prompt = case.with_layers(layers).setup(prompt, 1)
        self.dense_prompt = plain.setup(prompt, 1)

    def figures(self, parameters: Parameters, device: Device) -> dict[str, float]:
        """Return `FIGURES` of a machine; gains are of attention over the dense unfused one's."""

        def given(setup: Setup, *, fused: bool = parameters.fused) -> Setup:
            return replace(setup, parameters=replace(parameters, fused=fused), device=device)

        routed, dense = given(self.routed), given(self.dense, fused=False)
        prompt, dense_prompt = given(self.prompt), given(self.dense_prompt, fused=False)
        steps, dense_steps = decode_steps(routed), decode_steps(dense)
        cycles = sum(run.marks[1] - run.marks[0] for run in steps)
        before = mean_cycles(dense_prompt, [Machine(dense_prompt).prefill()])
        return {
            SPEED: len(steps) / cycles * device.core_mhz * 1e6,
            RATE: delivered(dense, dense_steps).gb_s,
            PREFILL: before / mean_cycles(prompt, [Machine(prompt).prefill()]),
            DECODE: mean_cycles(dense, dense_steps) / mean_cycles(routed, steps),
        }


def sensitivity(
    case: Case,
    *,
    context: int = CONTEXT,
    steps: int = STEPS,
    prompt: int = PROMPT,
    layers: int = LAYERS,
    only: Callable[[str], bool] = lambda _: True,
    done: Callable[[int], None] = lambda _: None,
) -> Sensitivity:
    """Move every free parameter down and up by `STEP`, alone.

    Parameters
    ----------
    case
        Model and machine.
    context, steps, prompt, layers
        As in `Runs`.
    only
        Which parameters, by path.
    done
        Called with 1 for each that is done.
    """
    sizes = {"context": context, "steps": steps, "prompt": prompt, "layers": layers}
    runs = Runs(case, **sizes)
    base = runs.figures(case.parameters, case.device)
    shifts = _workload_shifts(
        case, {name: MORE.get(name, 1) * size for name, size in sizes.items()}
    )
    for name, value, source in free(case):
        if only(name):
            shifts.append(_shift(case, runs, base, name, value, source))
            done(1)
    about = paragraphs(
        f"""
        Every number and switch that neither the RTL (`hwroute.timing`) nor the configuration fixes,
        moved alone by {STEP:.0%}, a whole number by 1 at least, a switch the other way.
        `device.`: of `sim/devices`; `workload.`: of the decisions; the others are of
        `hwroute.sim.performance.parameters`.

        {SPEED}: {steps} decode step behind {context} tokens. {RATE}: a dense step there, through
        {layers} layers. {DECODE} and {PREFILL}: attention sub-layers of such a step, and of a
        prompt of {prompt} tokens through {layers} layers, over the dense unfused ones. For
        `workload.` it is {MORE["steps"]} times the steps and {MORE["prompt"]} times the prompt,
        since each value draws other decisions; what is left of that the seed shows.
        """
    )
    return Sensitivity(about=about, base=base, shifts=shifts)


def _shift(
    case: Case, runs: Runs, base: dict[str, float], name: str, value: Any, source: str
) -> Shift:
    """Move one parameter."""
    changes = []
    for other in neighbours(value, QUANTA.get(name, 1)):
        try:
            changes.append(_change(other, runs.figures(*moved(case, name, value, other)), base))
        except (InputError, ValueError):
            changes.append(Change(value=other, moves={}))
    return Shift(name=name, value=value, source=source, changes=tuple(changes))


def _change(value: Any, figures: dict[str, float], base: dict[str, float]) -> Change:
    return Change(value=value, moves={key: figures[key] / base[key] - 1 for key in FIGURES})


def _workload_shifts(case: Case, sizes: dict[str, int]) -> list[Shift]:
    """Move what the decisions are drawn from."""
    base = Runs(case, **sizes).figures(case.parameters, case.device)
    skips, seeds = neighbours(case.skip), (case.seed + 1, case.seed + 2)
    cases = [
        (
            "workload.skip",
            case.skip,
            SKIP_SOURCE,
            [(one, replace(case, skip=one)) for one in skips],
        ),
        (
            "workload.seed",
            case.seed,
            SEED_SOURCE,
            [(one, replace(case, seed=one)) for one in seeds],
        ),
    ]
    return [
        Shift(
            name=name,
            value=value,
            source=source,
            changes=tuple(
                _change(other, Runs(one, **sizes).figures(one.parameters, one.device), base)
                for other, one in others
            ),
        )
        for name, value, source, others in cases
    ]
