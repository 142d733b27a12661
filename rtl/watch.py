"""Notice what ends a run before its halt."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwroute.csr import Error
from hwroute.rtl.issue_layouts import REGISTER_BITS
from hwroute.rtl.sequencer_layouts import ERROR, UNIT_STATE, UNITS


class Watch(wiring.Component):
    """Keep the first error of a run; of several in a cycle, that of the first unit, then control's.

    A dead-lock is noticed `hwroute.timing.DEADLOCK_CYCLES` after the last thing that went on: no
    instruction is at work, no queue's next one has its tokens, and the sequencer waits for a unit
    or for a full queue. Then no token will ever come, for only the end of an instruction gives one.

    Members
    -------
    clear
        A run begins: forget the error.
    enable
        The program runs.
    active
        It runs, or the units are to finish: the cycles without progress count.
    waiting
        The sequencer waits for units.
    progress
        Something went on in this cycle.
    timeout
        Cycles without progress that are too many; 0 for none.
    control
        Error of the sequencer's own; its index always that of the next instruction.
    units
        State of each unit.
    raised
        The first error comes up in this cycle.
    late
        There was no progress for too long.
    error
        The first error.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "clear": In(1),
                "enable": In(1),
                "active": In(1),
                "waiting": In(1),
                "progress": In(1),
                "timeout": In(REGISTER_BITS),
                "control": In(ERROR),
                "units": In(data.ArrayLayout(UNIT_STATE, UNITS)),
                "raised": Out(1),
                "late": Out(1),
                "error": Out(ERROR),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        units = [self.units[unit] for unit in range(UNITS)]
        found = Signal(ERROR)
        quiet = Signal(REGISTER_BITS)
        m.d.sync += quiet.eq(Mux(self.active & ~self.progress & ~self.raised, quiet + 1, 0))
        m.d.comb += self.late.eq(self.active & self.timeout.any() & (quiet == self.timeout))

        stuck = Cat(~unit.in_flight & (~unit.pending | unit.blocked) for unit in units).all()
        deadlock = Signal()
        m.d.sync += deadlock.eq(self.enable & self.waiting & stuck)

        # The last assignment counts: what comes first here yields to what comes behind it.
        m.d.comb += found.index.eq(self.control.index)
        with m.If(self.enable):
            m.d.comb += found.code.eq(self.control.code)
        with m.If(self.late):
            m.d.comb += found.code.eq(Error.TIMEOUT)
            self._first(m, found, [unit.in_flight for unit in units], "oldest_index")
        with m.If(self.enable & deadlock):
            m.d.comb += found.code.eq(Error.DEADLOCK)
            self._first(m, found, [unit.blocked for unit in units], "next_index")
        for name, code in (("lost", Error.TOKENS), ("failed", Error.UNIT)):
            those = [unit[name] for unit in units]
            with m.If(self.enable & Cat(those).any()):
                m.d.comb += found.code.eq(code)
                self._first(m, found, those, "oldest_index")

        m.d.comb += self.raised.eq((found.code != Error.NONE) & (self.error.code == Error.NONE))
        with m.If(self.raised):
            m.d.sync += self.error.eq(found)
        with m.If(self.clear):
            m.d.sync += self.error.eq(0)
        return m

    def _first(self, m: Module, found: Any, those: list[Value], index: str) -> None:
        """Blame the first unit of those, if there is one."""
        for unit in reversed(range(UNITS)):
            with m.If(those[unit]):
                m.d.comb += [found.unit.eq(1 + unit), found.index.eq(self.units[unit][index])]
