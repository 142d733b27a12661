"""Put tiles of weights together, with their scales."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.column_format import LANES
from hwroute.config import Config
from hwroute.rtl.array_layouts import w_payload
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.matmul_layouts import MatmulShape, place_layout, walk_layout

WEIGHT_BITS = 4
SCALE_BITS = 16


class MatmulTiles(wiring.Component):
    """Read rings of weights and scales and give the array its tiles in order.

    Of a batch of column blocks, line by line, the tile of each block. A tile in
    `MatmulShape.tile_rows` cycles; 2 cycles from the last row of a tile to the tile.

    Parameters
    ----------
    config
        Of the array and the ports.
    weight_rows, scale_rows
        Rows of a chunk in each ring.
    weight_bits, scale_bits
        Of a row of each ring.

    Members
    -------
    i
        Stream of `hwroute.rtl.matmul_layouts.walk_layout`: matrices.
    w
        Stream of `hwroute.rtl.array_layouts.w_payload`.
    weight_place, weight_row, scale_place, scale_row
        What is read from the rings, and the rows, a cycle later.
    there
        Both rows can be read.
    read_en
        Read both.
    release
        All of a stripe has been read.
    """

    def __init__(
        self,
        config: Config,
        *,
        weight_rows: int,
        scale_rows: int,
        weight_bits: int,
        scale_bits: int,
    ):
        self.shape = MatmulShape.of(config)
        super().__init__(
            {
                "i": In(stream.Signature(walk_layout(self.shape))),
                "w": Out(stream.Signature(w_payload(config))),
                "weight_place": Out(place_layout(self.shape, weight_rows)),
                "scale_place": Out(place_layout(self.shape, scale_rows)),
                "there": In(1),
                "read_en": Out(1),
                "weight_row": In(weight_bits),
                "scale_row": In(scale_bits),
                "release": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape = self.shape
        step, active = Signal(), Signal()
        part, piece = Signal(bits(shape.tile_rows)), Signal(bits(shape.row_tiles))
        ends = part == shape.tile_rows - 1
        with m.If(step):
            m.d.sync += part.eq(Mux(ends, 0, part + 1))
        self._walk(m, active, step & ends, part, piece)

        # The row that was read, and the parts of the tile before it.
        waiting, whole = Signal(), Signal()
        at, which = Signal.like(part, name="at"), Signal.like(piece, name="which")
        free = ~self.w.valid | self.w.ready
        moves = ~(waiting & whole) | free
        m.d.comb += [step.eq(active & self.there & moves), self.read_en.eq(step)]
        with m.If(moves):
            m.d.sync += [waiting.eq(step), whole.eq(ends), at.eq(part), which.eq(piece)]
        tile_bits = WEIGHT_BITS * LANES * shape.columns
        if shape.tile_rows > 1:
            before = Signal(tile_bits - len(self.weight_row))
            with m.If(waiting & ~whole):
                m.d.sync += before.word_select(at, len(self.weight_row)).eq(self.weight_row)
            tile = Cat(before, self.weight_row)
        else:
            tile = self.weight_row.word_select(which, tile_bits)
        with m.If(free):
            m.d.sync += [
                self.w.valid.eq(waiting & whole),
                Value.cast(self.w.payload.weights).eq(tile),
                Value.cast(self.w.payload.scales).eq(self.scale_row[: SCALE_BITS * shape.columns]),
            ]
        return m

    def _walk(self, m: Module, active: Signal, ends: Value, part: Signal, piece: Signal) -> None:
        """Go from tile to tile, after the step that `ends` one."""
        shape, job = self.shape, self.i.payload
        left, lines = Signal(shape.block_bits), Signal.like(job.lines)
        line, member = Signal(bits(shape.chunk_lines)), Signal(bits(shape.group_lines))
        track = Signal(bits(shape.tracks))
        stripe = Signal(self.weight_place.stripe.shape())
        row = Signal(self.weight_place.row.shape())
        group = Signal(self.scale_place.row.shape())
        batch = shape.batch(job.spread, left)
        last_track, last_line, last_of_chunk = Signal(), Signal(), Signal()
        m.d.comb += [
            last_track.eq(track == batch - 1),
            last_line.eq(lines == 1),
            last_of_chunk.eq(last_line | (line == shape.chunk_lines - 1)),
            self.weight_place.row.eq(row + part),
            self.scale_place.row.eq(group),
            self.release.eq(ends & last_track & last_of_chunk),
            self.i.ready.eq(ends & last_track & last_line & (left == batch)),
        ]
        for place in (self.weight_place, self.scale_place):
            m.d.comb += [place.track.eq(track), place.stripe.eq(stripe)]
        with m.If(~active):
            m.d.sync += [active.eq(self.i.valid), left.eq(job.blocks), lines.eq(job.lines)]
        with m.Elif(ends):
            m.d.sync += [track.eq(Mux(last_track, 0, track + 1)), active.eq(~self.i.ready)]
            with m.If(last_track):
                whole = piece == shape.row_tiles - 1
                groups = member == shape.group_lines - 1
                m.d.sync += [
                    lines.eq(Mux(last_line, job.lines, lines - 1)),
                    left.eq(Mux(last_line, left - batch, left)),
                    stripe.eq(stripe + last_of_chunk),
                    line.eq(Mux(last_of_chunk, 0, line + 1)),
                    piece.eq(Mux(last_of_chunk | whole, 0, piece + 1)),
                    row.eq(Mux(last_of_chunk, 0, Mux(whole, row + shape.tile_rows, row))),
                    member.eq(Mux(last_of_chunk | groups, 0, member + 1)),
                    group.eq(Mux(last_of_chunk, 0, group + groups)),
                ]
