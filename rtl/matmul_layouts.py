"""What the parts of `matmul` share: how weights are cut and read, and an instruction as a job."""

from dataclasses import dataclass

from amaranth.hdl import Mux, Value
from amaranth.lib import data

from hwroute.config import Config
from hwroute.isa.fields import ADDRESS_BITS, BEAT_BYTES, LINE_ELEMENTS, Kind, lines_of
from hwroute.isa.table import BY_NAME
from hwroute.rtl.array_layouts import slot_bits
from hwroute.rtl.axi import LINE_BEATS
from hwroute.rtl.issue_layouts import INDEX_BITS
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.memory_layouts import REQUEST
from hwroute.timing import ARRAY_BEAT_DISTANCE

STRIPES = 4
"""Of the ring: one is used while others are on their way, which hides about 100 cycles."""
RUN_BEATS = 32
"""Least beats of a port that are asked for at a time: a DRAM page of 1 KiB."""
JOBS = 4
"""Instructions that may be under way."""
FIELDS = BY_NAME["matmul"].by_name
LINE_BITS = ADDRESS_BITS[Kind.SCRATCHPAD]


@dataclass(frozen=True, kw_only=True)
class MatmulShape:
    """How matrices stream through the array of a configuration.

    A row's sums return from the adder `hwroute.timing.ARRAY_BEAT_DISTANCE` cycles after a beat.
    So that few rows do not wait for that, the lines of several column blocks come in turn: the
    blocks of a *batch*, each on its *track*. A *chunk* is the part of a block that is read at a
    time, a *stripe* the chunks of the same lines of all blocks of a batch.

    Parameters
    ----------
    columns, ports
        Of the array, and of HBM.
    pairing
        Beats of a port that come in a cycle: those of a beat on the machine's side.
    group_lines
        Lines that share a scale.
    rows
        Accumulator rows.
    """

    columns: int
    ports: int
    pairing: int
    group_lines: int
    rows: int

    @classmethod
    def of(cls, config: Config) -> "MatmulShape":
        """Return the shape of a configuration.

        Raises
        ------
        ValueError
            The machine's side of an HBM port is neither one nor two beats wide.
        """
        widths = (8 * BEAT_BYTES, 16 * BEAT_BYTES)
        if config.kv.beat_bits not in widths:
            raise ValueError(
                f"Beat bits must be {widths[0]} or {widths[1]}, not {config.kv.beat_bits!r}"
            )
        return cls(
            columns=config.array.columns,
            ports=config.kv.hbm_ports,
            pairing=config.kv.beat_bits // widths[0],
            group_lines=config.numerics.group // LINE_ELEMENTS,
            rows=config.array.accumulator_rows,
        )

    @property
    def row_columns(self) -> int:
        """Columns whose 64 weights come in a cycle."""
        return self.ports * self.pairing

    @property
    def tile_rows(self) -> int:
        """Cycles in which a tile comes, at least 1."""
        return max(1, self.columns // self.row_columns)

    @property
    def row_tiles(self) -> int:
        """Tiles that come in a cycle, at least 1."""
        return max(1, self.row_columns // self.columns)

    @property
    def tracks(self) -> int:
        """Blocks of a batch: as many as keep a row's beats apart, a power of two."""
        return 1 << (-(-ARRAY_BEAT_DISTANCE // self.tile_rows) - 1).bit_length()

    @property
    def chunk_lines(self) -> int:
        """Lines of a chunk: whole groups, whole rows of beats, and `RUN_BEATS` of a port."""
        lines = self.group_lines
        while lines * self.columns < RUN_BEATS * self.ports or (
            lines * self.columns % self.row_columns
        ):
            lines *= 2
        return lines

    @property
    def chunk_beats(self) -> int:
        """Beats of a chunk in each port."""
        return self.chunk_lines * self.columns // self.ports

    @property
    def chunk_groups(self) -> int:
        """Groups of a chunk."""
        return self.chunk_lines // self.group_lines

    @property
    def scale_beats(self) -> int:
        """DDR beats of a group of a block."""
        return lines_of(self.columns) * LINE_BEATS

    @property
    def segment(self) -> int:
        """Outputs that are finished at a time: FP32 of one line at most."""
        return min(LINE_ELEMENTS // 2, self.columns)

    @property
    def block_bits(self) -> int:
        """Bits of the number of column blocks."""
        return (FIELDS["columns"].largest // self.columns + 1).bit_length()

    def spreads(self, rows: Value) -> Value:
        """Return whether blocks come in batches: rows wait without, and there are slots with."""
        return (rows < ARRAY_BEAT_DISTANCE) & (rows * self.tracks <= self.rows)

    def batch(self, spread: Value, left: Value) -> Value:
        """Return the size of the batch that begins when `left` blocks are left."""
        return Mux(spread, Mux(left < self.tracks, left, self.tracks), 1)


def run_layout(shape: MatmulShape) -> data.StructLayout:
    """Return a matrix as `hwroute.rtl.matmul_runs.MatmulRuns` reads it.

    Fields: first (address of the first block), stride (from block to block), both in what the port
    counts; blocks; spread, in batches.
    """
    return data.StructLayout(
        {
            "first": REQUEST["first"].shape,
            "stride": REQUEST["count"].shape,
            "blocks": shape.block_bits,
            "spread": 1,
        }
    )


def walk_layout(shape: MatmulShape) -> data.StructLayout:
    """Return what of a matrix tiles and input lines are counted by."""
    return data.StructLayout(
        {"lines": FIELDS["lines"].bits, "blocks": shape.block_bits, "spread": 1}
    )


def rows_layout(shape: MatmulShape) -> data.StructLayout:
    """Return which rows a job is for: ``count``, listed in a ``bank`` of the table."""
    return data.StructLayout({"bank": range(JOBS), "count": range(shape.rows + 1)})


def input_layout(shape: MatmulShape) -> data.StructLayout:
    """Return what of a job the input side needs; first and final as in the instruction."""
    return data.StructLayout(
        {"walk": walk_layout(shape), "rows": rows_layout(shape), "first": 1, "final": 1}
    )


def output_layout(shape: MatmulShape) -> data.StructLayout:
    """Return what of a job the output side needs.

    ``skip``: nothing is read or written, for want of rows or in ``error``; ``final``: results are
    written; the other fields as in the instruction.
    """
    names = ("columns", "bias", "biased", "format", "offset")
    return data.StructLayout(
        {
            "index": INDEX_BITS,
            "skip": 1,
            "error": 1,
            "final": 1,
            "rows": rows_layout(shape),
            **{name: FIELDS[name].bits for name in names},
        }
    )


def chunk_layout(shape: MatmulShape) -> data.StructLayout:
    """Return which chunk of a ring: its track, and its stripe.

    Stripes are counted beyond the ring by one bit, which tells full from empty.
    """
    return data.StructLayout({"track": bits(shape.tracks), "stripe": STRIPES.bit_length()})


def place_layout(shape: MatmulShape, rows: int) -> data.StructLayout:
    """Return a place in a ring with `rows` rows a chunk: the row below `chunk_layout`."""
    return data.StructLayout({"row": bits(rows), **dict(chunk_layout(shape).members)})


def row_place_layout(config: Config) -> data.StructLayout:
    """Return a row of the table: its number, and the lines where input and output begin."""
    return data.StructLayout({"row": slot_bits(config), "x": LINE_BITS, "out": LINE_BITS})
