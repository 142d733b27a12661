"""Write K, V and the exponents of V of tokens to their slots in HBM."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import Config
from hwroute.isa.fields import LINE_ELEMENTS
from hwroute.rtl.attention_layouts import EXPONENT_BITS, VECTOR_LINE_BITS
from hwroute.rtl.axi import HBM_PORT
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.kv_map import EXPONENT_BEAT_BITS, LINE_HBM_BEATS, VECTOR_BEAT_BITS, pairing
from hwroute.rtl.memory_layouts import ANSWER, REQUEST, width_of
from hwroute.rtl.memory_port import stream_layouts
from hwroute.rtl.scratchpad_layouts import LINE_NUMBER_BITS, ReadPort

PARTS = 3
"""Requests of a token: K, V, exponents, which are known when V has passed."""


def token_layout(config: Config) -> data.StructLayout:
    """Return a token to write: its lines of K and V, its port, the first beat of its slot."""
    return data.StructLayout(
        {
            "k": LINE_NUMBER_BITS,
            "v": LINE_NUMBER_BITS,
            "port": bits(config.kv.hbm_ports),
            "first": REQUEST["first"].shape,
        }
    )


class KVWriter(wiring.Component):
    """Write tokens one after the other, each as three requests to its port, a beat a cycle.

    A token takes `hwroute.timing.KV_TOKEN_CYCLES` besides its beats and the latency of its first
    line; the memory may be late with the answers of several. Beats may come before the requests for
    them.

    Parameters
    ----------
    config
        Ports, and the longest vector.

    Members
    -------
    vector, exponents : ``In``, beats of HBM, as kv.map has them; stable
    lines : ``In``, of a vector; stable
    i
        Stream of `token_layout`.
    read_k, read_v
        `hwroute.rtl.scratchpad_layouts.ReadPort`.
    write_0, data_0, answer_0, ...
        Streams of each HBM port (`hwroute.rtl.hbm_port`).
    idle : ``Out(1)``, all that was taken is written
    failed : ``Out(1)``, pulse: the memory refused something
    """

    def __init__(self, config: Config):
        self.config = config
        self.pairing = pairing(config.kv)
        self.ports = config.kv.hbm_ports
        _, store = stream_layouts(HBM_PORT, paired=self.pairing == 2)
        self.store = store
        members: dict[str, Any] = {
            "vector": In(VECTOR_BEAT_BITS),
            "exponents": In(EXPONENT_BEAT_BITS),
            "lines": In(VECTOR_LINE_BITS),
            "i": In(stream.Signature(token_layout(config))),
            "read_k": Out(ReadPort()),
            "read_v": Out(ReadPort()),
            "idle": Out(1),
            "failed": Out(1),
        }
        for port in range(self.ports):
            members[f"write_{port}"] = Out(stream.Signature(REQUEST))
            members[f"data_{port}"] = Out(stream.Signature(store))
            members[f"answer_{port}"] = In(stream.Signature(ANSWER))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        token, begin = Signal(token_layout(self.config)), Signal()
        asking, sending = Signal(), Signal()
        asked, sent = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~asking & ~sending),
            begin.eq(self.i.valid & self.i.ready),
        ]
        with m.If(asked):
            m.d.sync += asking.eq(0)
        with m.If(sent):
            m.d.sync += sending.eq(0)
        with m.If(begin):
            m.d.sync += [token.eq(self.i.payload), asking.eq(1), sending.eq(1)]
        self._ask(m, token, asking, asked)
        for name in ("k", "v"):
            self._read(m, name, begin)
        self._send(m, token, begin, sending, sent)
        self._hear(m, asked)
        return m

    def _ask(self, m: Module, token: Any, asking: Signal, asked: Signal) -> None:
        """Ask for room for K, V and the exponents."""
        part = Signal(range(PARTS))
        behind = token.first + self.vector
        firsts = Array([token.first, behind + self.exponents, behind])
        counts = Array([self.vector, self.vector, self.exponents])
        took = Signal()
        for port in range(self.ports):
            request = getattr(self, f"write_{port}")
            here = token.port == port
            m.d.comb += [
                request.valid.eq(asking & here),
                request.payload.first.eq(firsts[part]),
                request.payload.count.eq(counts[part]),
            ]
            with m.If(here):
                m.d.comb += took.eq(request.valid & request.ready)
        m.d.comb += asked.eq(took & (part == PARTS - 1))
        with m.If(took):
            m.d.sync += part.eq(Mux(asked, 0, part + 1))

    def _read(self, m: Module, name: str, begin: Signal) -> None:
        """Ask for the lines of K or V."""
        request = getattr(self, f"read_{name}").request
        left = Signal(VECTOR_LINE_BITS, name=f"{name}_left")
        m.d.comb += request.valid.eq(left.any())
        with m.If(begin):
            m.d.sync += [left.eq(self.lines), request.payload.line.eq(self.i.payload[name])]
        with m.Elif(request.valid & request.ready):
            m.d.sync += [left.eq(left - 1), request.payload.line.eq(request.payload.line + 1)]

    def _send(self, m: Module, token: Any, begin: Signal, sending: Signal, sent: Signal) -> None:
        """Send the beats of the lines as they come, then those of the exponents."""
        k, v = self.read_k.response, self.read_v.response
        beats = LINE_HBM_BEATS // self.pairing
        width = width_of(self.store["data"].shape)
        beat, line, part = Signal(range(beats)), Signal(VECTOR_LINE_BITS), Signal(range(PARTS))
        known = Signal()
        exponents = self._exponents(m, v, begin, known)
        tail = Signal(EXPONENT_BEAT_BITS)
        left = self.exponents - tail
        of_line = Mux(part == 0, Value.cast(k.payload), Value.cast(v.payload))
        there = Mux(part == 0, k.valid, Mux(part == 1, v.valid, known))
        o = Signal(self.store)
        step, ends_line, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            Value.cast(o.data).eq(
                Mux(
                    part == 2,
                    exponents.word_select(tail >> (self.pairing - 1), width),
                    of_line.word_select(beat, width),
                )
            ),
            o.strobe.eq(~0),
            ends_line.eq(beat == beats - 1),
            ends.eq(Mux(part == 2, left <= self.pairing, ends_line & (line == self.lines - 1))),
            k.ready.eq(step & (part == 0) & ends_line),
            v.ready.eq(step & (part == 1) & ends_line),
            sent.eq(step & ends & (part == 2)),
        ]
        if self.pairing == 2:
            m.d.comb += o.half.eq((part == 2) & (left == 1))
        for port in range(self.ports):
            given, here = getattr(self, f"data_{port}"), token.port == port
            m.d.comb += [given.valid.eq(sending & there & here), given.payload.eq(o)]
            with m.If(here):
                m.d.comb += step.eq(given.valid & given.ready)
        with m.If(step):
            m.d.sync += part.eq(Mux(sent, 0, part + ends))
            with m.If(part == 2):
                m.d.sync += tail.eq(Mux(ends, 0, tail + self.pairing))
            with m.Else():
                m.d.sync += beat.eq(Mux(ends_line, 0, beat + 1))
                with m.If(ends_line):
                    m.d.sync += line.eq(Mux(ends, 0, line + 1))

    def _exponents(self, m: Module, v: Any, begin: Signal, known: Signal) -> Value:
        """Keep the largest exponent of each line of V that is taken; return a byte of each."""
        most = self.config.kv.entry_beats * self.config.kv.beat_bits // (16 * LINE_ELEMENTS)
        taken, late = Signal(), Signal()
        count = Signal(range(most + 1))
        kept = [Signal(EXPONENT_BITS, name=f"exponent_{line}") for line in range(most)]
        fields = [v.payload[lane][10:15] for lane in range(LINE_ELEMENTS)]
        eights = []
        for start in range(0, LINE_ELEMENTS, 8):
            eight = Signal(EXPONENT_BITS, name=f"largest_{start}")
            m.d.sync += eight.eq(_largest(fields[start : start + 8]))
            eights.append(eight)
        m.d.comb += [taken.eq(v.valid & v.ready), known.eq(~late)]
        m.d.sync += late.eq(taken)
        with m.If(begin):
            m.d.sync += count.eq(0)
            for one in kept:
                m.d.sync += one.eq(0)
        with m.Elif(late):
            m.d.sync += count.eq(count + 1)
            with m.Switch(count):
                for line, one in enumerate(kept):
                    with m.Case(line):
                        m.d.sync += one.eq(_largest(eights))
        room = -(-most // (HBM_PORT.data_bytes * self.pairing)) * HBM_PORT.data_bits * self.pairing
        packed = Cat(Cat(one, Signal(8 - EXPONENT_BITS, name="zero")) for one in kept)
        whole = Signal(room)
        m.d.comb += whole.eq(packed)
        return whole

    def _hear(self, m: Module, asked: Signal) -> None:
        """Take the answers."""
        owed = Signal(range(PARTS * (self.config.array.accumulator_rows + 1)))
        answers = [getattr(self, f"answer_{port}") for port in range(self.ports)]
        heard = Signal(range(self.ports + 1))
        m.d.comb += [
            *(answer.ready.eq(1) for answer in answers),
            heard.eq(sum(answer.valid for answer in answers)),
            self.failed.eq(Cat(answer.valid & answer.payload.error for answer in answers).any()),
            self.idle.eq(~owed.any() & self.i.ready),
        ]
        m.d.sync += owed.eq(owed + Mux(asked, PARTS, 0) - heard)


def _largest(values: list[Any]) -> Value:
    """Return the largest of some numbers."""
    if len(values) == 1:
        return Value.cast(values[0])
    half = len(values) // 2
    a, b = _largest(values[:half]), _largest(values[half:])
    return Mux(a > b, a, b)
