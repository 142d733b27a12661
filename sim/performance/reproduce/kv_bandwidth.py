"""Bytes a second of K and V that attention gets, by mapping, K/V rule and history buffer."""

from dataclasses import dataclass, replace

from hwroute.isa.fields import BEAT_BYTES
from hwroute.memory_config import KVMapping
from hwroute.policy_terms import KVRule
from hwroute.sim.performance.executor import Setup
from hwroute.sim.performance.reproduce.cases import LACKING, Case, decode_steps
from hwroute.sim.performance.reproduce.paper import load_paper
from hwroute.sim.performance.reproduce.rounds import Taken, taken_by_array
from hwroute.sim.performance.reproduce.rows import Row, Section, paragraphs
from hwroute.sim.performance.result import Run

NAME = "kv-bandwidth"
CONTEXTS = (512, 1024)
CONTEXT = 1024
"""Of the row that stands beside the paper's, which does not say its own: the longest it decodes."""
LAYERS, STEPS = 8, 4
"""That are simulated: all layers are alike; with a quarter skipped each sub-layer is, once."""
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


def instruction_rates(setup: Setup, runs: list[Run]) -> dict[str, float]:
    """Return the GB/s of K in scores and of V in values, each from its issue to its end."""
    rates = {}
    for name in ("scores", "values"):
        events = [one for run in runs for one in run.events if one.name == name]
        handed = sum(one.moved.get(kind, 0) for one in events for kind in ("kv_read", "kv_hits"))
        cycles = sum(one.retired - one.issued for one in events)
        rates[name] = handed / cycles * setup.device.core_mhz / 1e3
    return rates


def memory_rate(setup: Setup) -> float:
    """Return the GB/s of all ports that read whole slots and never wait."""
    layout = next(one for one in setup.program.instructions if one.name == "kv.map")
    beats = 2 * layout["vector"] + layout["exponents"]
    cycles = setup.memories().rates.run_cycles(beats, ((0, beats),))
    moved = setup.program.config.kv.hbm_ports * beats * BEAT_BYTES
    return moved / cycles * setup.device.core_mhz / 1e3


def variants(case: Case) -> dict[str, Case]:
    """Return what is compared, by name."""
    memory = replace(case.config.memory, kv_mapping=KVMapping.INTERLEAVED)
    beatwise = replace(case.config, memory=memory)
    without = replace(case.parameters, history_buffer=False)
    return {
        "dense": replace(case, skip=0.0),
        "dense, interleaved mapping": replace(case, skip=0.0, config=beatwise),
        f"dense, with {LACKING[0]}": replace(case.with_lacking(), skip=0.0),
        "PartialSkip": replace(case, kv=KVRule.DENSE),
        "K/V reuse": case,
        f"K/V reuse, with {' and '.join(LACKING)}": case.with_lacking(),
        "K/V reuse, no history buffer": replace(case, parameters=without),
        "K/V reuse, interleaved mapping": replace(case, config=beatwise),
    }


def kv_bandwidth(
    case: Case,
    *,
    contexts: tuple[int, ...] = CONTEXTS,
    context: int = CONTEXT,
    steps: int = STEPS,
    layers: int = LAYERS,
) -> Section:
    """Run decode steps at some contexts and count what attention reads.

    Parameters
    ----------
    case
        Model and machine.
    contexts
        Tokens before the steps; `context`, which is one of them, is compared with the paper's.
    steps, layers
        Of each point, and of the model.
    """
    few = case.with_layers(layers)
    measured, alone, taken = {}, {}, {}
    for length in case.fitting(contexts, steps + 1):
        for name, one in variants(few).items():
            setup = one.setup(length, steps + 1, even=True)
            runs = decode_steps(setup)
            measured[name, length] = delivered(setup, runs)
            if length == context:
                alone[name] = instruction_rates(setup, runs)
                taken[name] = taken_by_array(setup)
    dense = measured["dense", context]
    peak = case.device.hbm.channel_gb_s * case.config.kv.hbm_ports
    memory = memory_rate(few.setup(context, 1))
    rows = [
        Row.of(FIGURES["dense"], dense.gb_s, reason=_REASON),
        Row.of(FIGURES["dense_share"], 100 * dense.gb_s / peak, reason=_REASON),
        Row(
            what="the memory alone, whole slots, no array that takes them",
            unit="GB/s",
            ours=memory,
            paper=FIGURES["dense"].value,
            place=FIGURES["dense"].place,
            note="if the paper means this",
        ),
    ]
    rows += [row for key, found in measured.items() for row in _rows(*key, found)]
    return Section(
        name=NAME,
        title="Bandwidth of K and V in decode",
        about=paragraphs(
            f"""
            {case.name} on {case.config.name}, {few.shape.layers} of its layers, {steps} decode
            steps behind prompts of some lengths; {case.skip:.0%} of sub-layers skipped where not
            dense, at equal distances.

            GB/s: bytes of K and V handed to the array over the time of its reads, from the first
            request of each to its last data; {peak:.1f} GB/s is the peak of all ports.
            """
        ),
        rows=tuple(rows),
        findings=paragraphs(
            f"""
            Dense, {context} tokens: scores take K at {alone["dense"]["scores"]:.1f} GB/s and values
            V at {alone["dense"]["values"]:.1f} GB/s, each from its issue to its end.

            Where the history buffer holds nothing, the array takes at a time, of entries in
            {case.config.kv.hbm_ports} ports: dense {_told(taken["dense"])}; K/V reuse
            {_told(taken["K/V reuse"])}. Beats without any are those of the buffer's banks, and of
            ports that have nothing in the round.
            """
        ),
    )


def _rows(name: str, length: int, found: Delivered) -> list[Row]:
    """Return what one variant gave at a length."""
    served = f"{found.hits:.1%} of it from the history buffer" if found.hits else ""
    what = f"{name}, {length} tokens"
    return [
        Row(what=what, unit="GB/s", ours=found.gb_s, note=served),
        Row(what=f"{what}: HBM, of its peak", unit="%", ours=100 * found.physical),
    ]


def _told(taken: Taken) -> str:
    return (
        f"{taken.entries:.1f}, a line of them in {taken.beats:.2f} beats of its loader, "
        f"{taken.empty:.2f} of which bring none"
    )


_REASON = (
    "our array is slower than the ports: one beat of its loader in three is for the banks of the "
    "history buffer, which bring nothing here; and in scores a beat waits for the sum of the one "
    "before, since the lines of a head add to the same one (`timing.ARRAY_BEAT_DISTANCE`)"
)
