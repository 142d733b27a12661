"""The array unit of the machine: the PE array and the controls of its three instructions."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hwroute.config import Config
from hwroute.rtl.array import PEArray
from hwroute.rtl.array_dispatch import ArrayDispatch, ArrayKind, connect_open
from hwroute.rtl.issue_layouts import DONE, ISSUED
from hwroute.rtl.matmul import MatmulControl
from hwroute.rtl.row_list_layouts import RowListPort
from hwroute.rtl.scores import ScoresControl
from hwroute.rtl.scratchpad_layouts import ReadPort, WritePort
from hwroute.rtl.statistics_layouts import StatisticsReadPort, StatisticsWritePort
from hwroute.rtl.values import ValuesControl

MATMUL, SCORES, VALUES = ArrayKind


class ArrayUnit(wiring.Component):
    """Run ``matmul``, ``scores`` and ``values`` (`hwroute.isa.compute`).

    Matmuls follow each other, up to the depth of `MatmulControl`; an instruction of another kind
    begins when those before it have ended (`ArrayDispatch`). So all ports but those of weights and
    scales belong to one control at a time.

    Parameters
    ----------
    config
        Of the overlay.

    Members
    -------
    issue, done
        Streams of `ISSUED` and `DONE`.
    list
        `RowListPort`.
    read_x, read_y, write
        Ports of the scratchpad: of input, queries or scores; of biases or a token's own K or V; of
        results.
    statistics, statistics_write
        Ports of the statistics memory.
    weight_request_0, weight_beats_0, ..., scale_request, scale_beats
        As `MatmulControl` has them.
    sweep, batches, lines_0, ..., exponents_0, ..., entries, vector_lines
        Those of the KV unit (`hwroute.rtl.attention_layouts`).
    memory_error : ``In(1)``
        Any error bit of the ports of scratchpad and statistics memory.
    overflow : ``Out(1)``
        A conversion to FP16 saturated.
    """

    def __init__(self, config: Config):
        if not isinstance(config, Config):
            raise TypeError(f"Sizes must be a Config, not {config!r}")
        self.config = config
        self.matmul = MatmulControl(config)
        self.scores = ScoresControl(config)
        self.values = ValuesControl(config)
        own = {
            "issue": In(stream.Signature(ISSUED)),
            "done": Out(stream.Signature(DONE)),
            "list": Out(RowListPort()),
            "read_x": Out(ReadPort()),
            "read_y": Out(ReadPort()),
            "write": Out(WritePort()),
            "statistics": Out(StatisticsReadPort()),
            "statistics_write": Out(StatisticsWritePort()),
            "memory_error": In(1),
            "overflow": Out(1),
        }
        self._memory = _members(self.matmul, "weight_", "scale_")
        self._entries = _members(self.scores, "sweep", "batches", "lines_", "exponents_")
        plain = _members(self.scores, "entries", "vector_lines")
        super().__init__(own | self._memory | self._entries | plain)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.dispatch = dispatch = ArrayDispatch()
        m.submodules.matmul = matmul = self.matmul
        m.submodules.scores = scores = self.scores
        m.submodules.values = values = self.values
        m.submodules.array = array = PEArray(self.config)
        controls: dict[ArrayKind, Any] = {MATMUL: matmul, SCORES: scores, VALUES: values}
        connect(m, flipped(self.issue), dispatch.issue)
        connect(m, dispatch.done, flipped(self.done))
        for kind, control in controls.items():
            name = kind.name.lower()
            connect(m, getattr(dispatch, f"issue_{name}"), control.issue)
            connect(m, control.done, getattr(dispatch, f"done_{name}"))
        for name in self._memory:
            ours, theirs = getattr(self, name), getattr(matmul, name)
            connect(m, flipped(ours), theirs)
        connect(m, matmul.w, array.w)
        self._switch(m, dispatch.kind, controls, array)
        for control in (scores, values):
            m.d.comb += [
                control.entries.eq(self.entries),
                control.vector_lines.eq(self.vector_lines),
                control.memory_error.eq(self.memory_error),
            ]
        m.d.comb += self.overflow.eq(matmul.overflow | scores.overflow)
        return m

    def _switch(
        self, m: Module, kind: Any, controls: dict[ArrayKind, Any], array: wiring.Component
    ) -> None:
        """Connect every shared port to the control that is open."""
        attention = {one: controls[one] for one in (SCORES, VALUES)}
        for name in ("list", "read_x", "write"):
            users = {one: getattr(control, name) for one, control in controls.items()}
            connect_open(m, kind, getattr(self, name), users)
        reads = {one: control.read_y for one, control in attention.items()}
        connect_open(m, kind, self.read_y, {MATMUL: controls[MATMUL].read_bias} | reads)
        connect_open(m, kind, self.statistics, {VALUES: controls[VALUES].statistics})
        for name in ("statistics_write", *self._entries):
            users = {
                one: getattr(control, name)
                for one, control in attention.items()
                if name in control.signature.members
            }
            connect_open(m, kind, getattr(self, name), users)
        # The array's own ports, the other way round.
        for name, members in (("x", controls), ("kv", attention), ("o", controls)):
            users = {one: getattr(control, name) for one, control in members.items()}
            connect_open(m, kind, flipped(getattr(array, name)), users)


def _members(control: wiring.Component, *prefixes: str) -> dict[str, Any]:
    """Return the members whose names begin with one of `prefixes`."""
    members = control.signature.members
    return {name: members[name] for name in members if name.startswith(prefixes)}
