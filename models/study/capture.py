"""Dot products that a model really computes: captured from the golden model on a text."""

from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import Checkpoint
from hwroute.column_format import LANES
from hwroute.config import Config
from hwroute.models.golden import Golden
from hwroute.models.sequence import Sequence
from hwroute.models.study.dots import Dots
from hwroute.models.study.sources import Matmul, Mix, Scores, Source
from hwroute.models.tile import Tile, Values
from hwroute.numerics import Bits16
from hwroute.operations import Operation, Operator


@dataclass(kw_only=True)
class Capture:
    """What a model multiplied.

    Parameters
    ----------
    sources
        By kind: ``weights`` (activations by INT4 weights), ``scores`` and ``values``.
    """

    sources: dict[str, list[Source]] = field(
        default_factory=lambda: {"weights": [], "scores": [], "values": []}
    )

    def sample(self, kind: str, rng: np.random.Generator, n: int) -> Dots:
        """Return n of all dot products of a kind, each as likely as any other."""
        sources = self.sources[kind]
        counts = np.array([source.count for source in sources], np.float64)
        share = rng.multinomial(n, counts / counts.sum())
        parts = [
            source.sample(rng, take)
            for source, take in zip(sources, share.tolist(), strict=True)
            if take
        ]

        def joined(name: str) -> Any:
            arrays = [getattr(part, name) for part in parts]
            return None if arrays[0] is None else np.concatenate(arrays)

        names = ("x", "y", "x_reference", "y_reference", "product_reference")
        return Dots(format=parts[0].format, **{name: joined(name) for name in names})


class _Observer:
    """Keeps the operands of the products of one window."""

    def __init__(self, checkpoint: Checkpoint, capture: Capture, sequence: Sequence):
        self.checkpoint = checkpoint
        self.sources = capture.sources
        self.sequence = sequence

    def __call__(self, golden: Golden, operation: Operation, tile: Tile, written: Values) -> None:
        rows = tile.selected(operation.predicate)
        if operation.operator in (Operator.MATMUL, Operator.HEAD):
            x = tile.take(operation.inputs[0], rows)
            weights = self.checkpoint.int4(operation.weights[0]).values
            self.sources["weights"].append(Matmul(x=x, weights=weights))
        elif operation.operator is Operator.SCORES:
            self.sources["scores"].append(self._scores(golden, operation, tile))
        elif operation.operator is Operator.ATTEND:
            p = written[operation.outputs[0]]
            self.sources["values"].append(self._mix(golden, operation, tile, p))

    def _visible(self, operation: Operation, tile: Tile) -> NDArray[np.bool_]:
        """Return which entries [rows, entries] each selected token attends to."""
        positions = tile.start + tile.selected(operation.predicate)
        entries = tile.start + len(tile.tokens)
        valid = self.sequence.cache.valid[operation.layer, :entries]
        seen: NDArray[np.bool_] = (np.arange(entries) <= positions[:, None]) & valid
        return seen

    def _scores(self, golden: Golden, operation: Operation, tile: Tile) -> Scores:
        q = tile.take(operation.inputs[0], tile.selected(operation.predicate)).transpose(1, 0, 2)
        keys = self.sequence.cache.keys[operation.layer]
        padding = keys.shape[2] - golden.shape.head_dim
        visible = np.argwhere(self._visible(operation, tile))
        return Scores(q=np.pad(q, [(0, 0), (0, 0), (0, padding)]), k=keys, visible=visible)

    def _mix(self, golden: Golden, operation: Operation, tile: Tile, p: Bits16) -> Mix:
        visible = self._visible(operation, tile)
        entries = visible.shape[1]
        padding = -entries % LANES
        cache = self.sequence.cache
        exponents = cache.exponents[operation.layer, :, :entries].astype(np.int64)
        seen = np.where(visible[None, :, :, None], exponents[:, None], 0)
        return Mix(
            p=np.pad(p.transpose(1, 0, 2), [(0, 0), (0, 0), (0, padding)]),
            v=np.pad(cache.values[operation.layer, :, :entries], [(0, 0), (0, padding), (0, 0)]),
            exponents=np.pad(exponents, [(0, 0), (0, padding), (0, 0)]),
            references=seen.max(axis=2),
            last=tile.start + tile.selected(operation.predicate),
            dims=golden.shape.head_dim,
        )


def capture(
    checkpoint: Checkpoint, config: Config, ids: Ordered[int], *, windows: int, window: int
) -> Capture:
    """Run windows of a text, each from a fresh state, and keep the operands of every product.

    Parameters
    ----------
    checkpoint
        With INT4 weights.
    config
        Its numerics decide the bits of the activations that are captured.
    ids
        The text, at least windows * window tokens.
    windows, window
        How many windows, and tokens in each.
    """
    if len(ids) < windows * window:
        raise ValueError(f"Text must be at least {windows * window} tokens long, not {len(ids)!r}")
    found = Capture()
    for index in range(windows):
        sequence = Sequence(checkpoint.shape)
        observer = _Observer(checkpoint, found, sequence)
        tokens = np.array(ids[index * window : (index + 1) * window], np.int64)
        Golden(checkpoint, config, observer=observer).forward(tokens, sequence)
    return found
