"""The KV scheduler: the order in which attention consumes K and V entries (docs/kv.md)."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import KVConfig
from hwroute.kv import KVOp
from hwroute.rtl.kv_directory import KVDirectory
from hwroute.rtl.kv_keeper import KVKeeper
from hwroute.rtl.kv_layouts import (
    bits,
    entry_layout,
    order_layout,
    request_layout,
    slot_layout,
)
from hwroute.rtl.kv_picker import KVPicker
from hwroute.rtl.kv_queues import KVQueues, QueueKind


class KVScheduler(wiring.Component):
    """Keep the KV directory and order the entries of an attention into rounds.

    Requests are carried out in order, one at a time. Every ATTEND gives its entries, then one
    payload with ``end`` set; every WRITE gives a slot. An attention over a valid history buffer
    is scanned first, one token a cycle, which a PREPARE some time before takes out of its latency;
    then an entry takes two cycles and a round one. With an invalid buffer there is no scan; a token
    takes two cycles and a round two. `hwroute.timing` has the exact counts
    (`kv_scan_cycles`, `kv_queued_cycles`, `kv_walked_cycles`).

    Parameters
    ----------
    config : :class:`KVConfig`
        Ports, banks, tokens, layers.

    Members
    -------
    i : stream of requests
    slots : stream of slots
    o : stream of entries in order
    find : ``In(1)``, look up `find_layer`, `find_token`; no request may be at `i`
    found : ``Out``, that row of the directory, one cycle later; held until the next request
    """

    def __init__(self, config: KVConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(request_layout(config))),
                "slots": Out(stream.Signature(slot_layout(config))),
                "o": Out(stream.Signature(order_layout(config))),
                "find": In(1),
                "find_layer": In(bits(config.max_layers)),
                "find_token": In(bits(config.max_tokens)),
                "found": Out(entry_layout(config)),
            }
        )
        self._directory = KVDirectory(config)
        self._keeper = KVKeeper(config)
        self._picker = KVPicker(config)
        self._queues = KVQueues(config)
        layer, count = bits(config.max_layers), bits(config.max_tokens + 1)
        # What the buffer was filled for; what PREPARE has scanned.
        self._filled = Signal(data.StructLayout({"valid": 1, "layer": layer, "count": count}))
        self._scanned = Signal(
            data.StructLayout({"valid": 1, "layer": layer, "count": count, "look_ahead": 1})
        )
        self._next_token = Signal(count)
        self._token = Signal(bits(config.max_tokens))
        self._looked = Signal()
        self._begun = Signal()
        self._look = Signal()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.directory = self._directory
        m.submodules.keeper = keeper = self._keeper
        m.submodules.picker = picker = self._picker
        m.submodules.queues = self._queues
        connect(m, flipped(self.slots), self._directory.slots)
        request = self.i.payload
        look_at = Signal.like(self._token)
        m.d.comb += [
            self._directory.i.payload.eq(request),
            self._directory.layer.eq(Mux(self.find, self.find_layer, request.layer)),
            self._directory.token.eq(Mux(self.find, self.find_token, look_at)),
            self._directory.look.eq(self._look | self.find),
            self.found.eq(self._directory.entry),
            self._queues.queue.eq(picker.queue),
            picker.begin_round.eq(keeper.begin_round),
            picker.held.eq(self._queues.held),
            picker.keep.eq(self._queues.keep),
            picker.rest.eq(self._queues.rest),
            picker.spent.eq(keeper.spent),
            picker.choose.eq(keeper.serve | keeper.begin_round),
            picker.port.eq(self._directory.entry.port),
            keeper.look_at.eq(look_at),
            keeper.look.eq(self._look),
            keeper.token.eq(self._token),
            keeper.entry.eq(self._directory.entry),
            keeper.wish.eq(self._directory.reused & request.look_ahead),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(keeper.serve):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(keeper.served)]
        with m.FSM(name="schedule"):
            with m.State("IDLE"):
                self._idle(m)
            with m.State("SCAN"):
                self._scan(m, look_at)
            with m.State("ROUND"):
                m.d.comb += keeper.begin_round.eq(1)
                m.next = "END"
                with m.If(picker.any):
                    m.next = "PICK"
            with m.State("PICK"):
                self._pick(m, look_at)
                m.next = "SERVE"
            with m.State("SERVE"), m.If(~self.o.valid | self.o.ready):
                m.d.comb += [
                    self._keeper.serve.eq(1),
                    self._queues.pop.eq(1),
                    self._keeper.hit.eq(picker.queue.kind == QueueKind.HELD),
                ]
                m.next = "ROUND"
                with m.If(picker.any):
                    m.next = "PICK"
            with m.State("WALK"):
                m.d.comb += [look_at.eq(self._token), self._look.eq(1)]
                m.next = "CHECK"
            with m.State("CHECK"):
                self._check(m)
            with m.State("END"), m.If(~self.o.valid | self.o.ready):
                self._end(m)
                m.next = "IDLE"
        return m

    def _idle(self, m: Module) -> None:
        """Take a request: updates at once, the others to their states."""
        request, filled, scanned = self.i.payload, self._filled, self._scanned
        usable = filled.valid & (filled.layer == request.layer) & (request.token >= filled.count)
        ready = Cat(
            scanned.valid,
            scanned.layer == request.layer,
            scanned.count == request.token,
            scanned.look_ahead == request.look_ahead,
        ).all()
        m.d.sync += [self._next_token.eq(0), self._token.eq(0), self._looked.eq(0)]
        with m.If(self.i.valid), m.Switch(request.op):
            with m.Case(KVOp.INVALIDATE):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [filled.valid.eq(0), scanned.valid.eq(0)]
            with m.Case(KVOp.PREPARE, KVOp.ATTEND):
                with m.If(usable & ~ready):
                    m.d.comb += [self._queues.clear.eq(1), self._keeper.clear_load.eq(1)]
                    m.next = "SCAN"
                with m.Elif(request.op == KVOp.PREPARE):
                    m.d.comb += self.i.ready.eq(1)
                with m.Elif(usable):
                    m.next = "ROUND"
                with m.Else():
                    m.d.comb += self._keeper.clear.eq(1)
                    m.d.sync += self._begun.eq(0)
                    m.next = "WALK"
                    with m.If(request.token == 0):
                        m.next = "END"
            with m.Default():
                m.d.comb += [
                    self._directory.i.valid.eq(1),
                    self.i.ready.eq(self._directory.i.ready),
                ]
                with m.If(request.token < scanned.count):
                    m.d.sync += scanned.valid.eq(0)
                with m.If(request.op == KVOp.RESET):
                    m.d.sync += [filled.valid.eq(0), scanned.valid.eq(0)]

    def _scan(self, m: Module, look_at: Signal) -> None:
        """Put every token into the queue of its bank or port, one a cycle."""
        request, queues = self.i.payload, self._queues
        entry, location = self._directory.entry, self._keeper.location
        more = self._next_token != request.token
        held = location.held & (self._token < self._filled.count)
        m.d.comb += [
            look_at.eq(self._next_token),
            self._look.eq(more),
            queues.token.eq(self._token),
            queues.append.eq(self._looked & entry.valid),
            queues.queue.number.eq(Mux(held, location.bank, entry.port)),
            queues.queue.kind.eq(
                Mux(held, QueueKind.HELD, Mux(self._keeper.wish, QueueKind.KEEP, QueueKind.REST))
            ),
            self._keeper.count.eq(queues.append & held & self._keeper.wish),
            self._keeper.drop.eq(self._looked & ~entry.valid),
        ]
        m.d.sync += [
            self._looked.eq(more),
            self._token.eq(self._next_token),
            self._next_token.eq(self._next_token + more),
        ]
        with m.If(~more):
            m.next = "ROUND"
            with m.If(request.op == KVOp.PREPARE):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    self._scanned.valid.eq(1),
                    self._scanned.layer.eq(request.layer),
                    self._scanned.count.eq(request.token),
                    self._scanned.look_ahead.eq(request.look_ahead),
                ]
                m.next = "IDLE"

    def _pick(self, m: Module, look_at: Signal) -> None:
        """Look up the head of the chosen queue, and close its bank or port for this round."""
        head = self._queues.head
        m.d.comb += [
            look_at.eq(head),
            self._look.eq(1),
            self._queues.look.eq(1),
            self._picker.close.eq(1),
        ]
        m.d.sync += self._token.eq(head)

    def _check(self, m: Module) -> None:
        """Serve a token in order, or begin a round where its port or the writes are used up."""
        entry, request = self._directory.entry, self.i.payload
        keeper = self._keeper
        fits = self._begun & self._picker.port_open & ~(keeper.wish & keeper.full)
        done = Signal()
        with m.If(~entry.valid):
            m.d.comb += [keeper.drop.eq(1), done.eq(1)]
        with m.Elif(~fits):
            m.d.comb += keeper.begin_round.eq(1)
            m.d.sync += self._begun.eq(1)
            m.next = "WALK"
        with m.Elif(~self.o.valid | self.o.ready):
            m.d.comb += [keeper.serve.eq(1), self._picker.close_port.eq(1), done.eq(1)]
        with m.If(done):
            m.d.sync += self._token.eq(self._token + 1)
            m.next = "WALK"
            with m.If(self._token == request.token - 1):
                m.next = "END"

    def _end(self, m: Module) -> None:
        """Mark the end of the order; say what the buffer holds now."""
        request = self.i.payload
        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [
            self.o.valid.eq(1),
            self.o.payload.eq(order_layout(self.config).const({"end": 1})),
            self._filled.valid.eq(request.look_ahead),
            self._filled.layer.eq(request.layer + 1),
            self._filled.count.eq(request.token),
            self._scanned.valid.eq(0),
        ]
