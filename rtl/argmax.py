"""The largest of a row of logits."""

from typing import Any

from amaranth.hdl import Array, Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.rtl.float32 import FRACTION_BITS
from hwroute.rtl.pipeline import advance, delay, register
from hwroute.rtl.select import Choice, least
from hwroute.rtl.vector_layouts import TOKEN_BITS
from hwroute.timing import ARGMAX_CYCLES

FAN_IN = 4
"""Candidates of which one stage chooses one."""


def logits_layout(elements: int) -> data.StructLayout:
    """Return the shape of `elements` FP32 logits.

    Fields: first, last line; count, logits that count, from the first on; base, token id of the
    first; logits.
    """
    return data.StructLayout(
        {
            "first": 1,
            "last": 1,
            "count": range(elements + 1),
            "base": TOKEN_BITS,
            "logits": data.ArrayLayout(32, elements),
        }
    )


TOKEN_LAYOUT = data.StructLayout({"token": TOKEN_BITS, "logit": 32})


class Argmax(wiring.Component):
    """Find the largest logit over any number of lines; equal ones: the lowest token id.

    Ids need not ascend from line to line. Latency `hwroute.timing.ARGMAX_CYCLES` from the last
    line; one line a cycle. Stages: (1) keys in the order of the logits; (2, 3, 4) best of up to 64;
    (5) best so far.

    Parameters
    ----------
    elements
        Logits of a line, a power of two, at most 64.

    Members
    -------
    i
        Stream of `logits_layout`; at least one logit of each line counts.
    o
        Stream of `TOKEN_LAYOUT`.
    """

    def __init__(self, elements: int):
        self.elements = elements
        super().__init__(
            {
                "i": In(stream.Signature(logits_layout(elements))),
                "o": Out(stream.Signature(TOKEN_LAYOUT)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Lines come out of the pipeline; all but the last are dropped.
        lines = stream.Signature(1).create(path=("lines",))
        en, valid = advance(m, self.i, lines, ARGMAX_CYCLES)
        i = self.i.payload
        keys = [
            register(m, en, _descending(i.logits[index]), f"key_{index}")
            for index in range(self.elements)
        ]
        able = [register(m, en, i.count > index, f"able_{index}") for index in range(self.elements)]
        chosen = self._choose(m, en, keys, able)
        before = ARGMAX_CYCLES - 1
        token = delay(m, en, i.base, before, "base") + chosen.number
        first = delay(m, en, i.first, before, "first")

        best = Signal(data.StructLayout({"token": TOKEN_BITS, "key": 32}))
        found = Cat(token[:TOKEN_BITS], chosen.key)
        # The key above the id: of equal logits the lowest id.
        better = first | (found < Value.cast(best))
        with m.If(en & valid[before - 1]):
            m.d.sync += Assert(chosen.any)
            with m.If(better):
                m.d.sync += best.eq(found)
        m.d.comb += [
            self.o.payload.token.eq(best.token),
            self.o.payload.logit.eq(_logit(best.key)),
            self.o.valid.eq(lines.valid & delay(m, en, i.last, ARGMAX_CYCLES, "last")),
            lines.ready.eq(~self.o.valid | self.o.ready),
        ]
        return m

    def _choose(self, m: Module, en: Value, keys: list[Signal], able: list[Signal]) -> Choice:
        """Stages 2 to 4: choose the least key, the lowest number of equal ones."""
        bits = range(self.elements)
        level = [Choice(able[index], Const(index, bits), keys[index]) for index in bits]
        for stage in range(2, ARGMAX_CYCLES):
            name = f"stage_{stage}"
            groups = [level[start : start + FAN_IN] for start in range(0, len(level), FAN_IN)]
            level = [
                self._best(m, en, group, f"{name}_{index}") for index, group in enumerate(groups)
            ]
        assert len(level) == 1
        return level[0]

    def _best(self, m: Module, en: Value, group: list[Choice], name: str) -> Choice:
        choice = group[0]
        if len(group) > 1:
            choice = least(m, Cat(one.any for one in group), [one.key for one in group], name)
            choice = choice._replace(number=Array(one.number for one in group)[choice.number])
        return Choice(
            register(m, en, choice.any, f"{name}_any_held"),
            register(m, en, choice.number, f"{name}_number_held"),
            register(m, en, choice.key, f"{name}_key_held"),
        )


def _descending(logit: Value) -> Value:
    """Return an unsigned key that is the smaller the larger the FP32 logit; -0 counts as +0."""
    read = Mux(logit[FRACTION_BITS:31].any(), logit, 0)
    return read ^ Mux(read[31], 0, 0x7FFFFFFF)


def _logit(key: Value) -> Value:
    """Undo `_descending`."""
    return key ^ Mux(key[31], 0, 0x7FFFFFFF)
