"""Routing workloads: which tokens execute which sub-layers, recorded or synthetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hwroute.errors import InputError

KINDS = ("attention", "ffn")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is run, and the decisions that the routers will make.

    Parameters
    ----------
    prompt, generate
        Tokens of the prompt, and tokens to generate.
    executed
        bool [layers, 2 (attention, FFN), tokens processed]: prompt and all generated tokens but
        the last.
    assumption
        Where the decisions come from; printed beside every result.
    """

    prompt: int
    generate: int
    executed: NDArray[np.bool_]
    assumption: str

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.generate < 1:
            raise InputError(
                "prompt and tokens to generate must be at least 1, "
                f"not {self.prompt} and {self.generate}"
            )
        if self.executed.ndim != 3 or self.executed.shape[1:] != (len(KINDS), self.tokens):
            raise InputError(
                f"decisions must be [layers, {len(KINDS)}, {self.tokens}], "
                f"not {list(self.executed.shape)}"
            )

    @property
    def tokens(self) -> int:
        """Tokens that are processed: the last one generated is never fed back."""
        return self.prompt + self.generate - 1

    @property
    def skipped(self) -> tuple[float, float]:
        """Share of attention and of FFN sub-layers that are skipped."""
        attention, ffn = 1 - self.executed.mean(axis=(0, 2))
        return float(attention), float(ffn)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Share of tokens that skip each sub-layer.

    Parameters
    ----------
    attention, ffn
        One for each layer.
    """

    attention: tuple[float, ...]
    ffn: tuple[float, ...]

    @classmethod
    def uniform(cls, layers: int, skip: float, *, forced: int = 1) -> "Rates":
        """Return one rate for all sub-layers, but 0 for the attention of the first `forced`."""
        attention = tuple(0.0 if layer < forced else skip for layer in range(layers))
        return cls(attention=attention, ffn=(skip,) * layers)


def synthetic(
    rates: Rates,
    *,
    prompt: int,
    generate: int,
    seed: int = 1,
    layer_correlation: float = 0.0,
    token_correlation: float = 0.0,
) -> Workload:
    """Draw decisions from a Gaussian field, thresholded at each sub-layer's rate.

    A higher rate skips all that a lower one skips, for the same seed and correlations.

    Parameters
    ----------
    rates
        Of skipping.
    prompt, generate
        As in `Workload`.
    seed
        Of the field.
    layer_correlation, token_correlation
        Of the field between neighbouring layers (of one kind of sub-layer) and tokens, 0 to 1.

    Raises
    ------
    InputError
        A rate or correlation out of range, or rates of different lengths.
    """
    for name, value in (("layer", layer_correlation), ("token", token_correlation)):
        if not 0 <= value < 1:
            raise InputError(f"{name} correlation must be from 0 to below 1, not {value}")
    table = np.array([rates.attention, rates.ffn]).T if _even(rates) else np.zeros((0, 2))
    if not table.size or table.min() < 0 or table.max() > 1:
        raise InputError(
            "rates of attention and FFN must be as many, from 0 to 1, "
            f"not {rates.attention} and {rates.ffn}"
        )
    tokens = prompt + generate - 1
    field = np.random.default_rng(seed).standard_normal((len(table), len(KINDS), tokens))
    _correlate(field, layer_correlation)
    _correlate(field.transpose(2, 1, 0), token_correlation)
    executed = field >= _thresholds(table)[..., None]
    text = (
        f"synthetic decisions: skip rates {table[:, 0].mean():.3f} (attention) and "
        f"{table[:, 1].mean():.3f} (FFN), correlation {layer_correlation} between layers and "
        f"{token_correlation} between tokens, seed {seed}"
    )
    return Workload(prompt=prompt, generate=generate, executed=executed, assumption=text)


def recorded(prompt: Sequence[int], executed: NDArray[np.bool_], *, source: str) -> Workload:
    """Return the decisions of a run.

    Parameters
    ----------
    prompt
        Its token ids.
    executed
        `hwroute.models.generate.Generation.executed`.
    source
        What ran, for the assumption.
    """
    return Workload(
        prompt=len(prompt),
        generate=executed.shape[2] - len(prompt) + 1,
        executed=executed,
        assumption=f"decisions recorded from {source}",
    )


def _even(rates: Rates) -> bool:
    return len(rates.attention) == len(rates.ffn) > 0


def _thresholds(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal quantile of each rate, infinite where all or none skip."""
    normal = NormalDist()
    inner = [
        normal.inv_cdf(rate) if 0 < rate < 1 else (np.inf if rate >= 1 else -np.inf)
        for rate in table.ravel().tolist()
    ]
    return np.array(inner).reshape(table.shape)


def _correlate(field: NDArray[np.float64], correlation: float) -> None:
    """Make each plane depend on the one before, in place; the variance stays 1."""
    for index in range(1, len(field)):
        field[index] *= np.sqrt(1 - correlation**2)
        field[index] += correlation * field[index - 1]
