"""Figures of the decode steps of a generation, each with its definition."""

from dataclasses import dataclass
from functools import partial

from hwroute.column_format import LANES
from hwroute.isa.fields import BEAT_BYTES, QUEUED, Unit
from hwroute.rtl.axi import DDR_PORT
from hwroute.sim.performance.breakdown import busy_cycles
from hwroute.sim.performance.generation import Performance
from hwroute.sim.performance.interpolation import written_slots
from hwroute.sim.performance.result import Run


@dataclass(frozen=True, kw_only=True)
class KVFigures:
    """What K and V do in decode.

    Parameters
    ----------
    delivered_gb_s
        Bytes handed to the array over the time of its reads, from the first request of each to its
        last data. Those from the history buffer count, so it may be more than HBM's peak.
    physical_utilization
        Bytes of K and V that HBM moved in that time, over what its ports move at their peak.
    hit_share
        Of the bytes handed to the array, those that the history buffer served.
    storage_saved
        Share of slots that are never written, of one for each token and layer. An identity of the
        decisions and the KV rule.
    """

    delivered_gb_s: float
    physical_utilization: float
    hit_share: float
    storage_saved: float


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What no schedule of the same work passes: no resource ever pauses, all work side by side.

    Parameters
    ----------
    seconds
        That a token of decode takes of each resource: its bytes of ``hbm`` at the rate of long
        sequential reads, its bytes of ``ddr`` at the rate of the ports, its products of the
        ``array`` at all multipliers.
    """

    seconds: dict[str, float]

    @property
    def by(self) -> str:
        """The resource that takes longest."""
        return max(self.seconds, key=self.seconds.__getitem__)

    @property
    def tokens_per_second(self) -> float:
        """Of decode, at most; 0 where there is no decode step."""
        slowest = self.seconds[self.by]
        return 1 / slowest if slowest else 0.0


def kv_figures(result: Performance) -> KVFigures:
    """Return what K and V do in decode; zeros where there is no decode step."""
    seconds = result.total(lambda run: run.read_cycles) / result.hertz
    handed, read = result.total(lambda run: run.handed_bytes), result.traffic.kinds["kv_read"]
    executed = written_slots(result.setup.program, result.setup.workload)
    return KVFigures(
        delivered_gb_s=handed / seconds / 1e9 if seconds else 0.0,
        physical_utilization=read / seconds / result.peak if seconds else 0.0,
        hit_share=result.traffic.kinds["kv_hits"] / handed if handed else 0.0,
        storage_saved=1 - executed,
    )


def utilization(result: Performance) -> dict[str, float]:
    """Return shares of the decode time; empty where there is no decode step.

    Of each unit the time in which it had an instruction under way; of ``hbm`` and ``ddr`` bytes
    over what their ports move at their peak; of ``multipliers`` products over all they can make.
    """
    cycles = float(result.cycles.sum())
    if not cycles:
        return {}
    seconds = cycles / result.hertz
    busy = {
        unit.name.lower(): result.total(partial(busy_cycles, unit=unit)) / cycles for unit in QUEUED
    }
    return {
        **busy,
        "hbm": result.traffic.hbm / result.peak / seconds,
        "ddr": result.traffic.ddr / ddr_rate(result) / seconds,
        "multipliers": result.total(_products) / product_rate(result) / seconds,
    }


def bound(result: Performance) -> Bound:
    """Return the bound on the decode of a generation, of the bytes and products that it has."""
    steps = max(1, len(result.cycles))
    return Bound(
        seconds={
            "hbm": result.traffic.hbm / hbm_rate(result) / steps,
            "ddr": result.traffic.ddr / ddr_rate(result) / steps,
            "array": result.total(_products) / product_rate(result) / steps,
        }
    )


def hbm_rate(result: Performance) -> float:
    """Return the bytes a second that the ports deliver of long sequential reads."""
    config = result.setup.program.config
    rates = result.setup.memories().rates
    slot = next(one for one in result.setup.program.instructions if one.name == "kv.map")
    # The burst level is a little faster than its closed form, as K of a whole entry shows.
    key = slot["vector"] + slot["exponents"]
    burst = rates.run_cycles(key + slot["vector"], ((0, key),)) / key
    return config.kv.hbm_ports * BEAT_BYTES * result.hertz / min(rates.stream_cycles(1), burst)


def ddr_rate(result: Performance) -> float:
    """Return the bytes a second that the DDR ports move."""
    beat_cycles = result.setup.memories().ddr_beat_cycles
    return DDR_PORT.data_bits // 8 * result.hertz / beat_cycles


def _products(run: Run) -> float:
    return sum(one.products for one in run.events if one.unit is Unit.ARRAY)


def product_rate(result: Performance) -> float:
    """Return the products a second of all multipliers."""
    return result.setup.program.config.array.columns * LANES * result.hertz
