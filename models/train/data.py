"""Corpus: 7-bit ASCII text, its last tenth held out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

HELD_OUT = 0.1
"""Fraction of the corpus, at its end, which training never sees."""


def split(corpus: bytes) -> tuple[bytes, bytes]:
    """Cut a corpus into the part for training and the held-out part."""
    cut = int(len(corpus) * (1 - HELD_OUT))
    return corpus[:cut], corpus[cut:]


def tokens(text: bytes) -> Tensor:
    """Turn text into tokens, int64 [length]; a token is a byte.

    Raises
    ------
    ValueError
        If a byte is not 7-bit ASCII.
    """
    if not text.isascii():
        raise ValueError("Corpus must be 7-bit ASCII")
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def load(path: Path) -> tuple[Tensor, Tensor]:
    """Read a corpus and return its training and held-out tokens, int64 [length] each."""
    train, held_out = split(path.read_bytes())
    return tokens(train), tokens(held_out)


def sample(train: Tensor, rows: int, length: int) -> Tensor:
    """Draw random windows [rows, length] from `train` with torch's global generator."""
    starts = torch.randint(len(train) - length + 1, (rows, 1))
    return train[starts + torch.arange(length)]


def windows(text: Tensor, length: int) -> Tensor:
    """Cut `text` into consecutive windows [count, length] and drop the tail."""
    return text[: len(text) // length * length].view(-1, length)
