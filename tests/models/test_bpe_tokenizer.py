"""llama2.c's tokenizer: the pairs that it merges, its file, and what it refuses."""

import struct
from pathlib import Path

import numpy as np
import pytest

from hwroute.errors import InputError
from hwroute.models.bpe_tokenizer import (
    BOS,
    EOS,
    BpeTokenizer,
    Vocabulary,
    read_vocabulary,
    write_vocabulary,
)

BYTES = [b"<0x%02X>" % byte for byte in range(256)]
SPECIAL = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]


def vocabulary(*merges: tuple[str, float]) -> Vocabulary:
    """Return a vocabulary of special pieces, bytes, printable ASCII and `merges` with scores."""
    letters = [chr(code).encode() for code in range(32, 127)]
    pieces = [*SPECIAL, *BYTES, *letters, *(text.encode() for text, _ in merges)]
    low = [-1e6] * (len(pieces) - len(merges))
    return Vocabulary(tuple(pieces), (*low, *(score for _, score in merges)))


def texts(tokenizer: BpeTokenizer, found: Vocabulary, text: str) -> list[bytes]:
    ids = tokenizer.encode(text)
    assert ids[0] == BOS
    return [found.pieces[token] for token in ids[1:]]


def slow_encode(found: Vocabulary, text: str) -> list[int]:
    """Merge as llama2.c does: look at every pair, again after each merge."""
    known = {piece: token for token, piece in reversed(list(enumerate(found.pieces)))}
    ids = []
    for character in " " + text:
        raw = character.encode()
        ids += [known[raw]] if raw in known else [3 + byte for byte in raw]
    while True:
        best, place = -1e10, -1
        for i in range(len(ids) - 1):
            token = known.get(found.pieces[ids[i]] + found.pieces[ids[i + 1]])
            if token is not None and found.scores[token] > best:
                best, place = found.scores[token], i
        if place < 0:
            return [BOS, *ids]
        merged = known[found.pieces[ids[place]] + found.pieces[ids[place + 1]]]
        ids[place : place + 2] = [merged]


def test_the_best_pair_is_merged_first_and_the_leftmost_on_a_tie() -> None:
    found = vocabulary(("ab", -2.0), ("bc", -1.0), ("aa", -3.0), (" a", -4.0))
    tokenizer = BpeTokenizer(found)
    assert texts(tokenizer, found, "abc") == [b" a", b"bc"]
    assert texts(tokenizer, found, "aab") == [b" a", b"ab"]
    assert texts(tokenizer, found, "xaaa") == [b" ", b"x", b"aa", b"a"]


@pytest.mark.parametrize("seed", range(4))
def test_merges_are_those_of_the_plain_search(seed: int) -> None:
    random = np.random.default_rng(seed)

    def word(least: int, most: int) -> str:
        return "".join(random.choice(list("ab c"), random.integers(least, most)))

    merges = {word(2, 6): float(random.integers(-8, 0)) for _ in range(40)}
    found = vocabulary(*merges.items())
    tokenizer = BpeTokenizer(found)
    for _ in range(50):
        text = word(0, 40)
        expected = slow_encode(found, text) if text else [BOS]
        assert tokenizer.encode(text) == expected
        assert tokenizer.decode(expected) == text


def test_a_character_that_is_no_piece_becomes_its_bytes() -> None:
    found = vocabulary()
    tokenizer = BpeTokenizer(found)
    assert texts(tokenizer, found, "é") == [b" ", b"<0xC3>", b"<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("é\n€")) == "é\n€"
    assert tokenizer.decode([3 + 0xC3]) == "\ufffd"
    small = BpeTokenizer(Vocabulary(found.pieces[:3], found.scores[:3]))
    with pytest.raises(InputError, match="text must be of this model's vocabulary, not ' '"):
        small.encode("a")


def test_decoding_drops_what_begins_and_ends_a_text() -> None:
    found = vocabulary((" a", -1.0))
    tokenizer = BpeTokenizer(found)
    token = len(found.pieces) - 1
    assert tokenizer.decode([BOS, token, token, EOS]) == "a a"
    assert tokenizer.decode([token]) == " a"
    assert tokenizer.encode("") == [BOS]
    for wrong in (-1, len(found.pieces)):
        with pytest.raises(InputError, match=rf"token id must be from 0 to 354 .*, not {wrong} at"):
            tokenizer.decode([BOS, wrong])


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    found = vocabulary(("ab", -2.5))
    path = tmp_path / "tokenizer.bin"
    write_vocabulary(path, found)
    assert read_vocabulary(path, len(found.pieces)) == found
    raw = path.read_bytes()
    assert raw[:4] == struct.pack("<I", 6)
    assert raw[-10:] == struct.pack("<fI", -2.5, 2) + b"ab"
    size = len(found.pieces)
    with pytest.raises(InputError, match=f"must hold the model's {size - 1} pieces, not {size}"):
        read_vocabulary(path, size - 1)
    for cut in (1, 5):
        path.write_bytes(raw[:-cut])
        with pytest.raises(
            InputError, match=f"must end behind a piece, not within piece {size - 1}"
        ):
            read_vocabulary(path, size)
    with pytest.raises(InputError, match="must be a readable tokenizer file"):
        read_vocabulary(tmp_path, size)
