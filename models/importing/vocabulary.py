"""Tokenizers of other projects, as the vocabulary that `hwroute.models.bpe_tokenizer` reads."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwroute.errors import InputError
from hwroute.models.bpe_tokenizer import BOS, EOS, FIRST_BYTE, Vocabulary, read_vocabulary

ASCII_TOKENS = 128
SENTENCEPIECE = ".model"
"""End of the name of a SentencePiece model."""
_SPACE = "\u2581"
"""How SentencePiece writes a space."""
_BPE, _CONTROL, _BYTE = 2, 3, 6
"""Of `TrainerSpec.ModelType` and `SentencePiece.Type`."""


def import_tokenizer(tokenizer: str, vocab: int) -> tuple[str, Vocabulary | None]:
    """Return the name of a tokenizer in `config.json`, and its vocabulary if it has one.

    Parameters
    ----------
    tokenizer
        "ascii", or a file: a `tokenizer.model` of SentencePiece, else `tokenizer.bin` of llama2.c.
    vocab
        Token ids of the model.

    Raises
    ------
    InputError
        It is none of these, broken, or not of a model of this size.
    """
    if tokenizer == "ascii":
        if vocab != ASCII_TOKENS:
            raise InputError(
                f"tokenizer must not be 'ascii' unless the model has {ASCII_TOKENS} tokens, "
                f"not {vocab}"
            )
        return "ascii", None
    path = Path(tokenizer)
    if not path.is_file():
        raise InputError(f"tokenizer must be 'ascii' or a file, not {tokenizer!r}")
    if path.suffix == SENTENCEPIECE:
        return "llama2c", read_sentencepiece(path, vocab)
    return "llama2c", read_vocabulary(path, vocab)


def read_sentencepiece(path: Path, size: int) -> Vocabulary:
    """Read a SentencePiece model (`ModelProto`) of the kind that Llama has.

    Its pieces are merged by score as llama2.c does it, a space before the text. Control pieces get
    llama2.c's names, which no text on one line spells.

    Parameters
    ----------
    path
        The file.
    size
        Pieces that it must hold.

    Raises
    ------
    InputError
        The file is broken, no byte-pair encoding, or its first ids are not llama's.
    """
    pieces, scores, kinds, model = [], [], [], 1
    try:
        for field, value in _fields(path.read_bytes()):
            if field == 1:
                piece, score, kind = _piece(value)
                pieces.append(piece)
                scores.append(score)
                kinds.append(kind)
            elif field == 2:
                model = int(dict(_fields(value)).get(3, 1))
    except (LookupError, struct.error, TypeError, ValueError, OSError) as error:
        raise InputError(f"{path}: must be a SentencePiece model: {error!r}") from error
    if model != _BPE:
        raise InputError(f"{path}: model_type must be {_BPE} (byte-pair encoding), not {model}")
    if len(pieces) != size:
        raise InputError(f"{path}: must hold the model's {size} pieces, not {len(pieces)}")
    bytes_at = kinds[FIRST_BYTE : FIRST_BYTE + 256]
    if kinds[BOS : EOS + 1] != [_CONTROL] * 2 or bytes_at != [_BYTE] * 256:
        raise InputError(
            f"{path}: ids {BOS} and {EOS} must begin and end a text, and the 256 bytes must follow"
        )
    for token in (BOS, EOS):
        pieces[token] = f"\n{pieces[token]}\n"
    raw = tuple(piece.replace(_SPACE, " ").encode() for piece in pieces)
    return Vocabulary(raw, tuple(scores))


def _piece(message: bytes) -> tuple[str, float, int]:
    """Return text, score and type of a `SentencePiece`."""
    fields = dict(_fields(message))
    (score,) = struct.unpack("<f", fields.get(2, b"\0\0\0\0"))
    return fields[1].decode(), score, int(fields.get(3, 1))


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of the fields of a protocol buffer: int, or bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(message):
        key = varint()
        wire = key & 7
        if wire == 0:
            yield key >> 3, varint()
            continue
        length = varint() if wire == 2 else {1: 8, 5: 4}[wire]
        if place + length > len(message):
            raise IndexError("a field ends behind the file")
        yield key >> 3, message[place : place + length]
        place += length
