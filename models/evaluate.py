"""Loss of a model on a text, and how much of the model it skipped."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hwroute.errors import InputError
from hwroute.shape import ModelShape

Array = NDArray[Any]


class WindowModel(Protocol):
    """What predicts all next tokens of several windows at once, such as `Reference`."""

    @property
    def shape(self) -> ModelShape:
        """Dimensions of the model."""
        ...

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """Of the last `forward`: bool [layers, 2, windows, tokens], True where executed."""
        ...

    def forward(self, ids: Array) -> Array:
        """Return logits [windows, tokens, vocab] of `ids` [windows, tokens]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Result of `evaluate`.

    Parameters
    ----------
    nats_per_token
        Mean of -ln p over the scored tokens.
    tokens
        Tokens scored: every one but the first of its window.
    attention_skip, ffn_skip
        Fractions of (layer, token) pairs that skipped, over all tokens of all windows.
    """

    nats_per_token: float
    tokens: int
    attention_skip: float
    ffn_skip: float

    @property
    def perplexity(self) -> float:
        """Exponential of the loss."""
        return float(np.exp(self.nats_per_token))


def evaluate(model: WindowModel, ids: Array | list[int], *, batch: int = 8) -> Evaluation:
    """Score a text in non-overlapping windows of the model's context, each starting fresh.

    The last window is shorter where the text ends; a window of one token scores nothing.

    Parameters
    ----------
    model
        What predicts.
    ids
        The text, int [tokens].
    batch
        Windows in one forward pass; memory grows with it, results do not depend on it beyond
        the rounding of the products.

    Raises
    ------
    InputError
        The text has fewer than two tokens.
    """
    text = np.asarray(ids, dtype=np.int64)
    if text.size < 2:
        raise InputError(f"text must have at least 2 tokens, not {text.size}")
    loss, scored, pairs, executed = 0.0, 0, 0, np.zeros(2, np.int64)
    for windows in _batches(text, model.shape.context, batch):
        loss += float(negative_log_likelihood(model.forward(windows), windows).sum())
        scored += windows[:, 1:].size
        pairs += model.shape.layers * windows.size
        executed += model.decisions.sum(axis=(0, 2, 3))
    attention_skip, ffn_skip = (1 - executed / pairs).tolist()
    return Evaluation(
        nats_per_token=loss / scored,
        tokens=scored,
        attention_skip=attention_skip,
        ffn_skip=ffn_skip,
    )


def _batches(text: Array, context: int, batch: int) -> list[Array]:
    """Cut a text into windows [up to batch, context], and a last one [1, rest] if one is left."""
    whole = text[: text.size // context * context].reshape(-1, context)
    batches = [whole[start : start + batch] for start in range(0, len(whole), batch)]
    if text.size > whole.size:
        batches.append(text[None, whole.size :])
    return batches


def negative_log_likelihood(logits: Array, ids: Array) -> NDArray[np.float64]:
    """Return -ln p of each token but the first, from a float64 softmax.

    Parameters
    ----------
    logits
        [windows, tokens, vocab].
    ids
        int [windows, tokens].

    Returns
    -------
    float64 [windows, tokens - 1].
    """
    wide = logits[:, :-1].astype(np.float64)
    top = wide.max(axis=-1)
    total = np.log(np.exp(wide - top[..., None]).sum(axis=-1))
    chosen = np.take_along_axis(wide, ids[:, 1:, None], axis=-1)[..., 0]
    loss: NDArray[np.float64] = total + top - chosen
    return loss
