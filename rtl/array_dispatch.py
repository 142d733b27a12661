"""One kind of instruction at a time on the array: who is at work, and whose ports are connected."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from hwroute.isa.table import BY_NAME
from hwroute.rtl.decoder import fields_of
from hwroute.rtl.issue_layouts import DONE, ISSUED


class ArrayKind(Enum, shape=2):
    """What the array does."""

    MATMUL = 0
    SCORES = 1
    VALUES = 2


OPCODES: Mapping[ArrayKind, int] = {kind: BY_NAME[kind.name.lower()].code for kind in ArrayKind}
MOST = 64
"""Instructions that may be open: as many as a sequencer gives a unit."""


class ArrayDispatch(wiring.Component):
    """Hand an instruction to the control of its kind when none of another kind is open.

    Instructions of one kind follow each other as their control takes them. A change of kind waits
    for the end of the last instruction and takes `hwroute.timing.ARRAY_SWITCH_CYCLES`.

    Members
    -------
    issue, done
        Streams of `ISSUED` and `DONE`.
    issue_matmul, done_matmul, issue_scores, ...
        The same to and from each control, which ends its instructions in their order.
    kind : ``Out(ArrayKind)``
        Whose instructions are open, or were the last ones.
    """

    def __init__(self) -> None:
        members: dict[str, Any] = {
            "issue": In(stream.Signature(ISSUED)),
            "done": Out(stream.Signature(DONE)),
            "kind": Out(ArrayKind),
        }
        for kind in ArrayKind:
            members[f"issue_{kind.name.lower()}"] = Out(stream.Signature(ISSUED))
            members[f"done_{kind.name.lower()}"] = In(stream.Signature(DONE))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        opened = Signal(range(MOST + 1))
        wanted, fits = Signal(ArrayKind), Signal()
        with m.Switch(fields_of(self.issue.payload.word, "matmul").opcode):
            for kind, code in OPCODES.items():
                with m.Case(code):
                    m.d.comb += wanted.eq(kind)
        m.d.comb += fits.eq((wanted == self.kind) & (opened != MOST))
        with m.If(self.issue.valid & ~opened.any()):
            m.d.sync += self.kind.eq(wanted)
        issues = {kind: getattr(self, f"issue_{kind.name.lower()}") for kind in ArrayKind}
        for kind, issue in issues.items():
            here = self.kind == kind
            m.d.comb += [
                issue.payload.eq(self.issue.payload),
                issue.valid.eq(self.issue.valid & fits & here),
            ]
            with m.If(fits & here):
                m.d.comb += self.issue.ready.eq(issue.ready)
        dones = {kind: getattr(self, f"done_{kind.name.lower()}") for kind in ArrayKind}
        connect_open(m, self.kind, self.done, dones)
        begins, ends = self.issue.valid & self.issue.ready, self.done.valid & self.done.ready
        m.d.sync += opened.eq(opened + begins - ends)
        return m


def connect_open(m: Module, kind: Signal, port: Any, users: Mapping[ArrayKind, Any]) -> None:
    """Connect a port of a component to that of the control whose kind is open.

    The others see nothing come and nothing taken.

    Parameters
    ----------
    m
        Module of the component.
    kind
        Who is open.
    port
        A stream, or an interface of streams.
    users
        The same port of the control of each kind that has one.
    """
    members = port.signature.members
    if "payload" not in members:
        for name in members:
            inner = {one: getattr(user, name) for one, user in users.items()}
            connect_open(m, kind, getattr(port, name), inner)
        return
    inward = members["payload"].flow is In
    for one, user in users.items():
        source, sink = (port, user) if inward else (user, port)
        with m.If(kind == one):
            m.d.comb += [sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
        if inward:
            m.d.comb += sink.payload.eq(source.payload)
        else:
            with m.If(kind == one):
                m.d.comb += sink.payload.eq(source.payload)
