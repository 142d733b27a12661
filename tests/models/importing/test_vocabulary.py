"""SentencePiece models come in as the pieces and scores that they hold."""

import struct
from pathlib import Path

import pytest

from hwroute.errors import InputError
from hwroute.models.bpe_tokenizer import BpeTokenizer
from hwroute.models.importing.vocabulary import import_tokenizer, read_sentencepiece

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
WORDS = ["\u2581", "a", "b", "\u2581a", "ab", "é"]


def varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low | 0x80]) + varint(value >> 7) if value >> 7 else bytes([low])


def field(number: int, value: bytes | int | float) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def model(*, model_type: int | None = 2, bos: int = CONTROL, words: list[str] = WORDS) -> bytes:
    """Return a `ModelProto`: special pieces, bytes and words, and a trainer's settings."""
    kinds = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, bos), ("</s>", 0.0, CONTROL)]
    kinds += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    kinds += [(word, -float(score), NORMAL) for score, word in enumerate(words)]
    raw = b""
    for text, score, kind in kinds:
        piece = field(1, text.encode()) + field(2, score)
        # A normal piece is the default, which protocol buffers leave out.
        raw += field(1, piece if kind == NORMAL else piece + field(3, kind))
    trainer = field(1, b"corpus.txt") + (b"" if model_type is None else field(3, model_type))
    return raw + field(2, trainer + field(40, 3)) + field(3, field(1, b"identity"))


def test_pieces_and_scores_are_the_models(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(model())
    name, found = import_tokenizer(str(path), 259 + len(WORDS))
    assert name == "llama2c"
    assert found is not None
    assert found.pieces[:4] == (b"<unk>", b"\n<s>\n", b"\n</s>\n", b"<0x00>")
    assert found.pieces[259:] == (b" ", b"a", b"b", b" a", b"ab", "é".encode())
    assert found.scores[259:] == (0.0, -1.0, -2.0, -3.0, -4.0, -5.0)
    tokenizer = BpeTokenizer(found)
    assert tokenizer.encode("ab é!") == [1, 262, 261, 259, 264, 3 + ord("!")]
    assert tokenizer.decode(tokenizer.encode("ab é!")) == "ab é!"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (model(model_type=1), r"model_type must be 2 \(byte-pair encoding\), not 1"),
        (model(model_type=None), r"model_type must be 2 \(byte-pair encoding\), not 1"),
        (model(words=WORDS[1:]), "must hold the model's 265 pieces, not 264"),
        (model(bos=NORMAL), "ids 1 and 2 must begin and end a text, and the 256 bytes must follow"),
        (model()[:-1], "must be a SentencePiece model"),
        (model()[:700], "must be a SentencePiece model"),
        (b"\xff" * 40, "must be a SentencePiece model"),
        (b"", "model_type must be 2"),
    ],
)
def test_a_broken_or_foreign_model_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=message):
        read_sentencepiece(path, 265)
