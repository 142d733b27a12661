"""INT4 grid of the weights: groups of inputs share a float16 scale."""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 128
"""Input columns which share a scale."""

LOW, HIGH = -8, 7
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)
"""Fractions of a group's range among which the one of least squared error is taken."""


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to the INT4 grid.

    Parameters
    ----------
    weight : Tensor, float32 [out, in]
        Matrix whose number of columns is a multiple of `GROUP`.

    Returns
    -------
    codes : Tensor, float32 [out, in / GROUP, GROUP]
        Integers from -8 to 7.
    scale : Tensor, float32 [out, in / GROUP, 1]
        Scales, already rounded to float16.
    """
    groups = weight.detach().unflatten(1, (-1, GROUP))
    top = groups.abs().amax(-1, keepdim=True) / HIGH
    best_codes, best_scale, best_error = torch.empty(0), top, torch.full_like(top, torch.inf)
    for clip in CLIPS:
        scale = (top * clip).half().float().clamp_min(2.0**-14)
        codes = (groups / scale).round_().clamp_(LOW, HIGH)
        error = (codes * scale - groups).square_().sum(-1, keepdim=True)
        better = error < best_error
        best_codes = torch.where(better, codes, best_codes) if best_codes.numel() else codes
        best_scale = torch.where(better, scale, best_scale)
        best_error = torch.where(better, error, best_error)
    return best_codes, best_scale


def dequantize(codes: Tensor, scale: Tensor) -> Tensor:
    """Turn codes and scales of `quantize` back into a float32 matrix [out, in]."""
    return (codes * scale).flatten(1)


def fake_quantize(weight: Tensor) -> Tensor:
    """Round a matrix [out, in] to the grid, with the gradient of the identity."""
    return weight + (dequantize(*quantize(weight)) - weight).detach()


def pack(codes: Tensor) -> Tensor:
    """Pack codes two to a byte.

    Parameters
    ----------
    codes : Tensor, [out, groups, GROUP]
        Integers from -8 to 7.

    Returns
    -------
    Tensor, uint8 [out, in / 2]
        Two's complement nibbles, the even input column in the low one.
    """
    nibbles = codes.flatten(1).to(torch.int16) & 0xF
    return (nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)).to(torch.uint8)


def unpack(packed: Tensor) -> Tensor:
    """Undo `pack`: from uint8 [out, in / 2] to float32 codes [out, groups, GROUP]."""
    nibbles = torch.stack((packed & 0xF, packed >> 4), dim=-1).flatten(1).float()
    return torch.where(nibbles > HIGH, nibbles - 16, nibbles).unflatten(1, (-1, GROUP))
