"""Where everything is in HBM and DDR: what the compiler decides and the image builder follows."""

from dataclasses import dataclass
from enum import Enum

from hwroute.errors import InputError, nearest


class Space(Enum):
    """A memory."""

    HBM = "hbm"
    """Addressed in beats of 32 bytes, the same in every port."""
    DDR = "ddr"
    """Addressed in lines of 128 bytes."""


class Content(Enum):
    """What a region holds, and so how its bytes are made."""

    IDS = "ids"
    """Token ids, 32 bits each: the host writes the prompt, the machine what it generates."""
    EMBEDDING = "embedding"
    """FP16 rows of the embedding table."""
    ROTARY = "rotary"
    """For each position cosines and sines, alternating, of queries and then of keys, FP16."""
    VECTOR = "vector"
    """FP16 rows of a tensor, each padded to lines."""
    MATRIX = "matrix"
    """INT4 weights: by column block and line of the reduction, a beat for each column."""
    SCALES = "scales"
    """FP16 scales of a matrix: by column block and group, one for each column."""
    KV = "kv"
    """Slots of K and V; written by the machine."""

    @property
    def space(self) -> Space:
        """Where it lies: weights and K/V in HBM, everything else in DDR."""
        return Space.HBM if self in (Content.MATRIX, Content.KV) else Space.DDR


class Arrangement(Enum):
    """Order of a matrix's outputs (and of a bias)."""

    PLAIN = "plain"
    """As in the tensor."""
    HEADS = "heads"
    """Each head padded to lines with zeros."""
    PAIRED = "paired"
    """Outputs of two tensors alternate: gate and up."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of a memory.

    Parameters
    ----------
    name
        What listings call it.
    content
        What is in it, which says in which memory it is.
    address, size
        First beat or line, and number of them (in HBM: in each port).
    tensors, arrangement
        What the content is made of.
    """

    name: str
    content: Content
    address: int
    size: int
    tensors: tuple[str, ...] = ()
    arrangement: Arrangement = Arrangement.PLAIN

    @property
    def end(self) -> int:
        """First beat or line behind it."""
        return self.address + self.size


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """All regions.

    Parameters
    ----------
    regions
        In order of address within each memory; they do not overlap.
    context
        Tokens that fit.
    """

    regions: tuple[Region, ...]
    context: int

    def region(self, name: str) -> Region:
        """Return a region by name.

        Raises
        ------
        InputError
            There is none.
        """
        for region in self.regions:
            if region.name == name:
                return region
        names = [region.name for region in self.regions]
        raise InputError(f"memory region must be known, not {name!r}{nearest(name, names)}")

    def size(self, space: Space) -> int:
        """Return the beats (in each port) or lines in use."""
        return max(
            (region.end for region in self.regions if region.content.space is space), default=0
        )
