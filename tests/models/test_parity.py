"""The float reference computes the logits that Hugging Face transformers computes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hwroute.models.folder import ModelFolder
from hwroute.models.reference import Reference

Array = NDArray[Any]
PARITY = ("llama", "llama3-rope", "mistral", "qwen2")
TOLERANCE = 1e-4
"""Largest difference of logits, as a share of the largest logit, in float32."""


def parity_folder(root: Path, name: str) -> Path:
    return root / "tests" / "models" / "parity" / name


def relative_error(found: Array, expected: Array) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", PARITY)
def test_logits_of_transformers(root: Path, name: str) -> None:
    folder = parity_folder(root, name)
    expected = load_file(folder / "logits.safetensors")
    reference = Reference(ModelFolder(folder))
    assert relative_error(reference.forward(expected["ids"]), expected["logits"]) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {"rope_theta": 9000.0}),
        ("llama", {"norm_eps": 2e-3}),
        ("llama3-rope", {"rope_scaling": None}),
        ("qwen2", {"qkv_bias": False}),
        ("mistral", {"rope_theta": 9000.0}),
    ],
)
def test_parity_would_show_a_wrong_constant(root: Path, name: str, changes: dict[str, Any]) -> None:
    folder = parity_folder(root, name)
    expected = load_file(folder / "logits.safetensors")
    checkpoint = ModelFolder(folder)
    checkpoint.shape = replace(checkpoint.shape, **changes)
    found = Reference(checkpoint).forward(expected["ids"])
    assert relative_error(found, expected["logits"]) > 10 * TOLERANCE


@pytest.mark.slow
def test_committed_logits_are_those_of_transformers(root: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for name in PARITY:
        folder = parity_folder(root, name)
        expected = load_file(folder / "logits.safetensors")
        peer = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            found = peer.eval()(torch.from_numpy(expected["ids"])).logits.numpy()
        assert relative_error(found, expected["logits"]) <= 1e-6
