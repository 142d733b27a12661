"""How an order of entries is cut into batches, whose entries the array takes together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwroute.config import Config
from hwroute.kv import ORDER_FIELDS

FIELD = {name: index for index, name in enumerate(ORDER_FIELDS)}
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Entries that are taken together.

    Parameters
    ----------
    sources
        Numbers: banks, then ports.
    kinds
        How each comes: SOME, WHOLE or HIT.
    groups
        Which of the sources each of the array's loader's beats takes, as indices, for each line.
    """

    sources: Ints
    kinds: Ints
    groups: tuple[Ints, ...]


SOME, WHOLE, HIT = range(3)
"""An entry comes from HBM as far as asked for; whole, for the history buffer; or from that."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """An order cut into batches.

    Parameters
    ----------
    batches
        In order.
    counts
        Entries [3, sources] by kind and source.
    """

    batches: list[Batch]
    counts: Ints


def batches_of(order: Ints, config: Config, *, buffered: bool, skip_empty: bool = False) -> Batches:
    """Cut an order into batches; without the buffer every entry comes from its port."""
    banks, vectors = config.kv.buffer_banks, config.array.kv_vectors
    hits = order[:, FIELD["hit"]] == 1
    source = order[:, FIELD["port"]] + banks
    kinds = np.full(len(order), SOME)
    if buffered:
        source = np.where(hits, order[:, FIELD["bank"]], source)
        kinds = np.where(hits, HIT, np.where(order[:, FIELD["keep"]] == 1, WHOLE, SOME))
    batches = []
    for start, stop in cuts_of(order[:, FIELD["round"]].tolist(), source.tolist()):
        part = source[start:stop]
        groups = groups_of(part, vectors, skip_empty=skip_empty)
        batches.append(Batch(sources=part, kinds=kinds[start:stop], groups=groups))
    counts = np.zeros((3, banks + config.kv.hbm_ports), np.int64)
    np.add.at(counts, (kinds, source), 1)
    return Batches(batches=batches, counts=counts)


def groups_of(sources: Ints, vectors: int, *, skip_empty: bool = False) -> tuple[Ints, ...]:
    """Return which of some sources the loader takes in each beat of `vectors`, up to the last.

    With `skip_empty` it takes no beat for sources that bring nothing.
    """
    group = sources // vectors
    groups = (np.flatnonzero(group == number) for number in range(int(group.max()) + 1))
    return tuple(one for one in groups if len(one) or not skip_empty)


def cuts_of(rounds: list[int], sources: list[int]) -> list[tuple[int, int]]:
    """Return starts and stops: a batch ends with its round, and before a source comes twice."""
    cuts, start, seen = [], 0, set[int]()
    for index, source in enumerate(sources):
        if index > start and (rounds[index] != rounds[start] or source in seen):
            cuts.append((start, index))
            start = index
            seen.clear()
        seen.add(source)
    if start < len(sources):
        cuts.append((start, len(sources)))
    return cuts
