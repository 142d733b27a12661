"""Where everything is in HBM and DDR: what the compiler decides and the image builder follows."""

from dataclasses import dataclass
from enum import Enum

from hwroute.errors import InputError, nearest
from hwroute.isa.fields import LINE_BYTES, WORD_BITS
from hwroute.names import check_name


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
    PROGRAM = "program"
    """Words of the instructions, one after the other."""

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


def program_lines(instructions: int) -> int:
    """Return the lines of DDR that the words of so many instructions take."""
    return -(-instructions * WORD_BITS // (8 * LINE_BYTES))


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

    Raises
    ------
    ValueError
        A name is none (`hwroute.names`), or address or size is out of range.
    """

    name: str
    content: Content
    address: int
    size: int
    tensors: tuple[str, ...] = ()
    arrangement: Arrangement = Arrangement.PLAIN

    def __post_init__(self) -> None:
        for name in (self.name, *self.tensors):
            check_name("name of a region or tensor", name)
        if self.address < 0:
            raise ValueError(f"address of region {self.name} must be 0 or more, not {self.address}")
        if self.size < 1:
            raise ValueError(f"size of region {self.name} must be positive, not {self.size}")

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

    Raises
    ------
    ValueError
        Two regions have one name, overlap or are not in order, or `context` is not positive.
    """

    regions: tuple[Region, ...]
    context: int

    def __post_init__(self) -> None:
        if self.context < 1:
            raise ValueError(f"context must be positive, not {self.context}")
        names: set[str] = set()
        ends = dict.fromkeys(Space, 0)
        for region in self.regions:
            space = region.content.space
            if region.name in names:
                raise ValueError(f"regions must have names of their own, not two {region.name}")
            if region.address < ends[space]:
                raise ValueError(
                    f"region {region.name} must begin at {ends[space]} or above, behind the last "
                    f"of {space.value}, not at {region.address}"
                )
            names.add(region.name)
            ends[space] = region.end

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
