"""Token/s and bandwidth efficiency of a whole generation, and those of other accelerators."""

from hwroute.sim.performance.generation import SAMPLES, Performance, measure
from hwroute.sim.performance.metrics import bound
from hwroute.sim.performance.reproduce.cases import LACKING, Case
from hwroute.sim.performance.reproduce.paper import load_paper
from hwroute.sim.performance.reproduce.rows import Row, Section, paragraphs

NAME = "end-to-end"
PROMPT, GENERATE = 128, 1024
FIGURES = load_paper().figures(NAME)
DENSE = load_paper().figures("kv-bandwidth")["dense"]


def end_to_end(
    case: Case, *, prompt: int = PROMPT, generate: int = GENERATE, samples: int | None = SAMPLES
) -> Section:
    """Simulate a generation and put it beside the paper's.

    Parameters
    ----------
    case
        Model and machine.
    prompt, generate
        Tokens; the paper's by default.
    samples
        Steps that are simulated; the others are interpolated.
    """
    result = measure(case.setup(prompt, generate), samples=samples)
    more = measure(case.with_lacking().setup(prompt, generate), samples=samples)
    peak = result.peak / 1e9
    return Section(
        name=NAME,
        title="End to end, beside other accelerators",
        about=paragraphs(
            f"""
            {case.name} on {case.config.name}, [{prompt}, {generate}], {len(result.steps)} of
            {len(result.cycles)} decode steps simulated, two standard errors of the decode time
            {result.error:.2%}; {result.setup.workload.assumption}.

            Bandwidth efficiency: the bytes that decode reads from HBM, K and V included but what
            the history buffer serves, over {peak:.1f} GB/s, the peak of {case.config.kv.hbm_ports}
            ports.
            """
        ),
        rows=(*_speeds(result, more), *_efficiencies(result), *_peers()),
        findings=_findings(result),
    )


def _speeds(result: Performance, more: Performance) -> list[Row]:
    """Return both readings of the paper's token/s, and what explains the difference."""
    figure = FIGURES["tokens_per_second"]
    return [
        Row.of(
            figure,
            result.tokens_per_second,
            note="read as decoded tokens over the time of decode",
            reason=_SPEED,
        ),
        Row(
            what="the same, the prompt's time in the denominator",
            unit=figure.unit,
            ours=result.tokens_per_second_overall,
            paper=figure.value,
            place=figure.place,
            note="the other reading; the paper does not say which it means",
            reason=_SPEED,
        ),
        Row(
            what="decode, were K and V delivered at the paper's dense rate",
            unit=figure.unit,
            ours=_with_rate(result, DENSE.value),
            paper=figure.value,
            place=figure.place,
            note=f"calculated: the time of their reads, as if they came at {DENSE.value} GB/s",
        ),
        Row(
            what=f"decode, with {' and '.join(LACKING)}",
            unit=figure.unit,
            ours=more.tokens_per_second,
            paper=figure.value,
            place=figure.place,
            note="what our RTL lacks (`hwroute.sim.performance.mechanisms`)",
            reason="other losses remain: docs/performance.md",
        ),
        Row(what="prompt", unit="s", ours=result.prefill_seconds),
        Row(what="decode", unit="s", ours=result.decode_seconds),
    ]


def _with_rate(result: Performance, gb_s: float) -> float:
    """Return token/s if reads of K and V took their bytes at a rate, and nothing else changed."""
    handed = result.total(lambda run: run.handed_bytes)
    now = result.total(lambda run: run.read_cycles) / result.hertz
    seconds = result.decode_seconds - now + handed / gb_s / 1e9
    return len(result.cycles) / seconds


def _efficiencies(result: Performance) -> list[Row]:
    """Return bandwidth efficiency, and it over the best and the worst of the peers'."""
    figure = FIGURES["bandwidth_efficiency"]
    share = 100 * result.bandwidth_efficiency
    printed = [one.efficiency_percent for one in load_paper().peer if one.efficiency_percent]
    note = "the peers' as the paper prints them"
    return [
        Row.of(figure, share, reason=_EFFICIENCY),
        Row(
            what="the same, with weight scales and what the history buffer serves",
            unit=figure.unit,
            ours=100 * _given(result) * result.tokens_per_second / result.peak,
            paper=figure.value,
            place=figure.place,
            note="another reading: all that the array is given",
            reason=_EFFICIENCY,
        ),
        Row.of(FIGURES["least_advantage"], share / max(printed), note=note, reason=_EFFICIENCY),
        Row.of(FIGURES["largest_advantage"], share / min(printed), note=note, reason=_EFFICIENCY),
    ]


def _given(result: Performance) -> float:
    """Return the bytes of weights, scales, K and V that a token of decode gives the array."""
    kinds = ("weights", "scales", "kv_read", "kv_hits")
    return sum(result.traffic.kinds[kind] for kind in kinds) / len(result.cycles)


def _peers() -> list[Row]:
    """Return what is printed of other accelerators: no figure of ours belongs to them."""
    rows = []
    for one in load_paper().peer:
        shown = [
            ("bandwidth efficiency", "%", one.efficiency_percent),
            ("speed", "token/s", one.tokens_per_second),
        ]
        known = [item for item in shown if item[2] is not None] or shown[:1]
        place = "evaluation, comparison" if one.efficiency_percent else "not in the paper"
        for index, (what, unit, value) in enumerate(known):
            rows.append(
                Row(
                    what=f"{one.name}: {what}",
                    unit=unit,
                    paper=value,
                    place=place,
                    note=one.note if not index else "",
                )
            )
    return rows


def _findings(result: Performance) -> tuple[str, ...]:
    """Return what the figures say of each other."""
    peak, limit = result.peak, bound(result)
    speed = FIGURES["tokens_per_second"].value
    share = FIGURES["bandwidth_efficiency"].value / 100
    read = result.hbm_bytes_per_token
    return paragraphs(
        f"""
        The paper's two figures together mean {share * peak / speed / 1e9:.3f} GB a token at
        {peak / 1e9:.1f} GB/s; our Program reads {read / 1e9:.3f} GB a token from HBM and
        {(result.bytes_per_token - read) / 1e9:.3f} GB from DDR. The array is given
        {_given(result) / 1e9:.3f} GB a token: weights, their scales, and K and V, those that the
        history buffer serves included. What the paper counts it does not say.

        The paper's token/s with our bytes from HBM would be {speed * read / peak:.1%} of the peak.

        No schedule of these bytes and products passes {limit.tokens_per_second:.1f} token/s
        ({limit.by} is the bound).
        """
    )


_SPEED = (
    "our attention takes K and V slower than the paper says its memory gives them "
    "(`kv-bandwidth`); rows below say what decode is without that"
)
_EFFICIENCY = (
    "follows from the speed, and from which bytes count: those of HBM alone are less than the "
    "paper's two figures mean together (below)"
)
