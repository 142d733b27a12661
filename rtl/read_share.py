"""Several readers of one memory."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwroute.rtl.memory_layouts import REQUEST
from hwroute.rtl.memory_reader import OUTSTANDING
from hwroute.rtl.select import in_turn


class ReadShare(wiring.Component):
    """Let several units ask one port, in turn, and give each the beats of its requests.

    Beats come in the order in which requests were taken, so whoever does not take its beats holds
    up the others: a unit asks for what it has room for. One request and one beat a cycle; a request
    and a beat each take `hwroute.memory_timing.READ_SHARE_CYCLES`.

    Parameters
    ----------
    beats
        Layout of a beat, `hwroute.rtl.memory_layouts.beat_layout`.
    users
        Names of the units.

    Members
    -------
    request_(each of `users`), beats_(each of `users`)
        Streams of `REQUEST` and of `beats`.
    request, beats
        Those of the port.

    Raises
    ------
    ValueError
        There is no user.
    """

    def __init__(self, beats: data.StructLayout, users: Sequence[str]):
        if not users:
            raise ValueError(f"Users must be at least one, not {users!r}")
        self.users = tuple(users)
        members: dict[str, Any] = {
            "request": Out(stream.Signature(REQUEST)),
            "beats": In(stream.Signature(beats)),
        }
        for name in users:
            members[f"request_{name}"] = In(stream.Signature(REQUEST))
            members[f"beats_{name}"] = Out(stream.Signature(beats))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.order = order = SyncFIFOBuffered(width=len(self.users), depth=OUTSTANDING)
        self._ask(m, order)
        self._give(m, order)
        return m

    def _ask(self, m: Module, order: Any) -> None:
        """Take one of the requests, and remember whose it is."""
        requests = [getattr(self, f"request_{name}") for name in self.users]
        room, asking = Signal(), Signal(len(requests))
        m.d.comb += [
            room.eq(order.w_rdy & (~self.request.valid | self.request.ready)),
            asking.eq(Mux(room, Cat(request.valid for request in requests), 0)),
        ]
        grant = in_turn(m, asking, "asking")
        m.d.comb += [order.w_en.eq(grant.any()), order.w_data.eq(grant)]
        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        for number, request in enumerate(requests):
            m.d.comb += request.ready.eq(grant[number])
            with m.If(grant[number]):
                m.d.sync += [self.request.valid.eq(1), self.request.payload.eq(request.payload)]

    def _give(self, m: Module, order: Any) -> None:
        """Give a beat to whose request it is of."""
        ports = [getattr(self, f"beats_{name}") for name in self.users]
        owner = Signal(len(ports))
        beat = Signal(self.beats.payload.shape(), reset_less=True)
        free, step = Signal(), Signal()
        m.d.comb += [
            free.eq(~(owner & ~Cat(port.ready for port in ports)).any()),
            self.beats.ready.eq(free & order.r_rdy),
            step.eq(self.beats.valid & self.beats.ready),
            order.r_en.eq(step & self.beats.payload.last),
        ]
        with m.If(free):
            m.d.sync += owner.eq(Mux(step, order.r_data, 0))
        with m.If(step):
            m.d.sync += beat.eq(self.beats.payload)
        for number, port in enumerate(ports):
            m.d.comb += [port.valid.eq(owner[number]), port.payload.eq(beat)]
