"""Tokenizers, by the name that a model folder's `config.json` gives."""

from pathlib import Path

from hwroute.checkpoint import Tokenizer
from hwroute.errors import InputError, nearest
from hwroute.models.bpe_tokenizer import BpeTokenizer, read_vocabulary

VOCABULARY = "tokenizer.bin"
"""The file of a folder that the tokenizer "llama2c" reads."""
TOKENIZERS = ("ascii", "llama2c")


class AsciiTokenizer:
    """One token per character: its id is the ASCII code, 0 to 127."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`.

        Raises
        ------
        InputError
            A character is not ASCII; the message names it and its position.
        """
        for position, character in enumerate(text):
            if not character.isascii():
                raise InputError(
                    f"text must be ASCII for this model, not {character!r} "
                    f"(U+{ord(character):04X}) at position {position}"
                )
        return list(text.encode("ascii"))

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`.

        Raises
        ------
        InputError
            An id is not from 0 to 127; the message names it and its position.
        """
        for position, token in enumerate(ids):
            if not 0 <= token < 128:
                raise InputError(
                    f"token id must be from 0 to 127 for this model, not {token!r} "
                    f"at position {position}"
                )
        return bytes(ids).decode("ascii")


def make_tokenizer(name: str, folder: Path, vocab: int, where: str) -> Tokenizer:
    """Return the tokenizer called `name`.

    Parameters
    ----------
    name
        One of `TOKENIZERS`.
    folder, vocab
        The model's folder and number of token ids.
    where
        What an error calls the place that names it.

    Raises
    ------
    InputError
        There is none, or its file is missing or not of this model.
    """
    if name not in TOKENIZERS:
        raise InputError(
            f"{where}: tokenizer must be one of {', '.join(TOKENIZERS)}, not {name!r}"
            f"{nearest(name, list(TOKENIZERS))}"
        )
    if name == "ascii":
        return AsciiTokenizer()
    return BpeTokenizer(read_vocabulary(folder / VOCABULARY, vocab))
