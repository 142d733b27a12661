"""A model whose widths fill no whole lines or groups is replayed bit for bit, zeros behind them."""

from pathlib import Path

import numpy as np
import pytest

from hwroute import api
from hwroute.checkpoint import matrix_shapes, router_shapes, vector_shapes
from hwroute.models.folder_writer import write_folder
from hwroute.models.library import named_policy
from hwroute.paths import build_dir
from hwroute.shape import ModelShape
from hwroute.sim.simulate import Job

SHAPE = ModelShape(
    dim=72,
    layers=2,
    heads=3,
    kv_heads=1,
    head_dim=24,
    ffn_dim=200,
    vocab=50,
    context=32,
    tied=True,
)


@pytest.mark.cpp
def test_every_operation_is_equal_on_rtl(tmp_path: Path) -> None:
    random = np.random.default_rng(12)
    routers = router_shapes(SHAPE, named_policy("skipgpt"))
    tensors = {
        name: (random.standard_normal(size) / np.sqrt(size[-1])).astype(np.float32)
        for name, size in (matrix_shapes(SHAPE) | vector_shapes(SHAPE) | routers).items()
    }
    write_folder(tmp_path / "source", SHAPE, tensors, settings={"kv": "reuse"})
    model = api.import_model(tmp_path / "source", tmp_path / "model")
    run = api.simulate(model, Job(prompt=[3, 1, 4, 1, 5], tokens=3), folder=build_dir())
    assert run.divergences == []
    for kind in ("reduce", "decide", "matmul", "head", "rotate", "normalise", "scores", "attend"):
        assert run.replayed[kind] > 0, kind
