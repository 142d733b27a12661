"""An import writes a folder whole or not at all, and its options do what they say."""

import json
import re
import shlex
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hwroute import api
from hwroute.checkpoint import matrix_shapes, vector_shapes
from hwroute.cli import main
from hwroute.errors import InputError
from hwroute.models import tensor_file
from hwroute.models.bench_import import write_checkpoint
from hwroute.models.evaluate import evaluate
from hwroute.models.folder import ModelFolder
from hwroute.models.folder_writer import write_folder
from hwroute.models.importing import convert
from hwroute.models.importing.convert import Import
from hwroute.models.importing.rotate import rotate
from hwroute.models.reference import Reference
from hwroute.shape import ModelShape

Tensors = dict[str, NDArray[Any]]
Save = Callable[..., Path]


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


def test_the_command_says_what_it_made(
    save: Save, tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(f"models import {save(tensors)} --name mine --json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["name"] == "mine"
    assert (fields["layers"], fields["dims"]["dim"], fields["routers"]) == (2, 128, 0)
    assert fields["bytes"] == sum(path.stat().st_size for path in (tmp_path / "mine").iterdir())
    assert fields["provenance"]["model_hash"] == ModelFolder(tmp_path / "mine").hash
    result = run(f"models import {tmp_path / 'checkpoint'} -o {tmp_path / 'a' / 'b'} --name x")
    assert result.exit_code == 0, result.output
    assert "name      x\n" in result.stdout
    assert ModelFolder(tmp_path / "a" / "b").name == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "checkpoint", "mine"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("missing", "checkpoint must be a folder with a config.json or a file, not 'missing'"),
        ("checkpoint -o checkpoint", "output folder must not exist yet: 'checkpoint'"),
        ("checkpoint --quantize gptq", "calibration must be given exactly with quantize 'gptq'"),
        ("checkpoint --calibration a", "exactly with quantize 'gptq', not given"),
        ("checkpoint --quantize gptq --calibration a", "calibration a must be a readable text"),
        ("checkpoint --tokenizer ascii", "must not be 'ascii' unless the model has 128 tokens"),
        ("checkpoint --tokenizer none.bin", "tokenizer must be 'ascii' or a file, not 'none.bin'"),
        ("checkpoint --policy skipgtp", "did you mean 'skipgpt'"),
        ("checkpoint --policy skipgpt", r"attn_router\.weight is missing"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(
    save: Save,
    tensors: Tensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    message: str,
) -> None:
    save(tensors)
    monkeypatch.chdir(tmp_path)
    result = run(f"models import -o made {line}")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (shown,) = result.stderr.splitlines()
    assert re.search(message, shown), shown
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_an_interrupted_import_leaves_nothing(
    save: Save, tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tensors)
    seen = []

    def stop(*_: Any) -> None:
        seen.extend(path.name for path in tmp_path.glob(".made-*/made/*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "round_to_nearest", stop)
    with pytest.raises(KeyboardInterrupt):
        api.import_model(folder, tmp_path / "made")
    assert "model.safetensors" in seen
    assert list(tmp_path.iterdir()) == [folder]


def test_every_step_is_counted(save: Save, tensors: Tensors, tmp_path: Path) -> None:
    folder = save(tensors)
    for quantize, tied, steps in (("rtn", False, 42), ("none", False, 21), ("rtn", True, 41)):
        folder = save(tensors, tie_word_embeddings=tied)
        counted: list[int] = []
        job = Import(folder, quantize=quantize)
        job.write(tmp_path / f"{quantize}{tied}", name=None, progress=counted.append)
        assert job.steps == sum(counted) == steps


def test_memory_does_not_grow_with_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_file, "BLOCK_ELEMENTS", 1 << 14)
    peaks = {}
    for vocab in (1 << 10, 1 << 14):
        shape = ModelShape(
            dim=256, layers=1, heads=4, kv_heads=4, head_dim=64, ffn_dim=512, vocab=vocab, context=8
        )
        weights = write_checkpoint(tmp_path / f"{vocab}", shape)
        job = Import(tmp_path / f"{vocab}")
        tracemalloc.start()
        job.write(tmp_path / f"{vocab}-made", name=None, progress=lambda _steps: None)
        peaks[weights] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    (small, large) = peaks
    assert large > 7 * small
    # A model of 18 MB, of which either matrix of the vocabulary takes 8 MB.
    assert peaks[large] < 1.1 * peaks[small] < 3 << 20, peaks


def test_weights_may_stay_unquantised(save: Save, tensors: Tensors, tmp_path: Path) -> None:
    model = api.import_model(save(tensors), tmp_path / "made", quantize="none")
    assert (model.has_master, model.has_int4) == (True, False)


def test_a_model_folder_is_quantised_again(root: Path, tmp_path: Path) -> None:
    source = ModelFolder(root / "models" / "zoo" / "tiny")
    model = api.import_model(source.path, tmp_path / "tiny")
    assert (model.policy, model.shape) == (source.policy, source.shape)
    assert model.tokenizer is not None
    assert model.settings["seed"] == source.settings["seed"]
    before, after = (load_file(folder.path / "model.safetensors") for folder in (source, model))
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_gptq_loses_less_than_rounding_to_nearest(root: Path, tmp_path: Path) -> None:
    tiny = ModelFolder(root / "models" / "zoo" / "tiny")
    # Rotated, since `tiny` itself was trained with its weights rounded to nearest.
    source = rotate(tiny, tmp_path / "rotated", seed=0)
    text = (tiny.path / "heldout.txt").read_text(encoding="ascii")
    ids = list(text[:4096].encode())
    losses = {"tiny": evaluate(Reference(tiny), ids).nats_per_token}
    losses["none"] = evaluate(Reference(source), ids).nats_per_token
    assert losses["none"] == pytest.approx(losses["tiny"], abs=1e-3)
    calibration = tmp_path / "calibration.txt"
    calibration.write_text(text[-4096:])
    for method, given in (("rtn", None), ("gptq", calibration)):
        job = Import(source.path, quantize=method, calibration=given)
        model = job.write(tmp_path / method, name=None, progress=lambda _steps: None)
        losses[method] = evaluate(Reference(model, weights="int4"), ids).nats_per_token
    cost = {method: losses[method] - losses["none"] for method in ("rtn", "gptq")}
    assert 0 < cost["gptq"] < 0.8 * cost["rtn"], losses


def test_calibration_is_token_ids_where_there_is_no_tokenizer(
    save: Save, tensors: Tensors, tmp_path: Path
) -> None:
    folder, text = save(tensors), tmp_path / "ids.txt"
    text.write_text("1, 2, 3\n" + " ".join(str(token) for token in range(96)))
    model = api.import_model(folder, tmp_path / "made", quantize="gptq", calibration=text)
    nearest = api.import_model(folder, tmp_path / "rtn")
    name = "model.layers.0.mlp.up_proj.weight"
    assert (model.int4(name).values != nearest.int4(name).values).any()
    for words, message in (
        ("First Citizen", "must be token ids, such as 1,2,3, for a model without a tokeniser"),
        ("1,96", "must be of tokens below 96, not 96"),
        ("1", "must have at least 2 tokens, not 1"),
    ):
        text.write_text(words)
        with pytest.raises(InputError, match=message):
            Import(folder, quantize="gptq", calibration=text)


def test_a_tokenizer_of_llama2c_goes_into_the_folder(
    save: Save, tensors: Tensors, tmp_path: Path, vocabulary_file: Path
) -> None:
    model = api.import_model(save(tensors), tmp_path / "made", tokenizer=str(vocabulary_file))
    assert model.tokenizer is not None
    assert model.settings["tokenizer"] == "llama2c"
    ids = model.tokenizer.encode("abba")
    assert model.tokenizer.decode(ids) == "abba"
    assert ids[0] == 1
    # And into a folder made of that folder; what it says of the model is part of its identity.
    again = api.import_model(model.path, tmp_path / "again", name="made")
    assert again.tokenizer is not None
    assert again.tokenizer.encode("abba") == ids
    before = again.hash
    vocabulary = again.path / "tokenizer.bin"
    vocabulary.write_bytes(vocabulary.read_bytes().replace(b"ab", b"ba"))
    assert ModelFolder(again.path).hash != before


def test_dimensions_that_fill_no_whole_group_or_block_run(tmp_path: Path) -> None:
    shape = ModelShape(
        dim=72,
        layers=2,
        heads=3,
        kv_heads=1,
        head_dim=24,
        ffn_dim=201,
        vocab=50,
        context=32,
        tied=True,
    )
    random = np.random.default_rng(12)
    tensors = {
        name: (random.standard_normal(size) / np.sqrt(size[-1])).astype(np.float32)
        if len(size) == 2
        else np.ones(size, np.float32)
        for name, size in (matrix_shapes(shape) | vector_shapes(shape)).items()
    }
    write_folder(tmp_path / "source", shape, tensors, settings={})
    model = api.import_model(tmp_path / "source", tmp_path / "made")
    down = model.int4("model.layers.0.mlp.down_proj.weight")
    assert (down.values.shape, down.scales.shape) == ((72, 201), (72, 2))
    ids = random.integers(0, 50, 12).tolist()
    golden = api.generate(model, ids, 8)
    logits = Reference(model, weights="int4").forward([*ids, *golden.token_ids[:-1]])
    expected = np.argmax(logits[len(ids) - 1 :], axis=-1).tolist()
    assert golden.token_ids == expected
