"""Models: load them, import them, take their texts as token ids."""

from pathlib import Path
from typing import Literal

from hwroute.api.progress import Progress, silent
from hwroute.checkpoint import Checkpoint
from hwroute.errors import InputError
from hwroute.models.folder import ModelFolder
from hwroute.models.importing.convert import Import
from hwroute.models.library import model_path
from hwroute.policy import RoutingPolicy


def load(name_or_folder: str, *, policy: RoutingPolicy | None = None) -> ModelFolder:
    """Return a model of the zoo by name, or the one in a folder.

    Parameters
    ----------
    name_or_folder
        What ``-m`` takes on the command line.
    policy
        Instead of the model's own, from `hwroute.policy_file.from_toml` for instance.

    Raises
    ------
    InputError
        Unknown, or a broken or unsupported folder, or one without the routers of `policy`.
    """
    return ModelFolder(model_path(name_or_folder), policy=policy)


def import_model(
    path: Path,
    folder: Path,
    *,
    name: str | None = None,
    quantize: Literal["none", "rtn", "gptq"] = "rtn",
    calibration: Path | None = None,
    tokenizer: str | None = None,
    policy: RoutingPolicy | None = None,
    progress: Progress = silent,
) -> ModelFolder:
    """Make a model folder of a checkpoint of another project, or quantise a model folder again.

    Parameters
    ----------
    path
        A Hugging Face folder, a `.bin` file of llama2.c, or a model folder.
    folder
        The folder to write; it must not exist yet, and is written whole or not at all.
    name
        What reports call the model; the folder's name by default.
    quantize, calibration, tokenizer, policy
        See `hwroute.models.importing.convert.Import`.
    progress
        Called with 1 after each tensor.

    Raises
    ------
    InputError
        The checkpoint is broken or not handled, an option does not fit it, or the folder exists.
    """
    job = Import(
        path, quantize=quantize, calibration=calibration, tokenizer=tokenizer, policy=policy
    )
    return job.write(folder, name=name, progress=progress)


def encode(model: Checkpoint, text: str) -> list[int]:
    """Return the token ids of a text.

    Raises
    ------
    InputError
        The model has no tokeniser, or the text a character outside its vocabulary.
    """
    if model.tokenizer is None:
        raise InputError(
            f"model {model.name} has no tokeniser: the prompt must be given as token ids"
        )
    return model.tokenizer.encode(text)
