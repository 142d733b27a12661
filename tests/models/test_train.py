"""The training recipe, end to end on a small synthetic corpus."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed", allow_module_level=True)

import torch
from safetensors.torch import load_file

from hwroute.models import train
from hwroute.models.train import __main__ as command
from hwroute.models.train import evaluate, export, model, quantize, report, routing, stages
from hwroute.models.train.config import ATTENTION, FFN, STAGES, ModelShape

STEPS = 20
FREE = 11


@pytest.fixture(scope="module", autouse=True)
def small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, recipe in STAGES.items():
            small = replace(recipe, rows=1, calibration_rows=4, warmup_steps=2)
            patch.setitem(STAGES, name, small)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["route", "skip", "token", "layer", "the", "a", "of", "state"]
    rng = random.Random(7)
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(" ".join(rng.choice(words) for _ in range(2000)))
    return path


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the OUT of a run through all stages."""
    out = tmp_path_factory.mktemp("out")
    options = ["--corpus", str(corpus), "--out", str(out), "--steps", str(STEPS), "--threads", "1"]
    result = CliRunner().invoke(command.main, options)
    assert result.exit_code == 0, result.output
    return out


def test_all_stages_export_model_folders(corpus: Path, trained: Path) -> None:
    for folder, routers, kv in (
        ("tiny-dense", False, "reuse"),
        ("tiny", True, "reuse"),
        ("tiny-dense-kv", True, "dense"),
    ):
        settings = json.loads((trained / folder / "config.json").read_text())["hwroute"]
        assert (settings["routers"], settings["kv"], settings["format"]) == (routers, kv, 1)
        tensors = load_file(trained / folder / "model.safetensors")
        assert tensors["model.layers.5.self_attn.k_proj.weight"].shape == (64, 128)
        assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
        assert sum("router" in name for name in tensors) == FREE * routers
        assert "model.layers.0.attn_router.weight" not in tensors
    text, held_out = corpus.read_text(), (trained / "tiny" / "heldout.txt").read_text()
    assert text.endswith(held_out)
    assert len(held_out) == pytest.approx(len(text) / 10, abs=1)


def test_int4_weights_are_the_rounded_master(trained: Path) -> None:
    packed = load_file(trained / "tiny" / "int4.safetensors")
    assert packed["lm_head.weight_q"].dtype == torch.uint8
    assert packed["lm_head.weight_q"].shape == (128, 64)
    assert packed["model.layers.0.mlp.down_proj.scale"].shape == (128, 3)
    assert packed["model.layers.1.attn_router.weight"].dtype == torch.float16
    rounded = export.load(trained / "tiny")
    rounded.set_int4(True)
    stored = export.load(trained / "tiny", use_int4=True)
    rows = torch.arange(64).view(2, 32)
    expected = rounded(rows, model.argmax)
    actual = stored(rows, model.argmax)
    torch.testing.assert_close(actual.logits, expected.logits, rtol=0, atol=1e-5)


def test_resumed_run_equals_an_uninterrupted_one(
    corpus: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copy(trained / "dense.pt", tmp_path)
    run = stages.Run(corpus=corpus, out=tmp_path, steps=STEPS, resume=True, threads=1)
    first = run.trainer("reuse")
    first.run(run.checkpoint("reuse"), steps=7)
    second = run.trainer("reuse")
    assert second.step == 7
    second.run(run.checkpoint("reuse"))
    whole = torch.load(trained / "reuse.pt", weights_only=True)["model"]
    for name, weight in whole.items():
        assert torch.equal(weight, second.model.state_dict()[name]), name


def test_checkpoint_of_another_seed_is_refused(corpus: Path, trained: Path) -> None:
    other = stages.Run(corpus=corpus, out=trained, steps=STEPS, seed=2, resume=True)
    with pytest.raises(ValueError, match="same seed and recipe"):
        other.trainer("dense")


def test_report_measures_every_folder(trained: Path) -> None:
    result = CliRunner().invoke(report.main, [str(trained)])
    assert result.exit_code == 0, result.output
    for label, _, _ in evaluate.TABLE:
        assert f"| {label} | " in result.output


def test_routed_stage_without_a_dense_model_says_what_to_run(corpus: Path, tmp_path: Path) -> None:
    options = ["--corpus", str(corpus), "--out", str(tmp_path), "--stage", "reuse"]
    result = CliRunner().invoke(command.main, options)
    assert result.exit_code == 1
    assert "run --stage dense first" in result.output


@pytest.mark.parametrize("entry", [command.main, report.main])
def test_missing_torch_is_one_line_and_status_3(
    entry: click.Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda _name: None)
    options = ["--corpus", str(corpus), "--out", str(tmp_path)]
    arguments = options if entry is command.main else [str(tmp_path)]
    result = CliRunner().invoke(entry, arguments)
    assert result.exit_code == 3
    assert result.output == "Training needs PyTorch: pip install 'hwroute[train]'\n"


def test_skipped_token_keeps_the_keys_and_values_of_its_last_executed_layer() -> None:
    torch.manual_seed(0)
    shape = ModelShape()
    network = model.RoutedLlama(shape, routers=True).eval()
    seen: list[torch.Tensor] = []
    for layer in network.model.layers:
        layer.self_attn.register_forward_pre_hook(lambda _module, args: seen.append(args[1]))
    forced = torch.ones(shape.sublayers, 1, 8)
    forced[2 * 1 + ATTENTION, 0, 3] = 0
    forced[2 * 2 + ATTENTION, 0, 3] = 0
    evaluate.measure(network, torch.arange(8).view(1, 8), forced)
    for deep in (1, 2):
        assert torch.equal(seen[deep][..., 3, :], seen[0][..., 3, :])
        assert not torch.equal(seen[deep][..., 4, :], seen[0][..., 4, :])
    assert not torch.equal(seen[3][..., 3, :], seen[0][..., 3, :])


def test_skipped_sublayers_do_not_touch_the_result() -> None:
    torch.manual_seed(0)
    network = model.RoutedLlama(ModelShape(), routers=True)
    rows = torch.arange(8).view(1, 8)
    forced = torch.zeros(12, 1, 8)
    forced[ATTENTION] = 1
    before = evaluate.measure(network, rows, forced)
    for layer in network.model.layers:
        torch.nn.init.normal_(layer.mlp.down_proj.weight)
    after = evaluate.measure(network, rows, forced)
    assert after.loss == before.loss
    assert after.skip(ATTENTION) == pytest.approx(5 / 6)
    assert after.skip(FFN) == 1


def test_tie_executes() -> None:
    logits = torch.tensor([[0.5, 0.5], [0.4, 0.5], [0.5, 0.4]])
    assert model.argmax(0, logits).tolist() == [1, 0, 1]
    assert routing.NoisyGate(0.0)(0, logits).tolist() == [1, 0, 1]


def test_packing_is_lossless_and_even_columns_are_low() -> None:
    codes = torch.arange(-8, 8).repeat(8).view(1, 1, 128).float()
    packed = quantize.pack(codes)
    assert packed[0, 0] == 0x98
    assert torch.equal(quantize.unpack(packed), codes)
