"""The sequencer's own instructions, and its registers."""

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.csr import Error
from hwroute.isa.control import CONTROL
from hwroute.isa.fields import OPCODE, PLANES, Kind, Register, Unit
from hwroute.isa.table import BY_NAME, TABLE
from hwroute.rtl.decoder import DECODED, Fault, fields_of
from hwroute.rtl.issue_layouts import INDEX_BITS, ISSUED, REGISTER_BITS
from hwroute.rtl.pipeline import register
from hwroute.rtl.sequencer_layouts import ARGUMENTS, ERROR, UNITS

FAULTS = {Fault.OPCODE: Error.OPCODE, Fault.STRAY: Error.STRAY, Fault.RANGE: Error.RANGE}
TO_UNIT = data.StructLayout({"queue": UNITS, "issued": ISSUED})
"""An instruction, and the unit that it goes to as one bit."""


class ControlExecutor(wiring.Component):
    """Run control instructions, hand the others on with the registers that they need.

    A control instruction takes `hwroute.timing.CONTROL_CYCLES`: it reads its registers when the
    units that it waits for have finished, and does its work in the next cycle. One for a unit takes
    a cycle, when there is room for it.

    Members
    -------
    i
        Stream of `DECODED`.
    o
        Stream of `TO_UNIT`; ``valid`` may fall when ``enable`` does.
    enable
        The program runs; cleared in the cycle after an error or a halt.
    start
        Take up the arguments, in a cycle without ``enable``.
    arguments
        Of the run.
    pending
        Units that have not finished all they were given.
    plane_any
        Planes that hold a token of the tile's first ``rows``, plane 0 for all of them: as they are,
        or as they were a cycle ago.
    token_valid, token
        New value of the register ``token``, there no later than the end of the argmax.
    rows
        The register.
    redirect, target
        The program goes on at another index.
    index
        Of the instruction that comes next.
    waiting, starved
        Nothing goes on in this cycle, for units or a full queue; for want of an instruction.
    executed, halted
        A control instruction ends in this cycle; the halt does.
    error
        An error in this cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(DECODED)),
                "o": Out(stream.Signature(TO_UNIT)),
                "enable": In(1),
                "start": In(1),
                "arguments": In(ARGUMENTS),
                "pending": In(UNITS),
                "plane_any": In(PLANES),
                "token_valid": In(1),
                "token": In(REGISTER_BITS),
                "rows": Out(REGISTER_BITS),
                "redirect": Out(1),
                "target": Out(INDEX_BITS),
                "index": Out(INDEX_BITS + 1),
                "waiting": Out(1),
                "starved": Out(1),
                "executed": Out(1),
                "halted": Out(1),
                "error": Out(ERROR),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        registers = [Signal(REGISTER_BITS, name=f"register_{one.name.lower()}") for one in Register]
        fields = self._fields(m)
        executing, ended = Signal(), Signal()
        here = self.enable & self.i.valid
        said = self.i.payload
        queued = here & said.queue.any()
        control = here & ~said.queue.any() & (said.fault == Fault.NONE)

        waits = Mux(_opcode(said.word) == BY_NAME["halt"].code, ~Const(0, UNITS), fields["wait"])
        blocked = (waits & self.pending).any()
        with m.If(~self.enable | executing):
            m.d.sync += executing.eq(0)
        with m.Elif(control & ~blocked):
            m.d.sync += executing.eq(1)
        self._execute(m, fields, registers, executing & control)

        self._issue(m, registers, fields, queued)
        m.d.comb += [
            self.rows.eq(registers[Register.ROWS]),
            self.waiting.eq((control & ~executing & blocked) | (queued & ~self.o.ready)),
            ended.eq(self.enable & (self.index >= self.arguments.length)),
            self.starved.eq(self.enable & ~self.i.valid & ~ended),
            self.i.ready.eq(self.executed | (queued & self.o.ready)),
            self.error.unit.eq(0),
            self.error.index.eq(self.index),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self.index.eq(Mux(self.redirect, self.target, self.index + 1))
        with m.If(here), m.Switch(said.fault):
            for fault, error in FAULTS.items():
                with m.Case(fault):
                    m.d.comb += self.error.code.eq(error)
        with m.Elif(ended):
            m.d.comb += self.error.code.eq(Error.END)

        with m.If(self.token_valid):
            m.d.sync += registers[Register.TOKEN].eq(self.token)
        with m.If(self.start):
            m.d.sync += [held.eq(0) for held in registers]
            m.d.sync += self.index.eq(self.arguments.first)
            for one in (Register.PROMPT, Register.GENERATE, Register.STOP):
                m.d.sync += registers[one].eq(self.arguments[one.name.lower()])
        return m

    def _fields(self, m: Module) -> dict[str, Signal]:
        """Return the fields of control instructions; ``a`` is also what an instruction sends."""
        word = self.i.payload.word
        names = {field.name: field.bits for opcode in CONTROL for field in opcode.all_fields}
        fields = {name: Signal(bits, name=name) for name, bits in names.items()}
        common = fields_of(word, "sync")
        m.d.comb += [fields[name].eq(common[name]) for name in ("wait", "plane")]
        with m.Switch(_opcode(word)):
            for opcode in TABLE:
                own = fields_of(word, opcode.name)
                if opcode.unit is Unit.CONTROL:
                    pairs = [(field.name, field.name) for field in opcode.fields]
                else:
                    sent = [f.name for f in opcode.fields if f.kind is Kind.REGISTER]
                    pairs = [("a", name) for name in sent[:1]]
                if pairs:
                    with m.Case(opcode.code):
                        m.d.comb += [fields[name].eq(own[source]) for name, source in pairs]
        return fields

    def _issue(
        self, m: Module, registers: list[Signal], fields: dict[str, Signal], queued: Value
    ) -> None:
        """Hand an instruction to its unit."""
        issued = self.o.payload.issued
        m.d.comb += [
            self.o.valid.eq(queued),
            self.o.payload.queue.eq(self.i.payload.queue),
            issued.word.eq(self.i.payload.word),
            issued.index.eq(self.index),
            issued.position.eq(registers[Register.POSITION]),
            issued.rows.eq(registers[Register.ROWS]),
            issued.value.eq(Array(registers)[fields["a"]]),
        ]

    def _execute(
        self, m: Module, fields: dict[str, Signal], registers: list[Signal], active: Value
    ) -> None:
        """Do the work of the instruction at the input, a cycle after it read its registers."""
        read = {
            name: register(m, 1, Array(registers)[fields[name]], f"read_{name}") for name in "abd"
        }
        a, b, d = read.values()
        value = fields["value"]
        rows = registers[Register.ROWS]
        empty = (rows == 0) | (rows > self.arguments.tile)
        no_rows = register(m, 1, empty, "no_rows")
        outside = register(m, 1, fields["target"] >= self.arguments.length, "outside")
        result, taken, code = Signal(REGISTER_BITS), Signal(), Signal(Error)
        results = {
            "set": value,
            "add": a + b,
            "sub": a - b,
            "min": Mux(a < value, a, value),
            "loop": d - 1,
        }
        conditions = {
            "jump": Const(1),
            "branch.empty": ~self.plane_any.bit_select(fields["plane"], 1),
            "branch.zero": a == 0,
            "branch.equal": a == b,
            "loop": d != 1,
        }
        errors = {"branch.empty": (no_rows, Error.ROWS), "loop": (d == 0, Error.LOOP)}
        writes = Signal()
        with m.Switch(_opcode(self.i.payload.word)):
            for opcode in CONTROL:
                with m.Case(opcode.code):
                    if opcode.name in results:
                        m.d.comb += [result.eq(results[opcode.name]), writes.eq(1)]
                    if opcode.name in conditions:
                        m.d.comb += taken.eq(conditions[opcode.name])
                    if opcode.name in errors:
                        wrong, error = errors[opcode.name]
                        m.d.comb += code.eq(Mux(wrong, error, Error.NONE))
                    if opcode.name == "halt":
                        m.d.comb += self.halted.eq(active)
        with m.If(outside):
            m.d.comb += code.eq(Error.TARGET)
        m.d.comb += [
            self.executed.eq(active & (code == Error.NONE)),
            self.redirect.eq(self.executed & taken),
            self.target.eq(fields["target"]),
        ]
        with m.If(active):
            m.d.comb += self.error.code.eq(code)
        for one in [one for one in Register if one is not Register.ZERO]:
            with m.If(self.executed & writes & (fields["d"] == one)):
                m.d.sync += registers[one].eq(result)


def _opcode(word: Any) -> Value:
    return Value.cast(word)[: OPCODE.bits]
