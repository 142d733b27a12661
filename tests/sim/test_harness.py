# amaranth: UnusedElaboratable=no
"""The harness knows a unit's ports, refuses what it cannot drive, and is emitted the same twice."""

import re
from typing import Any

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.emit import emit
from hwroute.sim.harness import Ports, StreamHarness

PAIR = data.StructLayout({"a": signed(5), "b": 12})


class Adder(wiring.Component):
    """Add the fields of a pair, from a stream to a stream."""

    i: In(stream.Signature(PAIR))
    o: Out(stream.Signature(signed(14)))
    offset: In(4)
    busy: Out(1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += [
            self.o.payload.eq(self.i.payload.a + self.i.payload.b + self.offset),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            self.busy.eq(self.i.valid),
        ]
        return m


class Member(wiring.Component):
    """A component of one member of any kind."""

    def __init__(self, member: Any):
        super().__init__({"x": member})

    def elaborate(self, platform: Any) -> Module:
        return Module()


def test_ports_are_sorted_by_kind_and_direction() -> None:
    ports = Ports.of(Adder())
    assert (ports.sources, ports.sinks) == ({"i": PAIR}, {"o": signed(14)})
    assert (ports.settings, ports.results) == ({"offset": 4}, {"busy": 1})


@pytest.mark.parametrize(
    "member",
    [
        In(wiring.Signature({"a": In(1)})),
        In(stream.Signature(4)).array(2),
    ],
)
def test_other_interfaces_are_refused_by_name(member: Any) -> None:
    with pytest.raises(TypeError, match="Harness member must be a stream or a port, not 'x'"):
        StreamHarness(Member(member))


def test_streams_are_driven_inside_and_plain_ports_lead_out() -> None:
    text = emit(StreamHarness(Adder()), "harness")
    header = re.search(r"module harness\((.*?)\);", text, re.DOTALL)
    assert header is not None
    names = {name.strip() for name in header.group(1).split(",")}
    assert names == {
        *("clk", "rst", "stall_in", "stall_out", "seed", "done", "cycle", "offset", "busy"),
    }
    for kind, name, width in (("source", "i", 17), ("sink", "o", 14)):
        (instance,) = re.findall(
            rf"hwroute_stream_{kind} #\((.*?)\)\s*stream_{name} ", text, re.DOTALL
        )
        assert f'.NAME("{name}")' in instance
        assert re.search(rf"\.WIDTH\(32'(d{width}|h{width:08x}|sd{width})\)", instance), instance


def test_two_emissions_are_equal() -> None:
    assert emit(StreamHarness(Adder()), "harness") == emit(StreamHarness(Adder()), "harness")
