"""What a host sees and what drives the units: control registers and sequencer in one."""

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hwroute.config import Config
from hwroute.csr import ARGUMENT_BITS, SEQUENCER_COUNTERS
from hwroute.rtl.csr import ControlRegisters
from hwroute.rtl.sequencer import Sequencer
from hwroute.sequencer_config import SequencerConfig

STATUS = {"error": "code", "error_unit": "unit", "error_index": "index"}
"""Registers, and the fields of the error that they show."""
BETWEEN = ("start", "idle", "finished", "arguments", "error", "events")
"""Members of the sequencer that the control registers serve."""


class Controller(wiring.Component):
    """Run programs for a host.

    Parameters
    ----------
    config
        Of the overlay.
    sequencer
        Sizes of the sequencer.

    Members
    -------
    aw, w, b, ar, r, irq
        Of `ControlRegisters`; so is every flag and counter but those of `SEQUENCER_COUNTERS`.
    started, program
        A run begins in this cycle; the argument of this name, which the sequencer does not need.
    requests, words, issue_dma, ..., done_dma, ..., plane_any, token_valid, token, rows
        Of `Sequencer`.
    """

    def __init__(self, config: Config, sequencer: SequencerConfig | None = None):
        self.registers = ControlRegisters(config)
        self.sequencer = Sequencer(sequencer or SequencerConfig())
        inner = {*BETWEEN, *ARGUMENT_BITS, *STATUS, *SEQUENCER_COUNTERS}
        self._outer = {
            name: part
            for part in (self.registers, self.sequencer)
            for name in part.signature.members
            if name not in inner
        }
        members = {name: part.signature.members[name] for name, part in self._outer.items()}
        program = self.registers.signature.members["program"]
        super().__init__(members | {"started": Out(1), "program": program})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.registers = registers = self.registers
        m.submodules.sequencer = sequencer = self.sequencer
        for name, part in self._outer.items():
            member = part.signature.members[name]
            ours, theirs = getattr(self, name), getattr(part, name)
            if not member.is_port:
                wiring.connect(m, wiring.flipped(ours), theirs)
            elif member.flow is wiring.In:
                m.d.comb += Value.cast(theirs).eq(Value.cast(ours))
            else:
                m.d.comb += Value.cast(ours).eq(Value.cast(theirs))
        m.d.comb += [
            self.started.eq(registers.start),
            self.program.eq(registers.program),
            sequencer.start.eq(registers.start),
            registers.idle.eq(sequencer.idle),
            registers.finished.eq(sequencer.finished),
            *(sequencer.arguments[name].eq(getattr(registers, name)) for name in ARGUMENT_BITS),
            *(
                getattr(registers, name).eq(sequencer.error[field])
                for name, field in STATUS.items()
            ),
            *(getattr(registers, name).eq(sequencer.events[name]) for name in SEQUENCER_COUNTERS),
        ]
        return m
