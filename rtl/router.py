"""The router unit: logits become decisions, bitmask planes and lists of executing tokens."""

from enum import Enum
from typing import Any

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.rtl.float_convert import is_greater

WORD_BITS = 64
"""Tokens in a word of a bitmask plane."""


class Decision(Enum):
    """How the tokens of a command are decided."""

    ROUTE = 0
    """By their logits."""
    FORCE = 1
    """Every token executes; logits come and are discarded."""
    EXECUTE = 2
    """Every token executes; no logits come."""
    SKIP = 3
    """Every token skips; no logits come."""


def command_layout(kv: KVConfig) -> data.StructLayout:
    """Return the shape of a command: one tile of consecutive tokens at one plane.

    Fields: layer, sublayer (0 attention, 1 FFN); base, count (tokens base .. base + count - 1, all
    below ``max_tokens``); decision; execute (the index whose logit means execute); tie_executes;
    forced (tokens below this position execute whatever their logits).
    """
    position = (kv.max_tokens - 1).bit_length()
    return data.StructLayout(
        {
            "layer": _layer_bits(kv),
            "sublayer": 1,
            "base": position,
            "count": position + 1,
            "decision": Decision,
            "execute": 1,
            "tie_executes": 1,
            "forced": position + 1,
        }
    )


def logits_layout(kv: KVConfig) -> data.StructLayout:
    """Return the shape of a token's logits, as FP32 patterns."""
    position = (kv.max_tokens - 1).bit_length()
    return data.StructLayout({"token": position, "logit": data.ArrayLayout(32, 2), "last": 1})


def summary_layout(kv: KVConfig) -> data.StructLayout:
    """Return the shape of what ends a command: how many tokens execute, skip; none executes."""
    count = (kv.max_tokens - 1).bit_length() + 1
    return data.StructLayout({"executed": count, "skipped": count, "empty": 1})


def query_layout(kv: KVConfig) -> data.StructLayout:
    """Return the shape of the address of a plane's word: tokens 64 * word and up."""
    return data.StructLayout({"word": _word_bits(kv), "sublayer": 1, "layer": _layer_bits(kv)})


def _layer_bits(kv: KVConfig) -> int:
    return max(1, (kv.max_layers - 1).bit_length())


def _word_bits(kv: KVConfig) -> int:
    return max(1, (kv.max_tokens // WORD_BITS - 1).bit_length())


def executes(logits: Any, *, execute: Any, tie_executes: Any) -> Value:
    """Return whether a token executes, from its two logits (FP32 patterns, zero as +0 only).

    It does if the logit of index `execute` is the greater one, or equal and `tie_executes`.
    """
    run, skip = Mux(execute, logits[1], logits[0]), Mux(execute, logits[0], logits[1])
    return is_greater(run, skip) | (tie_executes & (run == skip))


class RouterUnit(wiring.Component):
    """Decide which tokens execute, keep the bitmasks, list the executing tokens.

    Tokens are decided by `executes`. Latency and rate: `hwroute.timing`, "Router and bitmask
    unit"; one token a cycle. Commands run one after the other: a command's tokens leave in order of
    position, then its summary, and only then does the next command start. Its bits can be queried
    once its summary is there. Bits of other tokens of a plane keep their value, so that decoding
    adds one token at a time; nothing clears a plane, so readers ignore bits beyond the context.

    The planes take max_layers * 2 * max_tokens bits, twice: one memory a read port.

    Parameters
    ----------
    kv
        Sizes the planes: ``max_tokens`` and ``max_layers``.

    Members
    -------
    commands
        Stream of `command_layout`.
    logits
        Stream of `logits_layout`, one for each token of a command that takes them. Token and last
        are there to catch a producer that is out of step; a simulation stops where they are wrong.
    tokens
        Stream of the positions of executing tokens.
    summary
        Stream of `summary_layout`, one for each command.
    query, bits
        Streams of `query_layout` and of words of 64 bits, the lowest token in bit 0.
    """

    def __init__(self, kv: KVConfig):
        if not isinstance(kv, KVConfig):
            raise TypeError(f"Sizes must be a KVConfig, not {kv!r}")
        self.kv = kv
        position = (kv.max_tokens - 1).bit_length()
        super().__init__(
            {
                "commands": In(stream.Signature(command_layout(kv))),
                "logits": In(stream.Signature(logits_layout(kv))),
                "tokens": Out(stream.Signature(position)),
                "summary": Out(stream.Signature(summary_layout(kv))),
                "query": In(stream.Signature(query_layout(kv))),
                "bits": Out(stream.Signature(WORD_BITS)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        depth = 1 << Value.cast(self.query.payload).shape().width
        m.submodules.planes = planes = memory.Memory(shape=WORD_BITS, depth=depth, init=[])
        read, write = planes.read_port(), planes.write_port()
        self._answer_queries(m, planes.read_port())

        command = Signal(command_layout(self.kv))
        address = Signal.like(Value.cast(self.query.payload), name="address")
        running, load, last = Signal(), Signal(), Signal()
        decided, bit, move = Signal(), Signal(), Signal()
        m.d.comb += [
            move.eq(decided & (~bit | ~self.tokens.valid | self.tokens.ready)),
            read.addr.eq(address + 1),
        ]
        with m.If(move):
            m.d.sync += decided.eq(0)
        self._decide(m, command, running & (~decided | move), decided, bit)
        self._retire(m, command, move, bit, last, (load, address, read, write))

        with m.FSM():
            with m.State("IDLE"):
                start = self._address(self.commands.payload)
                m.d.comb += [self.commands.ready.eq(1), read.addr.eq(start)]
                with m.If(self.commands.valid):
                    m.d.sync += [command.eq(self.commands.payload), address.eq(start)]
                    m.next = "LOAD"
                    with m.If(self.commands.payload.count == 0):
                        m.next = "DRAIN"
            with m.State("LOAD"):
                m.d.comb += load.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(move & last):
                    m.next = "DRAIN"
            with m.State("DRAIN"), m.If(~self.tokens.valid | self.tokens.ready):
                m.next = "SUMMARY"
            with m.State("SUMMARY"):
                m.d.comb += self.summary.valid.eq(1)
                with m.If(self.summary.ready):
                    m.next = "IDLE"
        return m

    def _address(self, command: Any) -> Value:
        """Return the address of the word that holds a command's first token."""
        word = Cat(command.base[6:], Const(0, 1))[: _word_bits(self.kv)]
        return Cat(word, command.sublayer, command.layer)

    def _decide(self, m: Module, command: Any, room: Value, decided: Signal, bit: Signal) -> None:
        """Decide the next token of `command` into `bit` while there is room."""
        taken = Signal.like(command.count, name="taken")
        needs_logits = ~Value.cast(command.decision)[1]
        waiting = room & (taken != command.count)
        chosen = executes(
            self.logits.payload.logit, execute=command.execute, tie_executes=command.tie_executes
        )
        forced = command.base + taken < command.forced
        m.d.comb += self.logits.ready.eq(waiting & needs_logits)
        with m.If(waiting & (~needs_logits | self.logits.valid)):
            m.d.sync += [taken.eq(taken + 1), decided.eq(1)]
            with m.Switch(command.decision):
                with m.Case(Decision.ROUTE):
                    m.d.sync += bit.eq(chosen | forced)
                with m.Default():
                    m.d.sync += bit.eq(command.decision != Decision.SKIP)
        with m.If(self.logits.valid & self.logits.ready):
            m.d.sync += [
                Assert(self.logits.payload.token == (command.base + taken)[: len(command.base)]),
                Assert(self.logits.payload.last == (taken + 1 == command.count)),
            ]
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += taken.eq(0)

    def _retire(
        self, m: Module, command: Any, move: Value, bit: Value, last: Value, planes: tuple[Any, ...]
    ) -> None:
        """Put `bit` into its word and its position into the list; write a word when it is full."""
        load, address, read, write = planes
        retired = Signal.like(command.count, name="retired")
        executed = Signal.like(command.count, name="executed")
        word, updated = Signal(WORD_BITS), Signal(WORD_BITS)
        position = (command.base + retired)[: len(command.base)]
        offset = position[:6]
        full = last | (offset == WORD_BITS - 1)
        m.d.comb += [
            last.eq(retired + 1 == command.count),
            updated.eq(word),
            updated.bit_select(offset, 1).eq(bit),
            write.addr.eq(address),
            write.data.eq(updated),
            write.en.eq(move & full),
        ]
        with m.If(load):
            m.d.sync += word.eq(read.data)
        with m.If(move):
            m.d.sync += [
                word.eq(Mux(full, read.data, updated)),
                address.eq(address + full),
                retired.eq(retired + 1),
                executed.eq(executed + bit),
            ]
        with m.If(~self.tokens.valid | self.tokens.ready):
            m.d.sync += [self.tokens.valid.eq(move & bit), self.tokens.payload.eq(position)]
        with m.If(self.commands.valid & self.commands.ready):
            end = self.commands.payload.base + self.commands.payload.count
            m.d.sync += [retired.eq(0), executed.eq(0), Assert(end <= self.kv.max_tokens)]
        m.d.comb += [
            self.summary.payload.executed.eq(executed),
            self.summary.payload.skipped.eq(command.count - executed),
            self.summary.payload.empty.eq(executed == 0),
        ]

    def _answer_queries(self, m: Module, port: Any) -> None:
        """Read words; the port's output register holds the answer until it is taken."""
        free = ~self.bits.valid | self.bits.ready
        m.d.comb += [
            self.query.ready.eq(free),
            port.en.eq(free),
            port.addr.eq(Value.cast(self.query.payload)),
            self.bits.payload.eq(port.data),
        ]
        with m.If(free):
            m.d.sync += self.bits.valid.eq(self.query.valid)
