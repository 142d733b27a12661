"""K and V spread beat by beat over all ports of HBM, the conventional mapping.

Every port brings a part of every entry, so none has more to do than another, and none reads more
than a few hundred bytes at a place. The array is given as many entries at a time as there are
ports, as with a slot in one port: what comes is put together again in the ports' FIFOs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES
from hwroute.sim.performance.batches import (
    FIELD,
    HIT,
    SOME,
    WHOLE,
    Batch,
    Batches,
    Ints,
    cuts_of,
    groups_of,
)
from hwroute.sim.performance.hbm_rates import Run
from hwroute.sim.performance.reader import Reader


@dataclass(frozen=True, kw_only=True)
class SpreadBatch(Batch):
    """Entries that are taken together, of which every port brings a part.

    Parameters
    ----------
    entries
        From HBM, by kind: as far as asked for, whole.
    """

    entries: tuple[int, int]


def spread_batches(
    order: Ints, config: Config, *, buffered: bool, skip_empty: bool = False
) -> Batches:
    """Cut an order into batches of at most one entry of each bank, and `hbm_ports` of HBM."""
    banks, ports, vectors = config.kv.buffer_banks, config.kv.hbm_ports, config.array.kv_vectors
    hits = (order[:, FIELD["hit"]] == 1) & buffered
    kinds = np.where(order[:, FIELD["keep"]] == 1, WHOLE, SOME) if buffered else 0 * hits + SOME
    kinds = np.where(hits, HIT, kinds)
    turn = np.cumsum(~hits) - 1
    source = np.where(hits, order[:, FIELD["bank"]], banks + turn % ports)
    counts = np.zeros((3, banks + ports), np.int64)
    np.add.at(counts, (kinds, source), 1)
    batches: list[Batch] = []
    # Ports never collide, so rounds say nothing.
    for start, stop in cuts_of([0] * len(order), source.tolist()):
        part, kind = source[start:stop], kinds[start:stop]
        from_hbm = kind[kind != HIT]
        spread = np.arange(banks, banks + ports) if len(from_hbm) else np.zeros(0, np.int64)
        sources = np.concatenate([part[kind == HIT], spread])
        batches.append(
            SpreadBatch(
                sources=sources,
                kinds=np.concatenate([kind[kind == HIT], np.full(len(spread), SOME)]),
                groups=groups_of(sources, vectors, skip_empty=skip_empty),
                entries=(int((from_hbm == SOME).sum()), int((from_hbm == WHOLE).sum())),
            )
        )
    return Batches(batches=batches, counts=counts)


@dataclass(kw_only=True)
class SpreadReader(Reader):
    """The sources, where every port has a part of every entry."""

    def source_cycles(self, batch: Batch, costs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each source takes for a batch: a port its part of every entry."""
        assert isinstance(batch, SpreadBatch), "an order must be cut for the mapping that it has"
        some, whole = batch.entries
        port = float(some * costs[SOME] + whole * costs[WHOLE])
        return np.where(batch.kinds == HIT, costs[HIT], port)

    def _note(
        self, start: float, cut: Batches, costs: NDArray[np.float64], sizes: list[int]
    ) -> None:
        banks, ports = self.config.kv.buffer_banks, self.config.kv.hbm_ports
        entries = cut.counts[: len(sizes)].sum(axis=1)
        moved = int(np.array(sizes) @ entries)
        if moved:
            shares = np.full(ports, moved // ports)
            shares[: moved % ports] += 1
            cycles = np.full(ports, costs[: len(sizes)] @ entries)
            self.memories.hbm.note(start, np.arange(ports), self._ready[banks:], cycles, shares)

    def _run_cycles(self, runs: tuple[Run, ...], *, write: bool = False) -> float:
        """Return what a port takes for its part of runs, on average over the ports.

        Slots of a layer follow each other as in decode, one of each layer between them.
        """
        ports = self.config.kv.hbm_ports
        stride = -(-self.slot_beats // ports) * self.config.kv.max_layers
        total = 0.0
        for first, beats in runs:
            less, more = divmod(beats, ports)
            for part, share in ((less, ports - more), (less + 1, more)):
                if part and share:
                    run = ((first // ports, part),)
                    total += share * self.memories.rates.run_cycles(stride, run, write=write)
        return total / ports

    @property
    def slot_cycles(self) -> float:
        """Cycles in which the ports write a slot."""
        return self._run_cycles(((0, self.slot_beats),), write=True)

    def write_entry(self, start: float, port: int) -> float:  # noqa: ARG002
        """Write the parts of a slot, and return when the last beat has moved."""
        hbm, ports = self.memories.hbm, self.config.kv.hbm_ports
        less, more = divmod(self.slot_beats, ports)
        return max(
            hbm.claim(one, start, self.slot_cycles, (less + (one < more)) * BEAT_BYTES, write=True)
            for one in range(ports)
        )
