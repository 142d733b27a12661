"""Stripes of weights: what the array takes of a matrix at a time."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stripe:
    """Chunks of the same lines of the blocks of a batch.

    Parameters
    ----------
    beats, scale_lines
        Of each HBM port, and of DDR.
    batch, tile_rows
        Chunks, and rows of a tile.
    tile_cycles, beat_cycles
        In which its tiles are put together, and in which the array takes its beats of x.
    tiles
        Number of tiles.
    """

    beats: int
    scale_lines: int
    batch: int
    tile_rows: int
    tile_cycles: int
    beat_cycles: int
    tiles: int


class Stripes:
    """Stripes of a batch of blocks, again and again.

    Parameters
    ----------
    cuts
        Of one batch, in order.
    batches
        How often.

    Members
    -------
    count
        Stripes that are left.
    """

    def __init__(self, cuts: list[Stripe], batches: int):
        # Where all are alike, one is enough.
        self.cuts = cuts if any(one != cuts[0] for one in cuts) else cuts[:1]
        self.count = batches * len(cuts)
        self._at = 0

    def next(self) -> Stripe:
        """Return the next one."""
        stripe = self.cuts[self._at]
        self.skip(1)
        return stripe

    def skip(self, count: int) -> None:
        """Leave out some."""
        self.count -= count
        self._at = (self._at + count) % len(self.cuts)

    @property
    def beats(self) -> int:
        """Of all that are left, of each HBM port."""
        return self._sum([one.beats for one in self.cuts])

    @property
    def scale_lines(self) -> int:
        """Of all that are left."""
        return self._sum([one.scale_lines for one in self.cuts])

    @property
    def beat_cycles(self) -> int:
        """In which the array takes the beats of x of all that are left."""
        return self._sum([one.beat_cycles for one in self.cuts])

    def _sum(self, sizes: list[int]) -> int:
        whole, more = divmod(self.count, len(sizes))
        return whole * sum(sizes) + sum((sizes * 2)[self._at : self._at + more])
