"""The KV scheduler: the order in which attention consumes K and V entries (docs/kv.md)."""

from typing import Any

from amaranth.hdl import Assert, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import KVConfig
from hwroute.kv import KVOp
from hwroute.rtl.kv_directory import KVDirectory
from hwroute.rtl.kv_layouts import bits, order_layout, request_layout, slot_layout
from hwroute.rtl.kv_places import KVPlaces
from hwroute.rtl.kv_queues import KVQueues, QueueKind
from hwroute.rtl.ram import Ram
from hwroute.rtl.select import lowest_set


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
    """

    def __init__(self, config: KVConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(request_layout(config))),
                "slots": Out(stream.Signature(slot_layout(config))),
                "o": Out(stream.Signature(order_layout(config))),
            }
        )
        self._directory = KVDirectory(config)
        self._places = KVPlaces(config)
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
        # The round: what it may still serve, how many writes are left, and its next queue.
        self._banks_open = Signal(config.buffer_banks)
        self._ports_open = Signal(config.hbm_ports)
        self._writes_left = Signal(range(config.buffer_write_ports + 1))
        self._first = Signal()
        self._begun = Signal()
        self._queue = Signal.like(self._queues.queue)
        # What the token that was looked up comes to.
        self._look = Signal()
        self._location = Signal(
            data.StructLayout(
                {"held": 1, "bank": bits(config.buffer_banks), "place": bits(config.bank_places)}
            )
        )
        # `_hit` and `_keep` have signals of their own: a combinational block of emitted Verilog
        # must not read a part of the variable that it writes.
        self._served = Signal(order_layout(config))
        self._hit = Signal()
        self._keep = Signal()
        self._serve = Signal()
        self._drop = Signal()

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.directory = self._directory
        m.submodules.places = self._places
        m.submodules.queues = self._queues
        connect(m, flipped(self.slots), self._directory.slots)
        request = self.i.payload
        look_at = Signal.like(self._token)
        m.d.comb += [
            self._directory.i.payload.eq(request),
            self._directory.layer.eq(request.layer),
            self._directory.token.eq(look_at),
            self._directory.look.eq(self._look),
            self._queues.queue.eq(self._queue),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        self._locate(m, look_at)
        self._describe(m)
        choice = self._choose(m)
        with m.FSM(name="schedule"):
            with m.State("IDLE"):
                self._idle(m)
            with m.State("SCAN"):
                self._scan(m, look_at)
            with m.State("ROUND"):
                self._open_round(m)
                with m.If(choice):
                    m.next = "PICK"
                with m.Else():
                    m.next = "END"
            with m.State("PICK"):
                self._pick(m, look_at)
                m.next = "SERVE"
            with m.State("SERVE"), m.If(~self.o.valid | self.o.ready):
                m.d.comb += [
                    self._serve.eq(1),
                    self._queues.pop.eq(1),
                    self._hit.eq(self._queue.kind == QueueKind.HELD),
                ]
                m.next = "ROUND"
                with m.If(choice):
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

    def _locate(self, m: Module, look_at: Signal) -> None:
        """Keep where in the buffer each token is."""
        depth = self.config.max_tokens
        row = self._location.shape()
        m.submodules.locations = locations = Ram(row, depth)
        m.d.comb += [
            locations.read_addr.eq(look_at),
            locations.read_en.eq(self._look),
            self._location.eq(locations.read_data),
            locations.write_addr.eq(self._token),
            locations.write_data.held.eq(self._keep & ~self._drop),
            locations.write_data.bank.eq(self._served.bank),
            locations.write_data.place.eq(self._served.place),
            locations.write_en.eq(self._serve | self._drop),
        ]

    def _describe(self, m: Module) -> None:
        """Say what becomes of the token that was looked up; send it and keep books on `_serve`."""
        entry, served, places = self._directory.entry, self._served, self._places
        hit, keep = self._hit, self._keep
        wish = self._directory.reused & self.i.payload.look_ahead
        m.d.comb += [
            served.first.eq(self._first),
            served.token.eq(self._token),
            served.source_layer.eq(entry.source_layer),
            served.port.eq(entry.port),
            served.slot.eq(entry.slot),
            keep.eq(wish & (hit | places.offer)),
            served.hit.eq(hit),
            served.keep.eq(keep),
            places.give_bank.eq(self._location.bank),
            places.give_place.eq(self._location.place),
            places.give.eq(self._serve & hit & ~wish),
            places.take.eq(self._serve & ~hit & keep),
        ]
        with m.If(hit):
            m.d.comb += [
                served.bank.eq(self._location.bank),
                served.place.eq(self._location.place),
            ]
        with m.Elif(keep):
            m.d.comb += [served.bank.eq(places.bank), served.place.eq(places.place)]
        with m.If(self._serve):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.eq(served),
                self._first.eq(0),
                self._writes_left.eq(self._writes_left - places.take),
                Assert(~hit | self._location.held),
                Assert(~places.take | (self._writes_left != 0)),
            ]

    def _choose(self, m: Module) -> Any:
        """Choose the queue that the round serves next, while one is served or a round opened.

        Returns whether there is one.
        """
        banks, queues = self.config.buffer_banks, self._queues
        opening = self._places.begin_round
        spent, keep = Signal(name="spent"), Signal.like(queues.keep, name="may_keep")
        m.d.comb += [
            spent.eq(~opening & (self._writes_left == self._places.take)),
            keep.eq(queues.keep & ~spent.replicate(len(keep))),
        ]
        held = queues.held & (self._banks_open | opening.replicate(banks))
        ports = (queues.rest | keep) & (self._ports_open | opening.replicate(len(keep)))
        choice = lowest_set(m, Cat(held, ports), "next")
        is_bank = choice.number < banks
        number = Signal(len(self._queue.number), name="number")
        m.d.comb += number.eq(Mux(is_bank, choice.number, choice.number - banks))
        wanted = Mux(keep.bit_select(number, 1), QueueKind.KEEP, QueueKind.REST)
        with m.If(self._serve | opening):
            m.d.sync += [
                self._queue.number.eq(number),
                self._queue.kind.eq(Mux(is_bank, QueueKind.HELD, wanted)),
            ]
        return choice.any

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
                    m.d.comb += [self._queues.clear.eq(1), self._places.clear_load.eq(1)]
                    m.next = "SCAN"
                with m.Elif(request.op == KVOp.PREPARE):
                    m.d.comb += self.i.ready.eq(1)
                with m.Elif(usable):
                    m.next = "ROUND"
                with m.Else():
                    m.d.comb += self._places.clear.eq(1)
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
        entry, location = self._directory.entry, self._location
        more = self._next_token != request.token
        held = location.held & (self._token < self._filled.count)
        wish = self._directory.reused & request.look_ahead
        m.d.comb += [
            look_at.eq(self._next_token),
            self._look.eq(more),
            queues.token.eq(self._token),
            queues.append.eq(self._looked & entry.valid),
            queues.queue.number.eq(Mux(held, location.bank, entry.port)),
            queues.queue.kind.eq(
                Mux(held, QueueKind.HELD, Mux(wish, QueueKind.KEEP, QueueKind.REST))
            ),
            self._places.count.eq(queues.append & held & wish),
            self._places.count_bank.eq(location.bank),
            self._drop.eq(self._looked & ~entry.valid),
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

    def _open_round(self, m: Module) -> None:
        """Begin a round: every bank and port may serve one entry."""
        m.d.comb += self._places.begin_round.eq(1)
        m.d.sync += [
            self._banks_open.eq(-1),
            self._ports_open.eq(-1),
            self._writes_left.eq(self.config.buffer_write_ports),
            self._first.eq(1),
        ]

    def _pick(self, m: Module, look_at: Signal) -> None:
        """Look up the head of the chosen queue, and close its bank or port for this round."""
        head = self._queues.head
        m.d.comb += [look_at.eq(head), self._look.eq(1), self._queues.look.eq(1)]
        m.d.sync += self._token.eq(head)
        with m.If(self._queue.kind == QueueKind.HELD):
            m.d.sync += self._banks_open.bit_select(self._queue.number, 1).eq(0)
        with m.Else():
            m.d.sync += self._ports_open.bit_select(self._queue.number, 1).eq(0)

    def _check(self, m: Module) -> None:
        """Serve a token in order, or begin a round where its port or the writes are used up."""
        entry, request = self._directory.entry, self.i.payload
        wish = self._directory.reused & request.look_ahead
        open_port = self._ports_open.bit_select(entry.port, 1)
        fits = self._begun & open_port & ~(wish & (self._writes_left == 0))
        done = Signal()
        with m.If(~entry.valid):
            m.d.comb += [self._drop.eq(1), done.eq(1)]
        with m.Elif(~fits):
            self._open_round(m)
            m.d.sync += self._begun.eq(1)
            m.next = "WALK"
        with m.Elif(~self.o.valid | self.o.ready):
            m.d.comb += [self._serve.eq(1), done.eq(1)]
            m.d.sync += self._ports_open.bit_select(entry.port, 1).eq(0)
        with m.If(done):
            m.d.sync += self._token.eq(self._token + 1)
            m.next = "WALK"
            with m.If(self._token == request.token - 1):
                m.next = "END"

    def _end(self, m: Module) -> None:
        """Mark the end of the order; say what the buffer holds now."""
        request, end = self.i.payload, Signal.like(self._served)
        m.d.comb += [end.end.eq(1), self.i.ready.eq(1)]
        m.d.sync += [
            self.o.valid.eq(1),
            self.o.payload.eq(end),
            self._filled.valid.eq(request.look_ahead),
            self._filled.layer.eq(request.layer + 1),
            self._filled.count.eq(request.token),
            self._scanned.valid.eq(0),
        ]
