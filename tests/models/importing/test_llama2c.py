"""Files of llama2.c compute what llama2.c computes, and broken ones are refused."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwroute.api import import_model
from hwroute.errors import InputError
from hwroute.models.library import named_policy
from hwroute.models.reference import Reference

Array = NDArray[Any]
Tensors = dict[str, Array]
DIM, FFN, LAYERS, HEADS, KV_HEADS, VOCAB, CONTEXT = 48, 72, 2, 4, 2, 40, 24
HEAD_DIM = DIM // HEADS
SIZES = {
    "embedding": (VOCAB, DIM),
    "attention_norm": (LAYERS, DIM),
    "wq": (LAYERS, DIM, DIM),
    "wk": (LAYERS, KV_HEADS * HEAD_DIM, DIM),
    "wv": (LAYERS, KV_HEADS * HEAD_DIM, DIM),
    "wo": (LAYERS, DIM, DIM),
    "ffn_norm": (LAYERS, DIM),
    "w1": (LAYERS, FFN, DIM),
    "w2": (LAYERS, DIM, FFN),
    "w3": (LAYERS, FFN, DIM),
    "norm": (DIM,),
    "rotary": (2, CONTEXT, HEAD_DIM // 2),
    "head": (VOCAB, DIM),
}
ORDER = {
    0: [name for name in SIZES if name != "head"],
    1: [
        "attention_norm",
        "ffn_norm",
        "norm",
        "embedding",
        "wq",
        "wk",
        "wv",
        "wo",
        "w1",
        "w2",
        "w3",
    ],
}


@pytest.fixture
def weights() -> Tensors:
    """Return weights that float16 holds, under llama2.c's names."""
    random = np.random.default_rng(6)
    made = {}
    for name, size in SIZES.items():
        value = random.standard_normal(size) / np.sqrt(size[-1])
        made[name] = (1 + value if "norm" in name else value).astype("<f2").astype("<f4")
    return made


def write(path: Path, weights: Tensors, version: int, *, tied: bool) -> Path:
    vocab = VOCAB if tied or version else -VOCAB
    header = struct.pack("<7i", DIM, FFN, LAYERS, HEADS, KV_HEADS, vocab, CONTEXT)
    if version:
        header = struct.pack("<Ii", 0x616B3432, version) + header + struct.pack("<B", tied)
        header += bytes(256 - len(header))
    names = ORDER[version] + ([] if tied else ["head"])
    path.write_bytes(header + b"".join(weights[name].tobytes() for name in names))
    return path


def llama2c(weights: Tensors, ids: list[int], *, tied: bool) -> Array:
    """Compute logits [tokens, vocab] as llama2.c's `forward`: token by token, pairs in place."""
    keys = np.zeros((LAYERS, CONTEXT, KV_HEADS, HEAD_DIM))
    values = np.zeros_like(keys)
    logits = []

    def norm(x: Array, gain: Array) -> Array:
        return gain * x / np.sqrt(np.mean(x * x) + 1e-5)

    for position, token in enumerate(ids):
        x = weights["embedding"][token].astype(np.float64)
        for layer in range(LAYERS):
            normed = norm(x, weights["attention_norm"][layer])
            q, k, v = (weights[name][layer] @ normed for name in ("wq", "wk", "wv"))
            for vector in (q, k):
                for i in range(0, len(vector), 2):
                    angle = position / 10000.0 ** (i % HEAD_DIM / HEAD_DIM)
                    a, b = vector[i], vector[i + 1]
                    vector[i] = a * np.cos(angle) - b * np.sin(angle)
                    vector[i + 1] = a * np.sin(angle) + b * np.cos(angle)
            keys[layer, position] = k.reshape(KV_HEADS, HEAD_DIM)
            values[layer, position] = v.reshape(KV_HEADS, HEAD_DIM)
            mixed = []
            for head in range(HEADS):
                kv = head * KV_HEADS // HEADS
                query = q[head * HEAD_DIM : (head + 1) * HEAD_DIM]
                scores = keys[layer, : position + 1, kv] @ query / np.sqrt(HEAD_DIM)
                p = np.exp(scores - scores.max())
                mixed.append(p / p.sum() @ values[layer, : position + 1, kv])
            x = x + weights["wo"][layer] @ np.concatenate(mixed)
            normed = norm(x, weights["ffn_norm"][layer])
            gate, up = weights["w1"][layer] @ normed, weights["w3"][layer] @ normed
            x = x + weights["w2"][layer] @ (gate / (1 + np.exp(-gate)) * up)
        head_matrix = weights["embedding" if tied else "head"]
        logits.append(head_matrix @ norm(x, weights["norm"]))
    return np.array(logits)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("version", [0, 1])
def test_logits_are_llama2cs(tmp_path: Path, weights: Tensors, version: int, tied: bool) -> None:
    model = import_model(
        write(tmp_path / "model.bin", weights, version, tied=tied), tmp_path / "made"
    )
    ids = np.random.default_rng(7).integers(0, VOCAB, 20).tolist()
    expected = llama2c(weights, ids, tied=tied)
    found = Reference(model, dtype=np.float64).forward(ids)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())
    assert (model.shape.tied, model.shape.context) == (tied, CONTEXT)
    # The test would show rows in the other order.
    weights["wq"] = weights["wq"][:, ::-1]
    assert np.abs(llama2c(weights, ids, tied=tied) - expected).max() > 0.01


def test_a_file_of_another_length_is_refused(tmp_path: Path, weights: Tensors) -> None:
    for version in (0, 1):
        path = write(tmp_path / "model.bin", weights, version, tied=True)
        whole = path.read_bytes()
        for raw in (whole[:-1], whole + bytes(4), whole[: len(whole) // 2]):
            path.write_bytes(raw)
            message = f"must be {len(whole)} bytes long as its header says, not {len(raw)}"
            with pytest.raises(InputError, match=message):
                import_model(path, tmp_path / "made")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "must begin with a header of 28 bytes, not 0"),
        (struct.pack("<Ii", 0x616B3432, 2) + bytes(248), r"version must be 0 or 1 .*, not 2"),
        (struct.pack("<Ii", 0x616B3432, 1) + bytes(100), "a header of 256 bytes, not 108"),
        (struct.pack("<7i", 48, 72, 2, 5, 2, 40, 24), r"dim must be a multiple of heads \(5\)"),
        (struct.pack("<7i", 48, 72, 2, 0, 2, 40, 24), r"dim must be a multiple of heads \(0\)"),
        (struct.pack("<7i", 48, 72, 2, 4, 3, 40, 24), "heads must be a multiple of kv_heads"),
        (struct.pack("<7i", 48, -72, 2, 4, 2, 40, 24), "ffn_dim must be positive, not -72"),
    ],
)
def test_a_bad_header_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=message):
        import_model(path, tmp_path / "made")


def test_a_bad_value_is_named(tmp_path: Path, weights: Tensors) -> None:
    weights["w2"][1, 3, 5] = np.inf
    path = write(tmp_path / "model.bin", weights, 0, tied=True)
    message = r"model\.layers\.1\.mlp\.down_proj\.weight must be finite, not inf at \[3, 5\]"
    with pytest.raises(InputError, match=message):
        import_model(path, tmp_path / "made")


def test_a_policy_with_routers_is_refused(tmp_path: Path, weights: Tensors) -> None:
    path = write(tmp_path / "model.bin", weights, 0, tied=True)
    with pytest.raises(InputError, match=r"policy 'skipgpt' must need no routers for .*model\.bin"):
        import_model(path, tmp_path / "made", policy=named_policy("skipgpt"))
