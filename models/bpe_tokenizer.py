"""llama2.c's tokenizer: pieces with scores, merged pair by pair (byte-pair encoding)."""

import heapq
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from hwroute.errors import InputError

BOS, EOS, FIRST_BYTE = 1, 2, 3
"""Ids that begin and end a text, and the id of byte 0; those of the other bytes follow it."""
_BYTE_PIECE = re.compile(rb"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class Vocabulary:
    """What `tokenizer.bin` holds: a piece, as UTF-8 bytes, and a score for each id."""

    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]


def read_vocabulary(path: Path, size: int) -> Vocabulary:
    """Read a file of llama2.c: a uint32, then float32 score, uint32 length and bytes of each piece.

    Parameters
    ----------
    path
        The file.
    size
        Pieces that it must hold: the file itself does not say.

    Raises
    ------
    InputError
        The file is unreadable or does not hold exactly that many pieces.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: must be a readable tokenizer file: {error}") from error
    pieces: list[bytes] = []
    scores: list[float] = []
    place = 4
    while place < len(raw):
        if place + 8 > len(raw):
            raise InputError(f"{path}: must end behind a piece, not within piece {len(pieces)}")
        score, length = struct.unpack_from("<fI", raw, place)
        place += 8 + length
        if place > len(raw):
            raise InputError(f"{path}: must end behind a piece, not within piece {len(pieces)}")
        scores.append(score)
        pieces.append(raw[place - length : place])
    if len(pieces) != size:
        raise InputError(f"{path}: must hold the model's {size} pieces, not {len(pieces)}")
    return Vocabulary(tuple(pieces), tuple(scores))


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """Write the file that `read_vocabulary` reads."""
    parts = [struct.pack("<I", max(map(len, vocabulary.pieces), default=0))]
    for piece, score in zip(vocabulary.pieces, vocabulary.scores, strict=True):
        parts.append(struct.pack("<fI", score, len(piece)) + piece)
    path.write_bytes(b"".join(parts))


class BpeTokenizer:
    """`BOS` and a space begin a text; then the best pair of neighbours is merged, over and over.

    Parameters
    ----------
    vocabulary
        Its pieces. Of two equal ones the first counts.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._scores = vocabulary.scores
        self._pieces = vocabulary.pieces
        self._ids: dict[bytes, int] = {}
        for token, piece in enumerate(vocabulary.pieces):
            self._ids.setdefault(piece, token)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`.

        A character that is no piece becomes its UTF-8 bytes. Of all neighbours whose concatenation
        is a piece, the pair whose piece has the highest score is merged, the leftmost on a tie.

        Raises
        ------
        InputError
            A character is no piece and the vocabulary has no bytes.
        """
        ids: list[int] = []
        for character in " " + text if text else "":
            raw = character.encode("utf-8", errors="surrogatepass")
            known = self._ids.get(raw)
            ids += [FIRST_BYTE + byte for byte in raw] if known is None else [known]
            if max(ids[-len(raw) :]) >= len(self._pieces):
                raise InputError(f"text must be of this model's vocabulary, not {character!r}")
        return [BOS, *self._merged(ids)]

    def _merged(self, ids: list[int]) -> list[int]:
        """Merge pairs until none is a piece: a heap of pairs, and links that skip merged ones."""
        after = [*range(1, len(ids)), -1]
        before = list(range(-1, len(ids) - 1))
        heap: list[tuple[float, int, int, int, int]] = []

        def offer(left: int) -> None:
            right = after[left] if left >= 0 else -1
            if right >= 0:
                merged = self._ids.get(self._pieces[ids[left]] + self._pieces[ids[right]])
                if merged is not None:
                    score = -self._scores[merged]
                    heapq.heappush(heap, (score, left, ids[left], ids[right], merged))

        for place in range(len(ids)):
            offer(place)
        while heap:
            _, left, first, second, merged = heapq.heappop(heap)
            right = after[left]
            # A pair whose parts were merged with others since it was offered is stale.
            if right < 0 or ids[left] != first or ids[right] != second:
                continue
            ids[left], ids[right] = merged, -1
            after[left], after[right] = after[right], -1
            if after[left] >= 0:
                before[after[left]] = left
            offer(before[left])
            offer(left)
        return [token for token in ids if token >= 0]

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`, without `BOS`, the space behind it, and `EOS`.

        Bytes that are no UTF-8 become U+FFFD.

        Raises
        ------
        InputError
            An id is outside the vocabulary; the message names it and its position.
        """
        text = bytearray()
        for position, token in enumerate(ids):
            if not 0 <= token < len(self._pieces):
                raise InputError(
                    f"token id must be from 0 to {len(self._pieces) - 1} for this model, "
                    f"not {token!r} at position {position}"
                )
            if token in (BOS, EOS):
                continue
            piece = self._pieces[token]
            if position and ids[position - 1] == BOS:
                piece = piece.removeprefix(b" ")
            byte = _BYTE_PIECE.fullmatch(piece)
            text += bytes([int(byte[1], 16)]) if byte else piece
        return text.decode("utf-8", errors="replace")
