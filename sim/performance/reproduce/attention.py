"""Time of the attention sub-layer in the paper's four configurations, over lengths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwroute.policy_terms import KVRule
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.reproduce.cases import LACKING, Case, decode_steps, sublayer_cycles
from hwroute.sim.performance.reproduce.paper import load_paper
from hwroute.sim.performance.reproduce.rows import Row, Section, paragraphs
from hwroute.sim.performance.result import Run

NAME = "attention"
LENGTHS, CONTEXTS = (128, 256, 512, 1024), (128, 512, 1024, 2048, 4000)
"""Of prompts, as the paper has them; before decode steps."""
LAYERS = 8
"""That are simulated: a model's are alike, and more move the mean little."""
FIRST = 2
"""Layer from which on the mean is taken: the first always executes, and what the second finds in
the history buffer depends on that."""
STEPS = 4
"""Decode steps of each point; with a quarter skipped each sub-layer is, once."""
BASE = "dense"
CONFIGURATIONS = {
    BASE: "dense unfused",
    "partial": "PartialSkip",
    "reuse": "+ K/V reuse",
    "fused": "+ fused dataflow",
    "more": f"+ what ours lacks ({', '.join(LACKING)})",
}
"""Those of the paper, and one more."""
FIGURES = load_paper().figures(NAME)


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean cycles of an attention sub-layer, skipped ones included, at a length.

    Parameters
    ----------
    length
        Tokens of the prompt, or before the decode steps.
    cycles
        By configuration.
    """

    length: int
    cycles: dict[str, float]

    def gain(self, configuration: str, over: str = BASE) -> float:
        """Return how many times faster a configuration is than another."""
        return self.cycles[over] / self.cycles[configuration]


def configurations(case: Case) -> dict[str, Case]:
    """Return the configurations: each has more than the one before."""
    unfused = replace(case, parameters=replace(case.parameters, fused=False))
    return {
        BASE: replace(unfused, skip=0.0),
        "partial": replace(unfused, kv=KVRule.DENSE),
        "reuse": replace(unfused, kv=KVRule.REUSE),
        "fused": replace(case, kv=KVRule.REUSE),
        "more": replace(case, kv=KVRule.REUSE).with_lacking(),
    }


def prefill_point(case: Case, length: int) -> Point:
    """Run prompts of a length."""
    cycles = {}
    for name, one in configurations(case).items():
        setup = one.setup(length, 1)
        cycles[name] = mean_cycles(setup, [Machine(setup).prefill()])
    return Point(length=length, cycles=cycles)


def decode_point(case: Case, context: int, steps: int) -> Point:
    """Run decode steps behind a context."""
    cycles = {}
    for name, one in configurations(case).items():
        setup = one.setup(context, steps + 1, even=True)
        cycles[name] = mean_cycles(setup, decode_steps(setup))
    return Point(length=context, cycles=cycles)


def mean_cycles(setup: Setup, runs: Sequence[Run]) -> float:
    """Return the mean cycles of attention sub-layers, over runs and layers from `FIRST` on."""
    each = [
        cycles
        for run in runs
        for (layer, kind), cycles in sublayer_cycles(setup, run).items()
        if kind == "attention" and layer >= FIRST
    ]
    return sum(each) / len(each)


def attention(
    case: Case,
    *,
    lengths: tuple[int, ...] = LENGTHS,
    contexts: tuple[int, ...] = CONTEXTS,
    steps: int = STEPS,
    layers: int = LAYERS,
) -> Section:
    """Time the attention sub-layer.

    Parameters
    ----------
    case
        Model and machine.
    lengths, contexts
        Tokens of prompts, and before decode steps; ascending.
    steps
        Decode steps of each context.
    layers
        Of the model that are simulated.
    """
    few = case.with_layers(layers)
    prefill = [prefill_point(few, length) for length in few.fitting(lengths)]
    decode = [decode_point(few, context, steps) for context in few.fitting(contexts, steps + 1)]
    hertz = case.device.core_mhz * 1e6
    return Section(
        name=NAME,
        title="The attention sub-layer, four configurations",
        about=paragraphs(
            f"""
            {case.name} on {case.config.name}; {case.skip:.0%} of sub-layers skipped where not
            dense; mean over layers {FIRST} to {few.shape.layers - 1} of {few.shape.layers}, skipped
            ones and projections included. The history buffer is on where K and V are reused.

            A sub-layer lasts from the end of the one before to the end of its residual addition, or
            of its router where it is skipped. Unfused: reductions are passes of their own
            (`hwroute.sim.performance.fusion`).

            Decode: {steps} steps behind each context; sub-layers skipped at equal distances.
            """
        ),
        rows=(
            *_rows("prefill", prefill, hertz, compared=True),
            *_rows("decode", decode, hertz, compared=False),
        ),
        findings=_findings(prefill, decode),
    )


def _rows(phase: str, points: list[Point], hertz: float, *, compared: bool) -> list[Row]:
    """Return the baseline's time and the gains over it, at each length."""
    rows = []
    for point in points:
        at = f"{phase}, {point.length} tokens"
        micro = point.cycles[BASE] / hertz * 1e6
        rows.append(Row(what=f"{at}: {CONFIGURATIONS[BASE]}", unit="us", ours=micro))
        for key, name in CONFIGURATIONS.items():
            if key == BASE:
                continue
            paper = FIGURES.get(key) if compared else None
            rows.append(
                Row(
                    what=f"{at}: {name}",
                    unit="x",
                    ours=point.gain(key),
                    paper=paper.value if paper else None,
                    place=paper.place if paper else "",
                    reason=_REASONS.get(key, ""),
                )
            )
    return rows


def _findings(prefill: list[Point], decode: list[Point]) -> tuple[str, ...]:
    """Return the trends, and what the paper says of each."""
    spreads = []
    for key, name in CONFIGURATIONS.items():
        gains = [point.gain(key) for point in prefill]
        if key != BASE:
            spreads.append(f"{name} {min(gains):.3f} to {max(gains):.3f}")
    fused = [point.gain("fused", "reuse") for point in decode]
    apart = [point.gain("reuse", "partial") for point in decode]
    lengths = ", ".join(str(point.length) for point in decode)
    return paragraphs(
        f"""
        Prefill, over all lengths (paper: stable): {"; ".join(spreads)}.

        Decode, fused over unfused with K/V reuse (paper: fades with the context), at {lengths}:
        {_list(fused)}. The passes of the unfused softmax grow with the context as reads of K and V
        do.

        Decode, K/V reuse over PartialSkip (paper: the two converge), at {lengths}: {_list(apart)}.
        """
    )


def _list(gains: list[float]) -> str:
    return ", ".join(f"{gain:.3f}" for gain in gains)


_ROUNDS = (
    "without a valid history buffer, as in all of prefill, a round ends where a port comes twice, "
    "and the array takes a round at a time: the entries that one gives fill few of its columns "
    "(`kv-bandwidth`), which costs more than the projections of K and V that reuse saves; the "
    "paper's gain is what those save alone"
)
_REASONS = {
    "partial": "projections of K and V remain, attention of skipped tokens does not",
    "reuse": _ROUNDS,
    "fused": f"{_ROUNDS}; reductions are short beside products of 64 rows",
}
