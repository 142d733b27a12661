"""Measure a model on held-out text: loss, skip rates, and what its routers are worth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from hwroute.models.train import data, export
from hwroute.models.train.config import ATTENTION, FFN
from hwroute.models.train.model import Decide, RoutedLlama, argmax

ROWS = 32

TABLE = (
    ("(a) dense", "tiny-dense", False),
    ("(b) routed, K/V reuse", "tiny", False),
    ("(c) routed, dense K/V", "tiny-dense-kv", False),
    ("(d) routed, K/V reuse, INT4", "tiny", True),
)
"""Rows of the report: label, folder in the zoo, whether the INT4 weights."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of one pass over held-out text.

    Attributes
    ----------
    loss : float
        Nats per token, every token but a window's first scored.
    gates : Tensor, float32 [sublayers, windows, time]
        1 where a token executed the sub-layer.
    """

    loss: float
    gates: Tensor

    @property
    def skips(self) -> list[float]:
        """Fraction of tokens which skipped, by sub-layer."""
        rates: list[float] = (1 - self.gates.mean((1, 2))).tolist()
        return rates

    def skip(self, kind: int) -> float:
        """Fraction of executions of `kind` skipped, over every layer."""
        return sum(self.skips[kind::2]) / len(self.skips[kind::2])

    @property
    def skipped(self) -> float:
        """Mean of the attention's and the feed-forward networks' skip rates."""
        return (self.skip(ATTENTION) + self.skip(FFN)) / 2


def _forced(gates: Tensor, sublayer: int, _logits: Tensor) -> Tensor:
    return gates[sublayer]


def measure(model: RoutedLlama, windows: Tensor, forced: Tensor | None = None) -> Measured:
    """Evaluate with argmax routing, or with decisions from elsewhere.

    Parameters
    ----------
    model : RoutedLlama
        Model; without routers it executes everything.
    windows : Tensor, int64 [windows, time]
        Each starts fresh.
    forced : Tensor or None, float32 [sublayers, windows, time]
        Gates to use instead of the routers'.
    """
    model.eval()
    losses, gates = [], []
    for start in range(0, len(windows), ROWS):
        rows = windows[start : start + ROWS]
        decide: Decide | None = argmax if model.routers else None
        if forced is not None:
            decide = partial(_forced, forced[:, start : start + ROWS])
        with torch.no_grad():
            output = model(rows, decide)
        scores = output.logits[:, :-1].flatten(0, 1)
        loss = functional.cross_entropy(scores, rows[:, 1:].flatten(), reduction="none")
        losses.append(loss.double())
        gates.append(output.gates)
    return Measured(loss=float(torch.cat(losses).mean()), gates=torch.cat(gates, dim=1))


def permute(gates: Tensor, seed: int) -> Tensor:
    """Shuffle each sub-layer's decisions [sublayers, windows, time] among all tokens."""
    generator = torch.Generator().manual_seed(seed)
    rows = [row.flatten()[torch.randperm(row.numel(), generator=generator)] for row in gates]
    return torch.stack(rows).view_as(gates)


def _row(label: str, measured: Measured) -> str:
    skips = [measured.skipped, measured.skip(ATTENTION), measured.skip(FFN)]
    cells = [label, f"{measured.loss:.4f}", *(f"{100 * skip:.1f} %" for skip in skips)]
    return f"| {' | '.join(cells)} |"


def _by_layer(label: str, measured: Measured, kind: int) -> str:
    cells = [label, *(f"{100 * skip:.1f} %" for skip in measured.skips[kind::2])]
    return f"| {' | '.join(cells)} |"


def markdown(zoo: Path, text: Path, seed: int) -> str:
    """Measure the model folders of the zoo and return Markdown tables.

    Parameters
    ----------
    zoo : Path
        Folder which holds ``tiny-dense``, ``tiny`` and ``tiny-dense-kv``.
    text : Path
        Held-out text.
    seed : int
        Seed of the permuted decisions.
    """
    held_out = data.tokens(text.read_bytes())
    rows, layers = [], []
    for label, folder, use_int4 in TABLE:
        model = export.load(zoo / folder, use_int4=use_int4)
        windows = data.windows(held_out, model.shape.context)
        measured = measure(model, windows)
        rows.append(_row(label, measured))
        if model.routers:
            shuffled = measure(model, windows, permute(measured.gates, seed))
            rows.append(_row(f"{label}, decisions permuted", shuffled))
            layers.append(_by_layer(f"{label}, attention", measured, ATTENTION))
            layers.append(_by_layer(f"{label}, FFN", measured, FFN))
    head = "| model | nats per token | skipped | attention | FFN |\n|---|---|---|---|---|"
    names = " | ".join(f"layer {index}" for index in range(model.shape.layers))
    rule = "---|" * (model.shape.layers + 1)
    return "\n".join([head, *rows, "", f"| skipped | {names} |\n|{rule}", *layers])
