"""The sequencer: fetch a program, run its control instructions, feed the units in their order."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.isa.fields import PLANES, QUEUED, Unit
from hwroute.rtl.control import ControlExecutor
from hwroute.rtl.decoder import WORD
from hwroute.rtl.fetch import Fetch
from hwroute.rtl.issue_layouts import DONE, INDEX_BITS, ISSUED, REGISTER_BITS
from hwroute.rtl.sequencer_layouts import ARGUMENTS, ERROR, EVENTS
from hwroute.rtl.token_counters import TokenCounters
from hwroute.rtl.unit_queue import UnitQueue
from hwroute.rtl.watch import Watch
from hwroute.sequencer_config import SequencerConfig


class Sequencer(wiring.Component):
    """Run a program over the units. Latencies and rates: `hwroute.timing`, "Sequencer".

    A run begins with ``start`` while ``idle``, when the units have finished what an earlier run
    left; it ends with ``finished``, at the halt or, with an error, when no instruction is at work
    any more. Every queue, token and register is then forgotten.

    Parameters
    ----------
    config
        Sizes.

    Members
    -------
    start, arguments
        Begin a run; `ARGUMENTS` stay as they are up to its end.
    idle, finished
        No run goes on; one ends in this cycle.
    error
        `ERROR` of the last run, from its end on.
    requests, words
        Instruction memory, as `hwroute.rtl.fetch.Fetch` has it.
    issue_dma, issue_array, ...
        Streams of `ISSUED`, one a unit.
    done_dma, done_array, ...
        Streams of `DONE`, one a unit.
    plane_any, token_valid, token, rows
        As `hwroute.rtl.control.ControlExecutor` has them.
    events
        `EVENTS` of this cycle, for counters.
    """

    def __init__(self, config: SequencerConfig):
        if not isinstance(config, SequencerConfig):
            raise TypeError(f"Sizes must be a SequencerConfig, not {config!r}")
        self.config = config
        members: dict[str, Any] = {
            "start": In(1),
            "arguments": In(ARGUMENTS),
            "idle": Out(1),
            "finished": Out(1),
            "error": Out(ERROR),
            "requests": Out(stream.Signature(INDEX_BITS)),
            "words": In(stream.Signature(WORD)),
            "plane_any": In(PLANES),
            "token_valid": In(1),
            "token": In(REGISTER_BITS),
            "rows": Out(REGISTER_BITS),
            "events": Out(EVENTS),
        }
        for unit in QUEUED:
            members[f"issue_{unit.name.lower()}"] = Out(stream.Signature(ISSUED))
            members[f"done_{unit.name.lower()}"] = In(stream.Signature(DONE))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        clear, enable = Signal(), Signal()
        m.submodules.fetch = fetch = Fetch(self.config)
        m.submodules.control = control = ControlExecutor()
        m.submodules.watch = watch = Watch()
        queues = self._queues(m, clear, enable, watch)
        self._control(m, control, fetch, clear, enable)

        states = [watch.units[unit] for unit in QUEUED]
        m.d.comb += control.pending.eq(Cat(state.pending for state in states))
        for unit, queue in queues.items():
            chosen = control.o.payload.queue[unit]
            m.d.comb += [
                queue.i.payload.eq(control.o.payload.issued),
                queue.i.valid.eq(control.o.valid & chosen),
            ]
            with m.If(chosen):
                m.d.comb += control.o.ready.eq(queue.i.ready)
        at_work = Cat(state.in_flight for state in states).any()
        ends = Cat(queue.done.valid for queue in queues.values()).any()
        starts = Cat(queue.start for queue in queues.values()).any()
        moves = control.executed | (control.o.valid & control.o.ready)
        m.d.comb += [
            watch.enable.eq(enable),
            watch.active.eq(~self.idle),
            watch.clear.eq(self.idle & self.start),
            watch.waiting.eq(control.waiting),
            watch.progress.eq(moves | starts | ends | clear),
            watch.timeout.eq(self.arguments.timeout),
            watch.control.eq(control.error),
            self.error.eq(watch.error),
        ]
        self._run(m, control, watch, at_work, (clear, enable))
        self._count(m, control, queues, states, enable)
        return m

    def _run(
        self, m: Module, control: Any, watch: Any, at_work: Value, now: tuple[Signal, Signal]
    ) -> None:
        """Go from start to end."""
        clear, enable = now
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.start):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.comb += clear.eq(~at_work)
                with m.If(clear):
                    m.next = "RUN"
                with m.Elif(watch.late):
                    m.next = "DRAIN"
            with m.State("RUN"):
                m.d.comb += enable.eq(1)
                with m.If(watch.raised):
                    m.next = "DRAIN"
                with m.Elif(control.halted):
                    m.d.comb += self.finished.eq(1)
                    m.next = "IDLE"
            with m.State("DRAIN"), m.If(~at_work | watch.late):
                m.d.comb += self.finished.eq(1)
                m.next = "IDLE"

    def _queues(
        self, m: Module, clear: Signal, enable: Signal, watch: Any
    ) -> dict[Unit, UnitQueue]:
        """Place the units' queues and the tokens between them."""
        reset = ResetInserter(clear)
        tokens = TokenCounters(bits=self.config.token_bits)
        m.submodules.tokens = reset(tokens)
        queues = {}
        for unit in QUEUED:
            name = unit.name.lower()
            queues[unit] = queue = UnitQueue(self.config)
            m.submodules[f"queue_{name}"] = reset(queue)
            wiring.connect(m, queue.o, wiring.flipped(getattr(self, f"issue_{name}")))
            wiring.connect(m, wiring.flipped(getattr(self, f"done_{name}")), queue.done)
            state: Any = watch.units[unit]
            m.d.comb += [
                queue.enable.eq(enable),
                queue.available.eq(tokens.available[unit]),
                tokens.take[unit].eq(queue.take),
                tokens.give[unit].eq(queue.give),
                state.failed.eq(queue.done.valid & queue.done.payload.error),
                state.lost.eq(tokens.overflow[unit].any()),
            ]
            for what in ("pending", "in_flight", "blocked", "next_index", "oldest_index"):
                m.d.comb += state[what].eq(getattr(queue, what))
        return queues

    def _control(self, m: Module, control: Any, fetch: Any, clear: Signal, enable: Signal) -> None:
        """Connect fetch and control to each other and to the outside."""
        for name in ("requests", "words"):
            wiring.connect(m, getattr(fetch, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, fetch.o, control.i)
        m.d.comb += [
            fetch.enable.eq(enable),
            fetch.redirect.eq(control.redirect | clear),
            fetch.target.eq(Mux(clear, self.arguments.first, control.target)),
            fetch.length.eq(self.arguments.length),
            control.enable.eq(enable),
            control.start.eq(clear),
            control.arguments.eq(self.arguments),
            control.plane_any.eq(self.plane_any),
            control.token_valid.eq(self.token_valid),
            control.token.eq(self.token),
            self.rows.eq(control.rows),
        ]

    def _count(
        self,
        m: Module,
        control: Any,
        queues: dict[Unit, UnitQueue],
        states: list[Any],
        enable: Signal,
    ) -> None:
        """Say what went on, for the counters; what a run left in a queue does not wait any more."""
        m.d.comb += [
            self.events.cycles.eq(~self.idle),
            self.events.control_instructions.eq(control.executed),
            self.events.control_wait_cycles.eq(control.waiting),
            self.events.fetch_wait_cycles.eq(control.starved),
        ]
        for unit, queue in queues.items():
            name, state = unit.name.lower(), states[unit]
            m.d.comb += [
                self.events[f"{name}_instructions"].eq(queue.start),
                self.events[f"{name}_busy_cycles"].eq(state.in_flight),
                self.events[f"{name}_wait_cycles"].eq(enable & state.blocked & ~state.in_flight),
            ]
