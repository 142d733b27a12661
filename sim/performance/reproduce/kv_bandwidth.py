"""Bytes a second of K and V that attention gets, by mapping, K/V rule and history buffer."""

from dataclasses import dataclass, replace

from hwroute.memory_config import KVMapping
from hwroute.policy_terms import KVRule
from hwroute.sim.performance.executor import Setup
from hwroute.sim.performance.reproduce.cases import Case, decode_steps
from hwroute.sim.performance.reproduce.paper import load_paper
from hwroute.sim.performance.reproduce.rows import Row, Section, paragraphs
from hwroute.sim.performance.result import Run

NAME = "kv-bandwidth"
CONTEXTS = (512, 1024, 2048)
CONTEXT = 1024
"""Of the row that stands beside the paper's, which does not say its own: the longest it decodes."""
STEPS = 4
"""Decode steps of each point; with a quarter skipped each sub-layer is, once."""
FIGURES = load_paper().figures(NAME)


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What the reads of K and V of some steps are like.

    Parameters
    ----------
    gb_s
        Bytes handed to the array, over the time of its reads: from the first request of each read
        to its last data. The history buffer's count.
    physical
        Bytes that HBM moved in that time, over its ports' peak.
    hits
        Share of the bytes handed over that the history buffer served.
    """

    gb_s: float
    physical: float
    hits: float


def delivered(setup: Setup, runs: list[Run]) -> Delivered:
    """Return what the reads of K and V of runs were like."""
    hertz = setup.device.core_mhz * 1e6
    seconds = sum(run.read_cycles for run in runs) / hertz
    handed = sum(run.handed_bytes for run in runs)
    read = sum(run.traffic.kinds["kv_read"] for run in runs)
    hits = sum(run.traffic.kinds["kv_hits"] for run in runs)
    peak = setup.device.hbm.channel_gb_s * 1e9 * setup.program.config.kv.hbm_ports
    return Delivered(
        gb_s=handed / seconds / 1e9, physical=read / seconds / peak, hits=hits / handed
    )


def variants(case: Case) -> dict[str, Case]:
    """Return what is compared, by name."""
    memory = replace(case.config.memory, kv_mapping=KVMapping.INTERLEAVED)
    beatwise = replace(case.config, memory=memory)
    without = replace(case.parameters, history_buffer=False)
    return {
        "dense": replace(case, skip=0.0),
        "dense, interleaved mapping": replace(case, skip=0.0, config=beatwise),
        "PartialSkip": replace(case, kv=KVRule.DENSE),
        "K/V reuse": case,
        "K/V reuse, no history buffer": replace(case, parameters=without),
        "K/V reuse, interleaved mapping": replace(case, config=beatwise),
    }


def kv_bandwidth(
    case: Case,
    *,
    contexts: tuple[int, ...] = CONTEXTS,
    context: int = CONTEXT,
    steps: int = STEPS,
) -> Section:
    """Run decode steps at some contexts and count what attention reads.

    Parameters
    ----------
    case
        Model and machine.
    contexts
        Tokens before the steps; `context`, which is one of them, is compared with the paper's.
    steps
        Of each point.
    """
    measured = {}
    for length in case.fitting(contexts, steps + 1):
        for name, one in variants(case).items():
            setup = one.setup(length, steps + 1, even=True)
            measured[name, length] = delivered(setup, decode_steps(setup))
    dense = measured["dense", context]
    peak = case.device.hbm.channel_gb_s * case.config.kv.hbm_ports
    rows = [
        Row.of(FIGURES["dense"], dense.gb_s, reason=_REASON),
        Row.of(FIGURES["dense_share"], 100 * dense.gb_s / peak, reason=_REASON),
    ]
    for (name, length), one in measured.items():
        served = f"{one.hits:.1%} of it from the history buffer" if one.hits else ""
        rows += [
            Row(what=f"{name}, {length} tokens", unit="GB/s", ours=one.gb_s, note=served),
            Row(
                what=f"{name}, {length} tokens: HBM, of its peak",
                unit="%",
                ours=100 * one.physical,
            ),
        ]
    return Section(
        name=NAME,
        title="Bandwidth of K and V in decode",
        about=paragraphs(
            f"""
            {case.name} on {case.config.name}, {steps} decode steps behind prompts of some lengths;
            {case.skip:.0%} of sub-layers skipped where not dense, each at equal distances.

            GB/s: bytes of K and V handed to the array over the time of its reads, from the first
            request of each to its last data; {peak:.1f} GB/s is the peak of all ports.
            """
        ),
        rows=tuple(rows),
    )


_REASON = ""
