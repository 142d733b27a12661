"""The router unit of the machine: the tile's bitmask planes, who is in them, lists of rows."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.isa.fields import PLANES
from hwroute.isa.table import BY_NAME
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.issue_layouts import DONE, ISSUED, REGISTER_BITS
from hwroute.rtl.router import executes
from hwroute.rtl.row_list_layouts import ROW_BITS, RowListPort
from hwroute.rtl.row_lister import RowLister
from hwroute.rtl.statistics_layouts import StatisticsReadPort

REQUESTERS = ("dma", "array", "npe", "kv")
"""Units that ask for lists of rows."""
LOGITS = 2
DECIDE = BY_NAME["decide"]
# Both have the plane in the same bits.
assert DECIDE.offsets["to"] == BY_NAME["select"].offsets["to"]
MODES = DECIDE.by_name["mode"].choices
SUBLAYERS = DECIDE.by_name["kind"].choices

TOKEN_EVENTS = data.StructLayout(
    {f"{kind}_tokens_{what}": 1 for kind in SUBLAYERS for what in ("executed", "skipped")}
)
"""What the counters of these names (`hwroute.csr`) add in a cycle."""


class TileRouter(wiring.Component):
    """Run ``decide`` and ``select``, keep the planes and list the rows that they hold.

    One instruction at a time, one row a cycle, or one in two where logits are compared; latency:
    `hwroute.timing.tile_router_cycles`. Rows are decided by `hwroute.rtl.router.executes`; those
    beyond the tile keep their bits. With a plane that holds no row an instruction does nothing. It
    fails, and does nothing, if the register ``rows`` is 0 or above the rows of a plane, if there is
    no plane to write, or if its logits lie beyond the statistics.

    Parameters
    ----------
    config
        Planes, and rows of a plane: those of the accumulator.
    requesters
        Who asks for lists.

    Members
    -------
    issue, done
        Streams of `hwroute.rtl.issue_layouts.ISSUED` and ``DONE``.
    logits
        Port of the statistics memory.
    list_(each of `requesters`)
        `hwroute.rtl.row_list_layouts.RowListPort`, each with its own `RowLister`.
    rows, plane_any
        The register ``rows`` of the sequencer; a cycle later for each plane whether it holds any
        row below.
    events
        `TOKEN_EVENTS`.
    """

    def __init__(self, config: Config, *, requesters: Sequence[str] = REQUESTERS):
        if not isinstance(config, Config):
            raise TypeError(f"Sizes must be a Config, not {config!r}")
        self.tile = config.array.accumulator_rows
        self.planes = config.memory.planes
        self.words = config.memory.statistics
        self.requesters = tuple(requesters)
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "done": Out(stream.Signature(DONE)),
                "logits": Out(StatisticsReadPort()),
                "rows": In(REGISTER_BITS),
                "plane_any": Out(PLANES),
                "events": Out(TOKEN_EVENTS),
                **{f"list_{name}": In(RowListPort()) for name in requesters},
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        planes = Signal(data.ArrayLayout(self.tile, self.planes))
        for name in self.requesters:
            lister = RowLister(tile=self.tile, planes=self.planes)
            m.submodules[f"list_{name}"] = lister
            connect(m, flipped(getattr(self, f"list_{name}")), lister.port)
            m.d.comb += lister.planes.eq(planes)
        below = Cat(self.rows > row for row in range(self.tile))
        m.d.sync += self.plane_any.eq(
            Cat(below[0], *((planes[plane] & below).any() for plane in range(1, self.planes)))
        )

        one, failed = Signal(ISSUED), Signal()
        running, row = Signal(), Signal(ROW_BITS + 1)
        rows_fit = (one.rows != 0) & (one.rows <= self.tile)
        empty = self._has_empty_plane(m, one, planes)
        runs = rows_fit & ~empty & self._is_legal(one)
        m.d.comb += [self.done.payload.index.eq(one.index), self.done.payload.error.eq(failed)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.issue.ready.eq(1)
                m.d.sync += [one.eq(self.issue.payload), row.eq(0)]
                with m.If(self.issue.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += failed.eq(~runs & ~(rows_fit & empty))
                m.next = "DONE"
                with m.If(runs):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(row == one.rows):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"
        self._write(m, planes, one, row, self._decide(m, one, running, row))
        return m

    def _has_empty_plane(self, m: Module, one: Any, planes: Any) -> Signal:
        """Return whether an instruction is for a plane that holds no row of its tile."""
        empty = Signal()
        below = Cat(one.rows > row for row in range(self.tile))
        with m.Switch(fields_of(one.word, "decide").plane):
            for plane in range(1, self.planes):
                with m.Case(plane):
                    m.d.comb += empty.eq(~(planes[plane] & below).any())
        return empty

    def _is_legal(self, one: Any) -> Value:
        """Return whether the plane and the logits of an instruction are there."""
        fields = fields_of(one.word, "decide")
        behind = fields.logits + fields.pitch + one.rows[: ROW_BITS + 1]
        logits_fit = ~self._compares(one) | (behind <= self.words)
        return logits_fit & (fields.to < self.planes)

    def _compares(self, one: Any) -> Value:
        fields = fields_of(one.word, "decide")
        return self._is_decide(one) & (fields.mode == MODES.index("compare"))

    def _decide(self, m: Module, one: Any, running: Value, row: Signal) -> tuple[Value, Value]:
        """Go through the rows; return whether one is decided in this cycle, and its bit."""
        fields, is_decide = fields_of(one.word, "decide"), self._is_decide(one)
        compares = self._compares(one)
        asked = Signal.like(row, name="asked")
        second, low = Signal(), Signal(32)
        request, response = self.logits.request, self.logits.response
        m.d.comb += [
            request.valid.eq(running & compares & (asked != one.rows)),
            request.payload.first.eq(fields.logits + asked),
            request.payload.pitch.eq(fields.pitch),
            request.payload.values.eq(LOGITS),
            response.ready.eq(1),
        ]
        with m.If(~running):
            m.d.sync += asked.eq(0)
        with m.Elif(request.valid & request.ready):
            m.d.sync += asked.eq(asked + 1)
        with m.If(response.valid):
            m.d.sync += [second.eq(~response.payload.last), low.eq(response.payload.value)]
        chosen = executes(
            (low, response.payload.value), execute=fields.execute, tie_executes=fields.tie
        )
        decided, bit = Signal(), Signal()
        m.d.comb += [
            decided.eq(running & (row != one.rows) & (~compares | (response.valid & second))),
            bit.eq(row + 1 == one.rows),
        ]
        with m.If(is_decide):
            forced = one.position + row < fields.first_tokens
            execute = Mux(compares, chosen, fields.mode == MODES.index("execute"))
            m.d.comb += bit.eq(forced | execute)
        with m.If(decided):
            m.d.sync += row.eq(row + 1)
        return decided, bit

    def _is_decide(self, one: Any) -> Value:
        return fields_of(one.word, "decide").opcode == DECIDE.code

    def _write(
        self, m: Module, planes: Any, one: Any, row: Value, decided: tuple[Value, Value]
    ) -> None:
        """Write a row's bit into the plane, a cycle after it was decided, and count it."""
        fields = fields_of(one.word, "decide")
        write, bit = Signal(name="write"), Signal(name="write_bit")
        written = Signal(range(self.tile), name="write_row")
        m.d.sync += [write.eq(decided[0]), bit.eq(decided[1]), written.eq(row)]
        with m.If(write), m.Switch(fields.to):
            for plane in range(1, self.planes):
                with m.Case(plane):
                    m.d.sync += planes[plane].bit_select(written, 1).eq(bit)
        with m.If(write & self._is_decide(one)):
            for number, kind in enumerate(SUBLAYERS):
                ours = fields.kind == number
                m.d.comb += [
                    self.events[f"{kind}_tokens_executed"].eq(ours & bit),
                    self.events[f"{kind}_tokens_skipped"].eq(ours & ~bit),
                ]
