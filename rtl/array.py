"""The PE array: columns of 64 lanes, tiles of weights, K and V, and rows of partial sums."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.column_format import (
    FP16_POINT,
    INT4_POINT,
    LANES,
    PROBABILITY_REFERENCE,
    SIGNIFICAND_POINT,
    TRUNCATED_BITS,
    VALUES_POINT,
)
from hwroute.config import Config
from hwroute.rtl.aligner import REFERENCE_BITS, BlockAligner
from hwroute.rtl.array_issue import BeatIssue
from hwroute.rtl.array_layouts import Mode, o_payload, w_payload, x_payload
from hwroute.rtl.column_pairs import ColumnPairs
from hwroute.rtl.column_ports import WEIGHT_ROWS, ColumnShape
from hwroute.rtl.kernel_loader import KernelLoader, kernel_payload
from hwroute.rtl.pipeline import delay, register
from hwroute.rtl.tile_queue import TileQueue
from hwroute.timing import (
    ALIGNER_CYCLES,
    ARRAY_INTEGER_CYCLES,
    FIXED_TO_FLOAT_CYCLES,
    FLOAT_ADD_CYCLES,
    FLOAT_MULTIPLY_CYCLES,
    array_column_cycles,
)

OUTPUT_ROWS = 64
"""Finished rows that wait to leave; more than the pipeline is long, so rows flow one a cycle."""


class PEArray(wiring.Component):
    """Multiply beats of 64 lanes by tiles of 64 x columns and accumulate rows in FP32.

    The operations of `hwroute.models.ops.columns`, a beat of ``x`` at a time:

    - INT4: acc = acc + (x . w) * scale. Each beat reads a tile of ``w``.
    - SCORES: acc = acc + q . k. A tile of K has a token's 64 dimensions in each FP16xFP16 column.
    - VALUES: acc = acc + sum of p_t v_t. A tile of V has a token's 64 dimensions in each lane. With
      fewer than 64 FP16xFP16 columns it is walked in parts of that many dimensions: the same
      probabilities come once for each ``part``, each with its own row. The aligned variant adds
      integers and rounds at ``last``; the order of beats changes no bit.

    FP16xFP16 results are in the first FP16xFP16 columns; with more than 64 of them, those of VALUES
    are in the first 64. A beat waits until its tile is there, and while another one that adds to
    the same row is less than `hwroute.timing.ARRAY_BEAT_DISTANCE` cycles ahead of it (not if it
    starts the row, not if it adds integers). Once started nothing stalls: finished rows
    wait in a queue, and a ``last`` beat starts only if there is room in it.

    Latency `hwroute.timing.array_cycles` from a ``last`` beat to its row, one beat a cycle. Tiles
    are written while others are read; K and V take a beat a cycle, V one a part.

    Parameters
    ----------
    config
        Numerics (the variant) and geometry.

    Members
    -------
    x, w, kv, o
        Streams of `x_payload`, `w_payload`, `kernel_payload` and `o_payload`.
    """

    def __init__(self, config: Config):
        if not isinstance(config, Config):
            raise TypeError(f"Config must be a Config, not {config!r}")
        self.config = config
        self.shape = ColumnShape.of(config)
        super().__init__(
            {
                "x": In(stream.Signature(x_payload(config))),
                "w": In(stream.Signature(w_payload(config))),
                "kv": In(stream.Signature(kernel_payload(self.shape))),
                "o": Out(stream.Signature(o_payload(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        aligned = self.shape.aligned
        start = ALIGNER_CYCLES if aligned else 1
        at_sum = array_column_cycles(aligned=aligned)
        at_scale = at_sum + ARRAY_INTEGER_CYCLES + FIXED_TO_FLOAT_CYCLES
        at_add = at_scale + FLOAT_MULTIPLY_CYCLES
        at_write = at_add + FLOAT_ADD_CYCLES

        m.submodules.issue = issue = BeatIssue(self.config, rows=OUTPUT_ROWS)
        m.submodules.weights = weights = TileQueue(tiles=WEIGHT_ROWS, life=at_scale)
        m.submodules.kernels = kernels = TileQueue(tiles=self.shape.tiles, life=at_sum)
        m.submodules.loader = loader = KernelLoader(self.shape)
        m.submodules.pairs = pairs = ColumnPairs(self.config)
        self._connect_tiles(m, issue, weights, kernels, loader, pairs)

        beats = [issue.beat]
        for age in range(1, at_write + 1):
            beats.append(Signal(issue.beat.shape(), name=f"beat_{age}"))
            m.d.sync += beats[age].eq(beats[age - 1])
        lanes, exponent = self._broadcast(m, loader, kernels)
        late = delay(m, 1, exponent, at_sum - 1 - start, "late_exponent")
        self._finish(m, pairs.finish, beats[at_sum - 1], late)
        for index, lane in enumerate(lanes):
            place = index % len(pairs.read)
            m.d.comb += pairs.x[index].eq(delay(m, 1, lane, place, f"skew_{index}"))
        for place, read in enumerate(pairs.read):
            _copy(m, read, beats[start + place])
        ages = {"at_sum": at_sum, "at_scale": at_scale, "at_add": at_add, "at_write": at_write}
        for name, age in ages.items():
            _copy(m, getattr(pairs, name), beats[age])
        self._send(m, beats[at_write], pairs.rows)
        m.d.comb += issue.sent.eq(self.o.valid & self.o.ready)
        return m

    def _connect_tiles(
        self, m: Module, issue: Any, weights: Any, kernels: Any, loader: Any, pairs: Any
    ) -> None:
        wiring.connect(m, wiring.flipped(self.x), issue.x)
        wiring.connect(m, wiring.flipped(self.kv), loader.kv)
        m.d.comb += [
            self.w.ready.eq(weights.free),
            weights.begin.eq(self.w.valid & self.w.ready),
            weights.filled.eq(weights.begin),
            weights.pop.eq(issue.weights_pop),
            issue.weights_available.eq(weights.available),
            issue.weights_read.eq(weights.read),
            pairs.weights_write.eq(weights.begin),
            pairs.weights_row.eq(weights.write),
            pairs.weights.eq(self.w.payload),
            loader.free.eq(kernels.free),
            kernels.begin.eq(loader.begin),
            kernels.filled.eq(loader.filled),
            kernels.pop.eq(issue.kernels_pop),
            issue.kernels_available.eq(kernels.available),
            issue.kernels_read.eq(kernels.read),
            pairs.kernel_write.eq(loader.write),
            pairs.kernel_values.eq(loader.values),
            pairs.kernel_group.eq(loader.group),
            pairs.kernel_part.eq(loader.part),
            pairs.kernel_tile.eq(kernels.write),
            pairs.operands.eq(loader.operands),
            pairs.exponents.eq(loader.exponents),
        ]

    def _broadcast(self, m: Module, loader: Any, kernels: Any) -> tuple[list[Value], Value]:
        """Return the lanes as the columns take them, and their block exponent."""
        x = self.x.payload
        if not self.shape.aligned:
            lanes = [register(m, 1, lane, f"x_{index}") for index, lane in enumerate(x.lanes)]
            return lanes, Const(0)
        aligner: Any = BlockAligner(broadcast=True)
        m.submodules.aligner = aligner
        vectors = self.shape.vectors
        exponents = memory.Memory(shape=5 * LANES, depth=self.shape.tiles, init=[])
        m.submodules.lane_exponents = exponents
        write = exponents.write_port(granularity=5 * vectors)
        read = exponents.read_port(domain="comb")
        writes_values = loader.write & loader.values
        m.d.comb += [
            read.addr.eq(kernels.read),
            write.addr.eq(kernels.write),
            write.data.eq(Value.cast(loader.exponents).replicate(self.shape.groups)),
            write.en.eq(Mux(writes_values, 1 << loader.group, 0)),
            aligner.en.eq(1),
            aligner.lanes.eq(x.lanes),
            aligner.int4.eq(x.mode == Mode.INT4),
            aligner.given.eq(x.mode == Mode.VALUES),
        ]
        for lane in range(LANES):
            # The value's own exponent is folded into its probability.
            fold = x.reference - read.data[5 * lane : 5 * (lane + 1)]
            own = (fold + PROBABILITY_REFERENCE)[:REFERENCE_BITS]
            m.d.comb += aligner.reference[lane].eq(own)
        return list(aligner.aligned), aligner.exponent

    def _finish(self, m: Module, finish: Any, beat: Any, exponent: Value) -> None:
        """Drive what the columns need in the cycle before their sums leave."""
        if self.shape.aligned:
            fp16 = Mux(beat.integer, beat.reference - VALUES_POINT, exponent - 2 * FP16_POINT)
            power = Mux(beat.fp16, fp16, exponent - INT4_POINT)
        else:
            fp16 = Const(TRUNCATED_BITS - 2 * SIGNIFICAND_POINT)
            power = Mux(beat.fp16, fp16, -SIGNIFICAND_POINT)
        m.d.comb += [
            finish.fp16.eq(beat.fp16),
            finish.scores.eq(beat.scores),
            finish.kernel.eq(beat.kernel),
            finish.power.eq(power),
        ]

    def _send(self, m: Module, beat: Any, rows: Value) -> None:
        """Put finished rows into the queue."""
        width = len(Value.cast(self.o.payload))
        m.submodules.finished = finished = fifo.SyncFIFOBuffered(width=width, depth=OUTPUT_ROWS)
        m.d.comb += [
            finished.w_data.eq(Cat(rows, beat.slot)),
            finished.w_en.eq(beat.valid & beat.last),
            Value.cast(self.o.payload).eq(finished.r_data),
            self.o.valid.eq(finished.r_rdy),
            finished.r_en.eq(self.o.ready),
        ]


def _copy(m: Module, target: Any, beat: Any) -> None:
    """Drive every field of `target` from the field of the same name."""
    for name, _ in target.shape():
        m.d.comb += target[name].eq(beat[name])
