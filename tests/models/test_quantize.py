"""Rounding to the INT4 grid, one value at a time and with GPTQ's compensation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwroute.checkpoint import Int4Weights, matrix_shapes
from hwroute.models.folder import ModelFolder
from hwroute.models.gptq import gptq, quantize_checkpoint
from hwroute.models.quantize import CLIPS, SMALLEST_SCALE, grid, round_to_nearest
from hwroute.models.reference import Reference

Array = NDArray[Any]


def test_a_matrix_on_the_grid_is_kept() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(-7, 8, (5, 16)).astype(np.int8)
    values[:, [0, 8]] = 7
    scales = rng.uniform(0.1, 2, (5, 2)).astype(np.float16)
    weights = Int4Weights(values=values, scales=scales.view(np.uint16), group=8)
    found = round_to_nearest(weights.dequantised(), group=8)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.scales, weights.scales)


def test_ties_go_to_even_and_ends_saturate() -> None:
    weights = np.array([0.5, 1.5, -2.5, 7.5, 9.0, -8.5, -9.0])
    assert grid(weights, np.float64(1)).tolist() == [0, 2, -2, 7, 7, -8, -8]
    large = round_to_nearest(np.array([[1e6, -1e6]]), group=2)
    assert large.values.tolist() == [[7, -8]]
    assert large.scales.view(np.float16).tolist() == [[65504.0]]


def test_no_candidate_scale_has_a_smaller_error() -> None:
    weight = np.random.default_rng(2).standard_t(3, (40, 32))
    found = round_to_nearest(weight, group=32)
    error = ((found.dequantised() - weight) ** 2).sum(axis=1)
    used = set()
    for clip in CLIPS:
        scale = (np.abs(weight).max(axis=1, keepdims=True) / 7 * clip).astype(np.float16)
        scale = scale.astype(np.float64)
        other = np.clip(np.rint(weight / scale), -8, 7) * scale
        assert (error <= ((other - weight) ** 2).sum(axis=1) * (1 + 1e-6)).all()
        used |= set(np.flatnonzero(found.scales.view(np.float16) == scale)) and {clip}
    assert len(used) > 2


def test_a_group_of_zeros_has_a_normal_scale() -> None:
    found = round_to_nearest(np.zeros((2, 8)), group=4)
    assert not found.values.any()
    assert (found.scales.view(np.float16) == SMALLEST_SCALE).all()


def test_group_must_be_positive() -> None:
    with pytest.raises(ValueError, match="group must be positive, not 0"):
        round_to_nearest(np.ones((2, 8)), group=0)
    with pytest.raises(ValueError, match="group must be positive, not 0"):
        gptq(np.ones((2, 8)), np.eye(8), group=0)


def test_the_last_group_is_rounded_as_if_it_stood_alone() -> None:
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((6, 20))
    hessian = np.diag(rng.uniform(0.5, 2, 20))
    for found in (round_to_nearest(weight, group=8), gptq(weight, hessian, group=8)):
        assert (found.values.shape, found.scales.shape) == ((6, 20), (6, 3))
        for start, end in ((0, 8), (8, 16), (16, 20)):
            alone = round_to_nearest(weight[:, start:end], group=end - start)
            np.testing.assert_array_equal(found.values[:, start:end], alone.values)
            np.testing.assert_array_equal(found.scales[:, start // 8], alone.scales[:, 0])
        np.testing.assert_allclose(found.dequantised(), weight, atol=0.3)


def test_gptq_with_a_diagonal_hessian_rounds_to_nearest() -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((6, 32))
    for diagonal in (rng.uniform(0.5, 2, 32), np.zeros(32)):
        found = gptq(weight, np.diag(diagonal), group=8)
        expected = round_to_nearest(weight, group=8)
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.scales, expected.scales)


@pytest.mark.parametrize("seed", range(5))
def test_gptq_changes_products_less_than_rounding_to_nearest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 64))
    inputs += 0.1 * rng.standard_normal((400, 64))
    weight = rng.standard_normal((24, 64))

    def error(rounded: Int4Weights) -> float:
        return float(np.linalg.norm(inputs @ (rounded.dequantised() - weight).T))

    compensated = error(gptq(weight, inputs.T @ inputs, group=16))
    assert compensated < 0.6 * error(round_to_nearest(weight, group=16))


class Quantised:
    """A checkpoint with its matrices replaced by INT4 weights."""

    def __init__(self, checkpoint: ModelFolder, int4: dict[str, Int4Weights]) -> None:
        self.checkpoint, self.rounded = checkpoint, int4

    def __getattr__(self, name: str) -> Any:
        return getattr(self.checkpoint, name)

    def tensor(self, name: str) -> Array:
        if name in self.rounded:
            return self.rounded[name].dequantised()
        return self.checkpoint.tensor(name)


def test_gptq_of_a_whole_model_keeps_its_logits_closer(root: Path) -> None:
    checkpoint = ModelFolder(root / "tests" / "models" / "parity" / "llama")
    rng = np.random.default_rng(4)
    calibration, held_out = rng.integers(0, 61, (2, 24, 64))
    nearest = {
        name: round_to_nearest(checkpoint.tensor(name), group=16)
        for name in matrix_shapes(checkpoint.shape)
    }
    compensated = quantize_checkpoint(checkpoint, calibration, group=16)
    assert compensated.keys() == nearest.keys()
    expected = Reference(checkpoint).forward(held_out)

    def error(int4: dict[str, Int4Weights]) -> float:
        found = Reference(Quantised(checkpoint, int4)).forward(held_out)
        return float(np.linalg.norm(found - expected))

    assert error(compensated) < 0.95 * error(nearest)
