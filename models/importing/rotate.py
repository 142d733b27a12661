"""The same model in another basis: ``python -m hwroute.models.importing.rotate MODEL FOLDER``.

RMSNorm's division commutes with a rotation of the residual stream once its gains are folded into
the matrices behind it (QuaRot, arXiv 2404.00456). The rotated model computes the same function, but
its weights lie on no grid that training prepared: what a rounding costs it is what that rounding
costs a model that was not trained for it.
"""

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import (
    EMBEDDING,
    HEAD,
    NORM,
    Floats,
    matrix_shapes,
    router_shapes,
    vector_shapes,
)
from hwroute.errors import InputError
from hwroute.models.folder import ModelFolder
from hwroute.models.folder_writer import write_folder
from hwroute.models.library import model_path
from hwroute.policy_terms import Source

ATTENTION_NORM, FFN_NORM = "input_layernorm.weight", "post_attention_layernorm.weight"


def rotate(model: ModelFolder, folder: Path, *, seed: int) -> ModelFolder:
    """Write a model in a random orthogonal basis; its head is a matrix of its own.

    Parameters
    ----------
    model
        With unquantised weights.
    folder
        Where to.
    seed
        Of the basis.

    Raises
    ------
    InputError
        A router reads the output of a norm, whose gains have nowhere to go.
    """
    for name, site in model.policy.sites():
        if site.router is not None and site.router.source is Source.SUBLAYER_NORMED:
            raise InputError(f"router of {name} must read the residual stream, not its norm")
    shape = replace(model.shape, tied=False)
    noise = np.random.default_rng(seed).standard_normal((shape.dim, shape.dim))
    basis: NDArray[np.float64] = np.linalg.qr(noise)[0]
    names = {
        **vector_shapes(shape),
        **matrix_shapes(shape),
        **router_shapes(shape, model.policy),
    }
    tensors = {name: _rotated(model, name, basis) for name in names}
    kept = {key: value for key, value in model.settings.items() if key not in ("format", "name")}
    write_folder(folder, shape, tensors, settings=kept)
    return ModelFolder(folder)


def _rotated(model: ModelFolder, name: str, basis: NDArray[np.float64]) -> Floats:
    weight = model.tensor(name).astype(np.float64)
    if name.endswith((NORM, ATTENTION_NORM, FFN_NORM)):
        return np.ones(weight.shape, np.float32)
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        weight = basis.T @ weight
    elif name == EMBEDDING or name.endswith(("_router.weight", "_router.0.weight")):
        weight = weight @ basis
    elif name == HEAD or name.endswith("_proj.weight"):
        weight = weight * model.tensor(_norm_before(name)) @ basis
    return weight.astype(np.float32)


def _norm_before(name: str) -> str:
    """Return the norm whose output a matrix multiplies."""
    if name == HEAD:
        return NORM
    layer, attention, _ = name.partition("self_attn.")
    return layer + ATTENTION_NORM if attention else name.partition("mlp.")[0] + FFN_NORM


@click.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
def main(model: str, folder: Path) -> None:
    """Write MODEL, a zoo name or a folder, in a random basis (seed 0) into FOLDER."""
    rotate(ModelFolder(model_path(model)), folder, seed=0)


if __name__ == "__main__":
    main()
