"""Run KV instructions: check them, ask the scheduler, give tokens to the writer."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES
from hwroute.isa.table import BY_NAME
from hwroute.kv import KVOp
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.kv_layouts import bits, entry_layout, request_layout
from hwroute.rtl.kv_map import BASE_BITS, EXPONENT_BEAT_BITS, LINE_HBM_BEATS, VECTOR_BEAT_BITS
from hwroute.rtl.kv_writer import token_layout
from hwroute.rtl.pipeline import register
from hwroute.rtl.row_list_layouts import RowListPort

MAPPED = ("base", "vector", "exponents")
"""What kv.map says, in beats of HBM."""
PLACE_CYCLES = 3
"""From looking a token up to the places of its K and V: the directory, a product, a sum."""
TOKEN = BY_NAME["kv.map"].by_name["mapping"].choices.index("token")
REUSE = BY_NAME["kv.deal"].by_name["rule"].choices.index("reuse")
EARLIER = BY_NAME["kv.order"].by_name["entries"].choices.index("earlier")


class KVControl(wiring.Component):
    """Run KV instructions one at a time; see `hwroute.rtl.kv_unit.KVUnit`.

    Parameters
    ----------
    config
        Of the overlay.

    Members
    -------
    issue, done
        Streams of `ISSUED` and `DONE`.
    rows
        `RowListPort`.
    request, find, find_layer, find_token, found
        Of `hwroute.rtl.kv_scheduler.KVScheduler`.
    ordered : ``In(1)``, pulse: the order is stored; clear : ``Out(1)``, pulse: forget it
    base, vector, exponents : ``Out``, of the last kv.map; a vector is 0 before
    token
        Stream of `hwroute.rtl.kv_writer.token_layout`.
    written, failed : ``In(1)``, nothing is being written; pulse: HBM refused something
    memory_error : ``In(1)``, any error bit of the scratchpad's ports
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(
            {
                "issue": In(stream.Signature(ISSUED)),
                "done": Out(stream.Signature(DONE)),
                "rows": Out(RowListPort()),
                "request": Out(stream.Signature(request_layout(config.kv))),
                "find": Out(1),
                "find_layer": Out(bits(config.kv.max_layers)),
                "find_token": Out(bits(config.kv.max_tokens)),
                "found": In(entry_layout(config.kv)),
                "ordered": In(1),
                "clear": Out(1),
                "base": Out(BASE_BITS),
                "vector": Out(VECTOR_BEAT_BITS),
                "exponents": Out(EXPONENT_BEAT_BITS),
                "token": Out(stream.Signature(token_layout(config))),
                "written": In(1),
                "failed": In(1),
                "memory_error": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        one, failed, mapped = Signal(ISSUED, reset_less=True), Signal(), Signal()
        fields, request = fields_of(one.word, "kv.write"), self.request
        wrong = self._wrong(m, one, fields, mapped)
        self._place(m, one, fields)
        m.d.comb += [
            self.rows.request.payload.plane.eq(fields.plane),
            self.rows.request.payload.rows.eq(one.rows),
            self.done.payload.index.eq(one.index),
            self.done.payload.error.eq(failed),
        ]
        with m.If(self.memory_error | self.failed):
            m.d.sync += failed.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.issue.ready.eq(1)
                m.d.sync += [one.eq(self.issue.payload), failed.eq(0)]
                with m.If(self.issue.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "ASK"
                with m.If(self._is(one, "kv.map")):
                    m.next = "MAP"
            with m.State("ASK"):
                m.d.comb += self.rows.request.valid.eq(~wrong)
                with m.If(wrong):
                    m.d.sync += failed.eq(1)
                    m.next = "DONE"
                with m.Elif(self.rows.request.ready):
                    m.next = "COUNT"
                    with m.If(self._is(one, "kv.deal")):
                        m.next = "DEAL"
                    with m.If(self._is(one, "kv.write")):
                        m.next = "WRITE"
            self._map(m, one, mapped, failed)
            self._order(m, one, request)
            self._deal(m, one, request, failed)
            self._write(m, failed)
            with m.State("DRAIN"):
                m.d.comb += self.rows.rows.ready.eq(1)
                with m.If(self.rows.rows.valid & self.rows.rows.payload.last):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(self.written)
                with m.If(self.done.valid & self.done.ready):
                    m.next = "IDLE"
        return m

    def _is(self, one: Any, name: str) -> Value:
        return fields_of(one.word, name).opcode == BY_NAME[name].code

    def _wrong(self, m: Module, one: Any, fields: Any, mapped: Signal) -> Signal:
        """Return, two cycles after an instruction, whether it must not begin."""
        config, orders = self.config, fields_of(one.word, "kv.order")
        is_write = self._is(one, "kv.write")
        deals = is_write | self._is(one, "kv.deal")
        layer = Mux(
            is_write,
            fields.layer,
            Mux(deals, fields_of(one.word, "kv.deal").layer, orders.layer),
        )
        earlier = ~deals & (orders.entries == EARLIER)
        count = one.position + Mux(earlier, 0, one.rows)
        found = Cat(
            ~mapped,
            ~one.rows.any(),
            one.rows > config.array.accumulator_rows,
            layer >= config.kv.max_layers,
            count > config.kv.max_tokens,
            is_write & (fields.lines * LINE_HBM_BEATS != self.vector),
        )
        return register(m, 1, found.any(), "wrong")

    def _map(self, m: Module, one: Any, mapped: Signal, failed: Signal) -> None:
        """Forget all entries, and note where slots are."""
        fields, kv = fields_of(one.word, "kv.map"), self.config.kv
        most = kv.entry_beats * kv.beat_bits // (8 * BEAT_BYTES)
        whole = ~(fields.vector % LINE_HBM_BEATS).any()
        lines = fields.vector // LINE_HBM_BEATS
        bytewise = fields.exponents == (lines + BEAT_BYTES - 1) // BEAT_BYTES
        fits = (fields.mapping == TOKEN) & (fields.vector <= most) & whole & bytewise
        with m.State("MAP"):
            m.next = "RESET"
            with m.If(~fits):
                m.d.sync += failed.eq(1)
                m.next = "DONE"
        with m.State("RESET"):
            request = self.request
            m.d.comb += [
                request.valid.eq(1),
                request.payload.op.eq(KVOp.RESET),
                self.clear.eq(request.ready),
            ]
            with m.If(request.ready):
                m.d.sync += [
                    mapped.eq(1),
                    *(getattr(self, name).eq(fields[name]) for name in MAPPED),
                ]
                m.next = "DONE"

    def _order(self, m: Module, one: Any, request: Any) -> None:
        """Prepare or order the entries of an attention, if it has a token."""
        rows, fields = self.rows.rows, fields_of(one.word, "kv.order")
        count = one.position + Mux(fields.entries == EARLIER, 0, one.rows)
        orders = self._is(one, "kv.order")
        with m.State("COUNT"):
            m.d.comb += rows.ready.eq(1)
            with m.If(rows.valid & rows.payload.last):
                m.next = "ORDER"
                with m.If(rows.payload.empty):
                    m.next = "DONE"
        with m.State("ORDER"):
            m.d.comb += [
                request.valid.eq(1),
                request.payload.op.eq(Mux(orders, KVOp.ATTEND, KVOp.PREPARE)),
                request.payload.layer.eq(fields.layer),
                request.payload.token.eq(count),
                request.payload.look_ahead.eq(fields.ahead),
            ]
            with m.If(request.ready):
                m.next = "DONE"
                with m.If(orders):
                    m.next = "STORE"
        with m.State("STORE"), m.If(self.ordered):
            m.next = "DONE"

    def _deal(self, m: Module, one: Any, request: Any, failed: Signal) -> None:
        """Go through the tile; give slots to the rows that are listed."""
        rows, fields = self.rows.rows, fields_of(one.word, "kv.deal")
        row, listed, over = Signal.like(rows.payload.row), Signal(), Signal()
        dealt, refused = Signal(), Signal()
        reuses = fields.rule == REUSE
        m.d.comb += [
            listed.eq(~over & ~rows.payload.empty & (rows.payload.row == row)),
            refused.eq(~listed & reuses & (fields.layer == 0)),
        ]
        with m.State("DEAL"), m.If(rows.valid | over):
            m.d.comb += [
                request.valid.eq(~refused),
                request.payload.op.eq(Mux(listed, KVOp.WRITE, Mux(reuses, KVOp.SKIP, KVOp.EVICT))),
                request.payload.layer.eq(fields.layer),
                request.payload.token.eq(one.position + row),
                # The one payload of an empty plane stands for no row.
                rows.ready.eq((request.ready & listed) | rows.payload.empty),
            ]
            with m.If(rows.ready & rows.payload.last):
                m.d.sync += over.eq(1)
            with m.If(refused):
                m.d.sync += [failed.eq(1), row.eq(0), dealt.eq(0), over.eq(0)]
                m.next = "DRAIN"
                with m.If(over | rows.payload.empty):
                    m.next = "DONE"
            with m.Elif(request.ready):
                m.d.sync += [row.eq(row + 1), dealt.eq(dealt | listed)]
                with m.If(row == one.rows - 1):
                    m.d.sync += [row.eq(0), dealt.eq(0), over.eq(0)]
                    m.next = "DONE"
                    with m.If(~dealt & ~listed):
                        m.next = "INVALIDATE"
        with m.State("INVALIDATE"):
            m.d.comb += [request.valid.eq(1), request.payload.op.eq(KVOp.INVALIDATE)]
            with m.If(request.ready):
                m.next = "DONE"

    def _place(self, m: Module, one: Any, fields: Any) -> None:
        """Say where K and V of the listed row are, and the slot that was found for it."""
        rows, token = self.rows.rows, self.token.payload
        slot_beats = register(m, 1, (self.vector << 1) + self.exponents, "slot_beats")
        slot = register(m, 1, self.found.slot * slot_beats, "slot_place")
        for name in ("k", "v"):
            offset = register(m, 1, rows.payload.row * fields[f"{name}_pitch"], f"{name}_offset")
            place = register(m, 1, fields[name] + offset, f"{name}_place")
            m.d.comb += token[name].eq(place)
        m.d.comb += [
            self.find_layer.eq(fields.layer),
            self.find_token.eq(one.position + rows.payload.row),
            token.port.eq(self.found.port),
            token.first.eq(register(m, 1, self.base + slot, "first")),
        ]

    def _write(self, m: Module, failed: Signal) -> None:
        """Find the slot of each row that is listed, and give it to the writer."""
        rows, wait = self.rows.rows, Signal(range(PLACE_CYCLES))
        with m.State("WRITE"), m.If(rows.valid):
            m.d.comb += [self.find.eq(1), rows.ready.eq(rows.payload.empty)]
            m.next = "PLACE"
            with m.If(rows.payload.empty):
                m.next = "DONE"
        with m.State("PLACE"):
            m.d.sync += wait.eq(wait + 1)
            with m.If(wait == PLACE_CYCLES - 1):
                m.d.sync += wait.eq(0)
                m.next = "GIVE"
                with m.If(~self.found.valid):
                    m.d.sync += failed.eq(1)
                    m.next = "DRAIN"
        with m.State("GIVE"):
            m.d.comb += [self.token.valid.eq(1), rows.ready.eq(self.token.ready)]
            with m.If(self.token.ready):
                m.next = "WRITE"
                with m.If(rows.payload.last):
                    m.next = "DONE"
