"""The two reductions of a softmax over base-two scores; neither depends on the scores' order."""

from functools import cache
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.column_format import LANES
from hwroute.rtl.exp2 import UNITS_POINT, Probability, half_to_units
from hwroute.rtl.float_convert import FixedToFloat
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.part import Part
from hwroute.rtl.pipeline import adder_tree, advance, delay, register
from hwroute.rtl.streams import Fork
from hwroute.timing import MAXIMUM_CYCLES, PROBABILITY_CYCLES

MAXIMUM_SHAPE = signed(17)
NO_MAXIMUM = -(1 << 16)
"""Maximum of a row whose scores are all masked: below every score."""
SUM_BITS = 58
"""Signed, in units of 2**-24: more than 2**17 probabilities of up to 2**15."""


def scores_layout(lanes: int = LANES) -> data.StructLayout:
    """Return the shape of a tile of FP16 scores; lanes with mask 0 do not count."""
    scores = data.ArrayLayout(16, lanes)
    return data.StructLayout({"first": 1, "last": 1, "mask": lanes, "scores": scores})


def shifted_scores_layout(slots: int = 1, lanes: int = LANES) -> data.StructLayout:
    """Return the shape of a tile of scores with the maximum of its row, and the row's slot."""
    slot = {"slot": bits(slots), "maximum": MAXIMUM_SHAPE}
    return data.StructLayout(slot | _fields(scores_layout(lanes)))


def probabilities_layout(lanes: int = LANES) -> data.StructLayout:
    """Return the shape of a tile of FP16 probabilities; masked ones are zero."""
    return data.StructLayout({"last": 1, "lanes": data.ArrayLayout(16, lanes)})


def slot_probabilities_layout(slots: int = 1, lanes: int = LANES) -> data.StructLayout:
    """Return the shape of a tile of probabilities of the row in a slot."""
    slot = {"slot": bits(slots), "first": 1}
    return data.StructLayout(slot | _fields(probabilities_layout(lanes)))


def sum_layout(slots: int = 1) -> data.StructLayout:
    """Return the shape of the sum, FP32, of the row in a slot."""
    return data.StructLayout({"slot": bits(slots), "value": 32})


def _fields(layout: data.StructLayout) -> dict[str, Any]:
    return {name: field.shape for name, field in layout}


class RowMaximum(wiring.Component):
    """Find the largest score of a row and round it up to an integer. One tile a cycle.

    Latency `hwroute.timing.MAXIMUM_CYCLES` from a row's last tile. Stages: (1) order-preserving
    integers; (2, 3, 4) largest of 64; (5) largest so far; (6) integer and fraction bits; (7) round
    up.

    Members
    -------
    i
        Stream of `scores_layout`.
    o
        Stream of the maximum, `NO_MAXIMUM` where no score counts.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(scores_layout())),
                "o": Out(stream.Signature(MAXIMUM_SHAPE)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Tiles come out of the pipeline; all but a row's last are dropped.
        tiles = stream.Signature(MAXIMUM_SHAPE).create(path=("tiles",))
        en, valid = advance(m, self.i, tiles, MAXIMUM_CYCLES)
        i = self.i.payload
        keys = [
            register(m, en, _key(i.scores[lane], i.mask[lane]), f"key_{lane}")
            for lane in range(LANES)
        ]
        tile, cycles = keys, 1
        while len(tile) > 1:
            cycles += 1
            tile = [
                register(m, en, _largest(tile[start : start + 4]), f"largest_{cycles}_{start}")
                for start in range(0, len(tile), 4)
            ]
        best = Signal(signed(16))
        first = delay(m, en, i.first, cycles, "first")
        with m.If(en & valid[cycles - 1]):
            m.d.sync += best.eq(Mux(first | (tile[0] > best), tile[0], best))
        m.d.comb += [
            self.o.payload.eq(self._round_up(m, en, best)),
            self.o.valid.eq(tiles.valid & delay(m, en, i.last, MAXIMUM_CYCLES, "last")),
            tiles.ready.eq(~self.o.valid | self.o.ready),
        ]
        return m

    def _round_up(self, m: Module, en: Value, best: Value) -> Value:
        """Stages 6 and 7: the integer not below a key."""
        magnitude = Mux(best < 0, -best, best)[:15]
        units = half_to_units(Cat(magnitude, Const(0, 1)))
        none = register(m, en, best == NO_KEY, "none")
        negative = register(m, en, best < 0, "negative")
        whole = register(m, en, units[UNITS_POINT:], "whole")
        rest = register(m, en, units[:UNITS_POINT].any(), "rest")
        ceiling = Mux(none, NO_MAXIMUM, Mux(negative, -whole, whole + rest))
        return register(m, en, ceiling[:17].as_signed(), "ceiling")


NO_KEY = -(1 << 15)


def _key(score: Value, valid: Value) -> Value:
    """Return a signed integer in the order of FP16 scores; `NO_KEY` where the score is masked."""
    magnitude = Mux(score[10:15].any(), score[:15], 0)
    return Mux(valid, Mux(score[15], -magnitude, magnitude), NO_KEY)[:16].as_signed()


def _largest(keys: list[Any]) -> Any:
    if len(keys) == 1:
        return keys[0]
    half = len(keys) // 2
    a, b = _largest(keys[:half]), _largest(keys[half:])
    return Mux(a > b, a, b)


@cache
def _probability() -> Probability:
    return Probability()


def probability() -> Part:
    """Return one more placement of `Probability`, which is one module in all Verilog."""
    return Part("hwroute_probability", _probability())


class RowExponentials(wiring.Component):
    """Turn scores into probabilities and add those up exactly. One tile a cycle.

    The tiles of as many rows as there are slots may come interleaved. A tile of probabilities
    leaves `hwroute.timing.PROBABILITY_CYCLES` after its scores, the sum of a row
    EXPONENTIALS_CYCLES after its last tile. Neither waits for the other beyond the payloads that
    the pipelines hold. Stages of the sum: (1) units of 2**-24; (2, 3, 4) tree of adders; (5) sum so
    far; then those of `FixedToFloat`.

    Parameters
    ----------
    slots
        Rows whose tiles may be interleaved.
    lanes
        Scores of a tile.

    Members
    -------
    i
        Stream of `shifted_scores_layout`; the maximum is not below any score that counts.
    p
        Stream of `slot_probabilities_layout`: 2**(s - m) * 2**15 as `Probability` makes it.
    o
        Stream of `sum_layout`: of a row's probabilities, exact but for one rounding to FP32.

    Raises
    ------
    ValueError
        There is no slot, or not 1 to 64 lanes.
    """

    def __init__(self, slots: int = 1, lanes: int = LANES) -> None:
        if slots < 1:
            raise ValueError(f"Slots must be at least 1, not {slots!r}")
        if not 1 <= lanes <= LANES:
            raise ValueError(f"Lanes must be from 1 to {LANES}, not {lanes!r}")
        self.slots = slots
        self.lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(shifted_scores_layout(slots, lanes))),
                "p": Out(stream.Signature(slot_probabilities_layout(slots, lanes))),
                "o": Out(stream.Signature(sum_layout(slots))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        i = self.i.payload
        m.submodules.fork = fork = Fork(slot_probabilities_layout(self.slots, self.lanes))
        en, _ = advance(m, self.i, fork.i, PROBABILITY_CYCLES)
        for index in range(self.lanes):
            m.submodules[f"lane_{index}"] = lane = probability()
            m.d.comb += [
                lane.en.eq(en),
                lane.score.eq(i.scores[index]),
                lane.maximum.eq(i.maximum),
                lane.valid.eq(i.mask[index] & self.i.valid),
                fork.i.payload.lanes[index].eq(lane.o),
            ]
        for name in ("slot", "first", "last"):
            m.d.comb += fork.i.payload[name].eq(delay(m, en, i[name], PROBABILITY_CYCLES, name))
        connect(m, fork.o_0, flipped(self.p))
        self._add(m, fork.o_1)
        return m

    def _add(self, m: Module, tiles: Any) -> None:
        """Add tiles of probabilities; send the sum at a row's last tile."""
        m.submodules.round = convert = FixedToFloat(SUM_BITS)
        done = stream.Signature(32).create(path=("done",))
        tree_cycles = 4
        latency = tree_cycles + 1 + convert.LATENCY
        en, valid = advance(m, tiles, done, latency)
        tile = tiles.payload
        units = [
            register(m, en, half_to_units(lane), f"units_{index}")
            for index, lane in enumerate(tile.lanes)
        ]
        total, cycles = adder_tree(m, en, units, "total")
        # A tree of fewer lanes is shorter.
        total = delay(m, en, total, tree_cycles - 1 - cycles, "total_late")
        first = delay(m, en, tile.first, tree_cycles, "first_tile")
        slot = delay(m, en, tile.slot, tree_cycles, "slot_of_tile")
        sum_so_far, added = Signal(SUM_BITS - 1), Signal(SUM_BITS - 1)
        kept = self._sums(m, slot, added, en & valid[tree_cycles - 1])
        before = sum_so_far if kept is None else kept
        m.d.comb += added.eq(Mux(first, 0, before) + total)
        with m.If(en & valid[tree_cycles - 1]):
            m.d.sync += sum_so_far.eq(added)
        m.d.comb += [
            convert.en.eq(en),
            convert.value.eq(sum_so_far),
            convert.exponent.eq(-UNITS_POINT),
            self.o.payload.value.eq(convert.o),
            self.o.payload.slot.eq(delay(m, en, slot, 1 + convert.LATENCY, "slot_of_sum")),
            self.o.valid.eq(done.valid & delay(m, en, tile.last, latency, "last_tile")),
            done.ready.eq(~self.o.valid | self.o.ready),
        ]

    def _sums(self, m: Module, slot: Value, added: Value, write: Value) -> Value | None:
        """Keep the sum of every slot; return that of `slot`. One alone needs no memory."""
        if self.slots == 1:
            return None
        m.submodules.sums = sums = memory.Memory(shape=len(added), depth=self.slots, init=[])
        port, read = sums.write_port(), sums.read_port(domain="comb")
        m.d.comb += [
            port.addr.eq(slot),
            port.data.eq(added),
            port.en.eq(write),
            read.addr.eq(slot),
        ]
        return Value.cast(read.data)
