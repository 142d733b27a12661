"""From a checkpoint to a model folder: choose the source, copy its weights, quantise them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import Int4Weights, Tokenizer, matrix_shapes
from hwroute.errors import InputError
from hwroute.hf_config import read_config
from hwroute.models.bpe_tokenizer import (
    BpeTokenizer,
    Vocabulary,
    read_vocabulary,
    write_vocabulary,
)
from hwroute.models.folder import GROUP, ModelFolder
from hwroute.models.folder_config import CONFIG, ROUTING
from hwroute.models.folder_writer import write_config, write_int4, write_master
from hwroute.models.gptq import quantize_checkpoint
from hwroute.models.importing.huggingface import HuggingFace
from hwroute.models.importing.llama2c import Llama2c
from hwroute.models.importing.source import FolderSource, Source, stored_matrices
from hwroute.models.importing.vocabulary import import_tokenizer
from hwroute.models.quantize import round_to_nearest
from hwroute.models.tokenizer import VOCABULARY, AsciiTokenizer
from hwroute.policy import RoutingPolicy
from hwroute.policy_file import to_toml

METHODS = ("none", "rtn", "gptq")
"""Ways to the INT4 grid: stay off it, round to nearest, or GPTQ."""
Progress = Callable[[int], None]


def open_source(path: Path, policy: RoutingPolicy | None) -> Source:
    """Return the checkpoint at a path.

    Parameters
    ----------
    path
        A Hugging Face folder, a model folder, or a `.bin` file of llama2.c.
    policy
        Instead of the one that the checkpoint has or implies.

    Raises
    ------
    InputError
        It is none of these, or broken.
    """
    if path.is_file():
        return Llama2c(path, policy)
    if not (path / CONFIG).is_file():
        raise InputError(
            f"checkpoint must be a folder with a {CONFIG} or a file, not {str(path)!r}"
        )
    if "hwroute" in read_config(path / CONFIG):
        return FolderSource(path, policy)
    return HuggingFace(path, policy)


class Import:
    """One import: checked when it is made, done by `write`.

    Parameters
    ----------
    path
        As `open_source` takes it.
    quantize
        One of `METHODS`; matrices that the checkpoint has in INT4 stay as they are.
    calibration
        Text for "gptq", or token ids with commas or spaces between them where the model has no
        tokeniser.
    tokenizer
        "ascii", a `tokenizer.bin` of llama2.c or a `tokenizer.model` of SentencePiece; None keeps
        what the checkpoint has.
    policy
        Instead of the one that the checkpoint has or implies.

    Raises
    ------
    InputError
        The checkpoint, the tokenizer or the calibration text is broken, or they do not go together.
    """

    def __init__(
        self,
        path: Path,
        *,
        quantize: str = "rtn",
        calibration: Path | None = None,
        tokenizer: str | None = None,
        policy: RoutingPolicy | None = None,
    ) -> None:
        if quantize not in METHODS:
            raise InputError(f"quantize must be one of {', '.join(METHODS)}, not {quantize!r}")
        if (quantize == "gptq") != (calibration is not None):
            given = "missing" if calibration is None else "given"
            raise InputError(f"calibration must be given exactly with quantize 'gptq', not {given}")
        self._source = open_source(path, policy)
        if self._source.packed and quantize != "rtn":
            raise InputError(
                f"quantize must be 'rtn' for {path}, which is in INT4 but for its head, "
                f"not {quantize!r}"
            )
        self._quantize = quantize
        self._settings = dict(self._source.settings)
        self._vocabulary: Vocabulary | None = None
        vocab = self._source.shape.vocab
        if tokenizer is not None:
            self._settings["tokenizer"], self._vocabulary = import_tokenizer(tokenizer, vocab)
        elif self._settings.get("tokenizer") == "llama2c":
            self._vocabulary = read_vocabulary(self._source.folder / VOCABULARY, vocab)
        self._windows = None if calibration is None else self._calibration(calibration)

    @property
    def steps(self) -> int:
        """How far `progress` counts: a step for each tensor written."""
        vectors, shape = len(self._source.vector_shapes()), self._source.shape
        master = 0 if self._source.packed else vectors + len(stored_matrices(shape))
        return master + (0 if self._quantize == "none" else vectors + len(matrix_shapes(shape)))

    def write(self, folder: Path, *, name: str | None, progress: Progress) -> ModelFolder:
        """Write the model folder, whole or not at all.

        Parameters
        ----------
        folder
            The folder, which must not exist yet.
        name
            What reports call the model; the folder's name by default.
        progress
            Called with 1 for each of `steps`.

        Raises
        ------
        InputError
            The folder exists, or a value of the checkpoint is NaN, infinite or beyond FP16.
        """
        if folder.exists():
            raise InputError(f"output folder must not exist yet: {str(folder)!r}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            made = Path(scratch) / folder.name
            made.mkdir()
            self._write_small_files(made, name or folder.resolve().name)
            if not self._source.packed:
                write_master(made, self._float_shapes(), self._floats(progress))
            if self._quantize != "none":
                self._write_int4(made, progress)
            shutil.move(made, folder)
        return ModelFolder(folder)

    def _write_small_files(self, made: Path, name: str) -> None:
        write_config(made, self._source.shape, {"name": name, **self._settings})
        (made / ROUTING).write_text(to_toml(self._source.policy), encoding="utf-8")
        if self._vocabulary is not None:
            write_vocabulary(made / VOCABULARY, self._vocabulary)

    def _float_shapes(self) -> dict[str, tuple[int, ...]]:
        return {**self._source.vector_shapes(), **stored_matrices(self._source.shape)}

    def _floats(self, progress: Progress) -> Iterator[tuple[str, Any]]:
        for name in self._float_shapes():
            for block in self._source.blocks(name):
                yield name, block
            progress(1)

    def _write_int4(self, made: Path, progress: Progress) -> None:
        """Quantise what was written, or, without a float master, what the source has."""
        source = self._source if self._source.packed else ModelFolder(made)
        matrices = matrix_shapes(source.shape)
        rounded: dict[str, Int4Weights] = {}
        if self._windows is not None:
            assert isinstance(source, ModelFolder)
            rounded = quantize_checkpoint(source, self._windows, group=GROUP)

        def blocks() -> Iterator[tuple[str, Any]]:
            for name in (*source.vector_shapes(), *matrices):
                if name in self._source.packed:
                    yield name, self._source.int4(name)
                elif name in rounded:
                    yield name, rounded[name]
                else:
                    for block in source.blocks(name):
                        whole = name not in matrices
                        yield name, block if whole else round_to_nearest(block, GROUP)
                progress(1)

        write_int4(made, source.vector_shapes(), matrices, blocks())

    def _calibration(self, path: Path) -> NDArray[np.int64]:
        """Return a text as windows of the model's context, or one shorter window."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"calibration {path} must be a readable text: {error}") from error
        shape = self._source.shape
        tokenizer = self._tokenizer()
        if tokenizer is not None:
            ids = tokenizer.encode(text)
        else:
            words = text.replace(",", " ").split()
            if not all(word.isascii() and word.isdigit() for word in words):
                raise InputError(
                    f"calibration {path} must be token ids, such as 1,2,3, for a model without a "
                    f"tokeniser"
                )
            ids = [int(word) for word in words]
        if len(ids) < 2:
            raise InputError(f"calibration {path} must have at least 2 tokens, not {len(ids)}")
        if max(ids) >= shape.vocab:
            raise InputError(
                f"calibration {path} must be of tokens below {shape.vocab}, not {max(ids)}"
            )
        window = min(shape.context, len(ids))
        return np.array(ids[: len(ids) // window * window]).reshape(-1, window)

    def _tokenizer(self) -> Tokenizer | None:
        if self._vocabulary is not None:
            return BpeTokenizer(self._vocabulary)
        return AsciiTokenizer() if self._settings.get("tokenizer") == "ascii" else None
