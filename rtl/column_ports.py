"""What the column pairs of both variants have in common: ports, tile memories, exponents.

A pair serves the FP16xINT4 columns c and c + columns/2 of the array. FP16xFP16 results come from
the first of the two in the aligned variant and from both in the overpacked one.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Value, signed
from amaranth.lib import memory
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.config import Config, Variant
from hwroute.rtl.aligner import ALIGNED_BITS
from hwroute.timing import CASCADE_LANES

EXPONENT_BITS = 9
"""Signed powers of two of sums."""
WEIGHT_ROWS = 32
"""INT4 tiles a pair holds: the depth of a LUT RAM, and more than the life of a tile in cycles."""


@dataclass(frozen=True, kw_only=True)
class ColumnShape:
    """How the array of a configuration is cut.

    Parameters
    ----------
    columns
        FP16xINT4 columns.
    fp16_columns
        FP16xFP16 columns.
    vectors
        K or V vectors of 64 that a beat delivers.
    aligned
        The variant.
    """

    columns: int
    fp16_columns: int
    vectors: int
    aligned: bool

    @classmethod
    def of(cls, config: Config) -> "ColumnShape":
        """Return the shape of a configuration's array."""
        aligned = config.numerics.variant is Variant.ALIGNED
        columns = config.array.columns
        return cls(
            columns=columns,
            fp16_columns=columns // 2 if aligned else columns,
            vectors=config.array.kv_vectors,
            aligned=aligned,
        )

    @property
    def pairs(self) -> int:
        """Column pairs."""
        return self.columns // 2

    @property
    def parts(self) -> int:
        """Beats that walk the 64 dimensions of a tile of V."""
        return max(1, LANES // self.fp16_columns)

    @property
    def part_bits(self) -> int:
        """Bits of a part's number; one where there is only one, since no signal has none."""
        return max(1, (self.parts - 1).bit_length())

    @property
    def tiles(self) -> int:
        """K or V tiles that fit: two at least, a LUT RAM's depth where that is more."""
        return max(2, 32 // self.parts)

    @property
    def kernel_bits(self) -> int:
        """Bits of the address of a part of a tile: the tile above the part."""
        return (self.tiles * self.parts - 1).bit_length()

    @property
    def group_bits(self) -> int:
        """Bits of the number of a beat in a tile of K or V."""
        groups = max(self.groups, self.fp16_columns // self.vectors)
        return max(1, (groups - 1).bit_length())

    def address(self, tile: Value, part: Value) -> Value:
        """Return the address of a part of a tile."""
        return Cat(part, tile) if self.parts > 1 else tile

    @property
    def operand_bits(self) -> int:
        """Bits of a stored element of K or V: an aligned integer, or FP16."""
        return ALIGNED_BITS if self.aligned else 16

    @property
    def reads(self) -> int:
        """Beats at whose operands a pair looks at a time: one for each place of a cascade."""
        return CASCADE_LANES if self.aligned else 1

    @property
    def outputs(self) -> int:
        """FP16xFP16 columns of a pair."""
        return 1 if self.aligned else 2

    @property
    def groups(self) -> int:
        """Beats of V that fill the 64 lanes of a tile."""
        return LANES // self.vectors


def read_layout(shape: ColumnShape) -> StructLayout:
    """Return what a lane needs to read its operand: which tile of which kind."""
    return StructLayout({"fp16": 1, "weights": 5, "kernel": shape.kernel_bits})


def finish_layout(shape: ColumnShape) -> StructLayout:
    """Return what a column needs to finish a sum: its mode, its column's exponent, the power."""
    return StructLayout(
        {"fp16": 1, "scores": 1, "kernel": shape.kernel_bits, "power": signed(EXPONENT_BITS)}
    )


def x_layout(shape: ColumnShape) -> ArrayLayout:
    """Return the lanes of x as a pair takes them: aligned integers, or FP16."""
    bits = shape.operand_bits
    return ArrayLayout(signed(bits) if shape.aligned else bits, LANES)


def pair_members(shape: ColumnShape, sum_bits: tuple[int, int]) -> dict[str, Any]:
    """Return the members that the pairs of both variants have.

    Parameters
    ----------
    shape
        Of the array.
    sum_bits
        Widths of the sums of both columns.
    """
    return {
        "weights_write": In(1),
        "weights_row": In(5),
        "weights": In(ArrayLayout(ArrayLayout(4, LANES), 2)),
        "kernel_write": In(ArrayLayout(shape.groups, shape.outputs)),
        "kernel_row": In(shape.kernel_bits),
        "kernel_values": In(1),
        "kernel_vector": In(ArrayLayout(shape.operand_bits, LANES)),
        "kernel_elements": In(
            ArrayLayout(ArrayLayout(shape.operand_bits, shape.vectors), shape.outputs)
        ),
        "x": In(x_layout(shape)),
        "read": In(ArrayLayout(read_layout(shape), shape.reads)),
        "finish": In(finish_layout(shape)),
        "sum0": Out(signed(sum_bits[0])),
        "power0": Out(signed(EXPONENT_BITS)),
        "sum1": Out(signed(sum_bits[1])),
        "power1": Out(signed(EXPONENT_BITS)),
    }


@dataclass(frozen=True, kw_only=True)
class Operands:
    """What some lanes of a pair multiply x by.

    Parameters
    ----------
    weights
        By lane, the weights of the two columns, each 4 bits, signed.
    elements
        By FP16 column of the pair and by lane, the element of K or V.
    """

    weights: list[Any]
    elements: list[list[Value]]


def operand_memories(
    m: Module, pair: Any, lanes: list[int], read: Any, suffix: str = ""
) -> Operands:
    """Add the memories of some lanes of a pair, written through its members and read at `read`.

    Parameters
    ----------
    pair
        With the members of `pair_members`, and its shape.
    lanes
        Those that look at the operands of one beat.
    read
        Of `read_layout`.
    suffix
        Of the memories' names.
    """
    weights = _weight_memory(m, pair, lanes, read, f"weights{suffix}")
    elements = [
        _kernel_memory(m, pair, lanes, read, output, f"kernel_{output}{suffix}")
        for output in range(pair.shape.outputs)
    ]
    return Operands(weights=weights, elements=elements)


def _weight_memory(m: Module, pair: Any, lanes: list[int], at: Any, name: str) -> list[Any]:
    """Add the memory of both columns' weights of some lanes; return them by lane."""
    store = memory.Memory(shape=8 * len(lanes), depth=WEIGHT_ROWS, init=[])
    m.submodules[name] = store
    write, read = store.write_port(), store.read_port(domain="comb")
    data: Any = [pair.weights[column][lane] for lane in lanes for column in (0, 1)]
    m.d.comb += [
        write.en.eq(pair.weights_write),
        write.addr.eq(pair.weights_row),
        *(write.data.word_select(index, 4).eq(value) for index, value in enumerate(data)),
        read.addr.eq(at.weights),
    ]
    return [
        tuple(
            read.data[8 * index + 4 * column : 8 * index + 4 * column + 4].as_signed()
            for column in (0, 1)
        )
        for index in range(len(lanes))
    ]


def _kernel_memory(
    m: Module, pair: Any, lanes: list[int], at: Any, output: int, name: str
) -> list[Value]:
    """Add the memory of some lanes' elements of K or V for one of the pair's FP16 columns.

    A vector of K fills all lanes at once; a vector of V fills one lane, which takes the element of
    this column's dimension. Returns the elements by lane.
    """
    shape, bits = pair.shape, pair.shape.operand_bits
    store = memory.Memory(shape=bits * len(lanes), depth=shape.tiles * shape.parts, init=[])
    m.submodules[name] = store
    write, read = store.write_port(granularity=bits), store.read_port(domain="comb")
    m.d.comb += [write.addr.eq(pair.kernel_row), read.addr.eq(at.kernel)]
    for index, lane in enumerate(lanes):
        element = pair.kernel_elements[output][lane % shape.vectors]
        vector = pair.kernel_vector[lane]
        m.d.comb += [
            write.en[index].eq(pair.kernel_write[output][lane // shape.vectors]),
            write.data.word_select(index, bits).eq(Mux(pair.kernel_values, element, vector)),
        ]
    return [read.data[bits * index : bits * (index + 1)] for index in range(len(lanes))]
