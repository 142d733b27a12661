"""GPTQ (arXiv 2210.17323): rounding that makes up for each column's error in later columns."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import (
    HEAD,
    Checkpoint,
    Int4Weights,
    groups_of,
    layer_prefix,
    matrix_shapes,
)
from hwroute.models.float_weights import MATRIX_FIELDS
from hwroute.models.quantize import best_scales, grid
from hwroute.models.reference import Reference

Array = NDArray[Any]


def gptq(weight: Array, hessian: Array, *, group: int, damping: float = 0.01) -> Int4Weights:
    """Round a matrix so that its products with calibration inputs change little.

    Column by column, left to right: the error of a rounded column is spread over the columns still
    to come along the inverse Hessian. A group's scale is chosen, as `round_to_nearest` does, when
    its first column is reached. With a diagonal Hessian the result is that of `round_to_nearest`.

    Parameters
    ----------
    weight
        [out, in].
    hessian
        Sum of x x^T over calibration inputs x, [in, in].
    group
        Columns that share a scale; the last group holds the columns that are left.
    damping
        Share of the diagonal's mean that is added to the diagonal.
    """
    columns = weight.shape[1]
    if group < 1:
        raise ValueError(f"group must be positive, not {group!r}")
    remaining = weight.astype(np.float64)
    upper = _inverse_factor(hessian, damping)
    values = np.zeros(weight.shape, np.int8)
    scales = np.zeros((len(weight), groups_of(columns, group)))
    for start in range(0, columns, group):
        end = min(start + group, columns)
        block, factor = remaining[:, start:end], upper[start:end, start:end]
        scale = best_scales(block)
        errors = np.zeros_like(block)
        for i in range(end - start):
            rounded = grid(block[:, i : i + 1], scale)
            values[:, start + i] = rounded[:, 0]
            errors[:, i] = (block[:, i] - (rounded * scale)[:, 0]) / factor[i, i]
            block[:, i + 1 :] -= np.outer(errors[:, i], factor[i, i + 1 :])
        remaining[:, end:] -= errors @ upper[start:end, end:]
        scales[:, start // group] = scale[:, 0]
    halves = scales.astype(np.float16).view(np.uint16)
    return Int4Weights(values=values, scales=halves, group=group)


def _inverse_factor(hessian: Array, damping: float) -> Array:
    """Return the upper triangular U with U^T U the inverse of the damped Hessian.

    An input that calibration never used gets the damping alone, or 1 if all are unused.
    """
    damped = hessian.astype(np.float64)
    added = damping * float(np.mean(np.diag(damped))) or 1.0
    damped = damped + added * np.eye(len(damped))
    factor: Array = np.linalg.cholesky(np.linalg.inv(damped)).T
    return factor


def quantize_checkpoint(
    checkpoint: Checkpoint, windows: Array, *, group: int, batch: int = 8
) -> dict[str, Int4Weights]:
    """Round every matrix of a model with GPTQ, layer after layer.

    A layer's calibration inputs are those that the layers before it, already rounded, produce;
    tokens that skip a sub-layer do not count for it. The text is run once per layer.

    Parameters
    ----------
    checkpoint
        The unquantised model.
    windows
        Calibration text, int [windows, tokens].
    group
        Columns that share a scale.
    batch
        Windows in one forward pass.

    Returns
    -------
    INT4 weights by the names of `matrix_shapes`.
    """
    reference = Reference(checkpoint)
    batches = [windows[start : start + batch] for start in range(0, len(windows), batch)]
    rounded: dict[str, Int4Weights] = {}
    for layer in (*range(checkpoint.shape.layers), None):
        prefix = HEAD if layer is None else layer_prefix(layer)
        wanted = {name for name in matrix_shapes(checkpoint.shape) if name.startswith(prefix)}
        for name, hessian in _hessians(reference, batches, wanted).items():
            rounded[name] = gptq(checkpoint.tensor(name), hessian, group=group)
        if layer is not None:
            _install(reference, layer, rounded)
    return rounded


def _hessians(reference: Reference, batches: list[Array], wanted: set[str]) -> dict[str, Array]:
    """Run the text and return the sum of x x^T, float64 [in, in], of each matrix' inputs x."""
    hessians: dict[str, Array] = {}

    def observe(name: str, x: Array, used: NDArray[np.bool_]) -> None:
        if name in wanted:
            rows = x[used].astype(np.float64)
            hessians[name] = hessians.get(name, 0) + rows.T @ rows

    reference.observer = observe
    for batch in batches:
        reference.forward(batch)
    return hessians


def _install(reference: Reference, layer: int, rounded: dict[str, Int4Weights]) -> None:
    """Put the rounded matrices of a layer in place of its own."""
    layers = list(reference.weights.layers)
    matrices: dict[str, Any] = {
        field: rounded[layer_prefix(layer) + name].dequantised().astype(reference.dtype)
        for field, name in MATRIX_FIELDS.items()
    }
    layers[layer] = replace(layers[layer], **matrices)
    reference.weights = replace(reference.weights, layers=tuple(layers))
