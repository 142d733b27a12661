"""The KV unit of the machine: the directory, K and V in HBM, and what brings them to the array."""

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.kv_control import KVControl
from hwroute.rtl.kv_scheduler import KVScheduler
from hwroute.rtl.kv_sweep import EVENTS, KVSweep
from hwroute.rtl.kv_writer import KVWriter
from hwroute.rtl.row_list_layouts import RowListPort

SWEEPS = ("sweep", "batches", "lines_", "exponents_", "entries", "vector_lines", "read_", "beats_")
"""What members of `KVSweep` that the machine sees begin with."""
WRITES = ("read_k", "read_v", "write_", "data_", "answer_")
"""The same of `KVWriter`."""


class KVUnit(wiring.Component):
    """Run the KV instructions (`hwroute.isa.memory`), one at a time, and bring entries.

    `hwroute.timing` has what instructions take: `KV_MAP_CYCLES`, `KV_DEAL_CYCLES` and
    `KV_ORDER_CYCLES` besides their requests to the scheduler, and `kv_write_cycles`. ``kv.order``
    ends when its last entry is stored, ``kv.write`` when the memory has answered.

    An instruction fails if the register ``rows`` is 0 or above the rows of a plane, if a layer or a
    token is beyond the configuration, if nothing was mapped, if a vector is not that of ``kv.map``,
    if a token that is written has no entry, if one of layer 0 is to reuse another's, or if a memory
    refuses something. ``kv.map`` fails where a vector is not whole lines or too long for an entry,
    where exponents are not one byte for each line, and with ``mapping=interleaved``: slots over all
    ports. What fails before it begins changes nothing; the rest may have done a part of its work.

    Parameters
    ----------
    config
        Of the overlay.

    Members
    -------
    issue, done
        Streams of `ISSUED` and `DONE`.
    rows
        `RowListPort`.
    read_k, read_v
        `ReadPort` of the scratchpad.
    write_0, data_0, answer_0, read_0, beats_0, ...
        Streams of each HBM port (`hwroute.rtl.hbm_port`).
    sweep, batches, lines_0, ..., exponents_0, ..., entries, vector_lines
        Of `KVSweep`; ``vector_lines`` is 0 before ``kv.map``.
    memory_error : ``In(1)``
        Any error bit of the ports of the scratchpad.
    read_error : ``Out(1)``
        Pulse: a beat that a sweep read has an error.
    events
        `EVENTS`.
    """

    def __init__(self, config: Config):
        if not isinstance(config, Config):
            raise TypeError(f"Config must be a Config, not {config!r}")
        self.config = config
        self.scheduler = KVScheduler(config.kv)
        self.sweeps = KVSweep(config)
        self.writer = KVWriter(config)
        members: dict[str, Any] = {
            "issue": In(stream.Signature(ISSUED)),
            "done": Out(stream.Signature(DONE)),
            "rows": Out(RowListPort()),
            "memory_error": In(1),
            "read_error": Out(1),
            "events": Out(EVENTS),
        }
        self._passed: dict[str, Any] = {}
        for part, prefixes in ((self.sweeps, SWEEPS), (self.writer, WRITES)):
            for name, member in part.signature.members.items():
                if name.startswith(prefixes) and name not in self._passed:
                    self._passed[name] = part
                    members[name] = member
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.control = control = KVControl(self.config)
        m.submodules.scheduler = scheduler = self.scheduler
        m.submodules.sweeps = sweeps = self.sweeps
        m.submodules.writer = writer = self.writer
        self._pass_through(m)
        connect(m, scheduler.o, sweeps.order)
        connect(m, control.request, scheduler.i)
        connect(m, control.token, writer.i)
        connect(m, flipped(self.issue), control.issue)
        connect(m, control.done, flipped(self.done))
        connect(m, control.rows, flipped(self.rows))
        for name in ("find", "find_layer", "find_token"):
            m.d.comb += getattr(scheduler, name).eq(getattr(control, name))
        for part in (sweeps, writer):
            m.d.comb += [
                part.vector.eq(control.vector),
                part.exponents.eq(control.exponents),
            ]
        m.d.comb += [
            control.found.eq(scheduler.found),
            control.ordered.eq(sweeps.ordered),
            control.written.eq(writer.idle),
            control.failed.eq(writer.failed),
            control.memory_error.eq(self.memory_error),
            sweeps.clear.eq(control.clear),
            sweeps.base.eq(control.base),
            writer.lines.eq(sweeps.vector_lines),
            scheduler.slots.ready.eq(1),
            self.read_error.eq(sweeps.error),
            self.events.eq(sweeps.events),
        ]
        return m

    def _pass_through(self, m: Module) -> None:
        """Connect members of the parts to those of the unit."""
        for name, part in self._passed.items():
            member = part.signature.members[name]
            ours, theirs = getattr(self, name), getattr(part, name)
            if member.is_port:
                m.d.comb += Value.cast(ours).eq(Value.cast(theirs))
            elif member.flow is Out:
                connect(m, theirs, flipped(ours))
            else:
                connect(m, flipped(ours), theirs)
