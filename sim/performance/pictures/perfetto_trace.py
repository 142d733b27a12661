"""A timeline for https://ui.perfetto.dev: who was busy when, and how busy the memories were."""

from itertools import count
from pathlib import Path

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackDescriptor, TrackEvent
from perfetto.trace_builder.proto_builder import TraceProtoBuilder

from hwroute.errors import InputError
from hwroute.program import Program
from hwroute.sim.performance.moves import Move, levels
from hwroute.sim.performance.pictures.style import UNIT_NAMES
from hwroute.sim.performance.result import Event, Run

SEQUENCE = 1
"""All packets are of one sequence, in order."""
MOST_CHANGES = 20_000
"""Of a counter; a long prompt has more, and is averaged."""


def write_trace(program: Program, run: Run, hertz: float, path: Path) -> None:
    """Write the timeline of a run; the bytes depend on the run alone.

    Instructions are slices, from issue to end, each with what it was issued with and what it
    moved. A unit that works on several at a time has several tracks of its name. Times are in ns,
    those of an instruction in cycles beside it.

    Parameters
    ----------
    program, run
        What was run, and what came of it.
    hertz
        Clock of the machine.
    path
        File to write.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    trace = _Trace(program, hertz)
    for unit, name in UNIT_NAMES.items():
        for lane in lanes([event for event in run.events if event.unit is unit]):
            trace.slices(name, lane)
    trace.counter("HBM ports busy", run.hbm_moves)
    trace.counter("DDR port busy", run.ddr_moves)
    try:
        path.write_bytes(trace.builder.serialize())
    except OSError as error:
        raise InputError(f"timeline {path} must be writable: {error}") from error


def lanes(events: list[Event]) -> list[list[Event]]:
    """Return the events in as few lists as there were under way at a time, each in order."""
    found: list[list[Event]] = []
    for event in sorted(events, key=lambda one: (one.issued, one.retired)):
        free = (lane for lane in found if lane[-1].retired <= event.issued)
        lane = next(free, None)
        if lane is None:
            lane = []
            found.append(lane)
        lane.append(event)
    return found


class _Trace:
    """A trace that is being built.

    Parameters
    ----------
    program, hertz
        As in `write_trace`.
    """

    def __init__(self, program: Program, hertz: float):
        self.program = program
        self.hertz = hertz
        self.builder = TraceProtoBuilder()
        self._tracks = count(1)
        # One track holds all others, which so stand in the order in which they come.
        root = self.builder.add_packet().track_descriptor
        root.uuid, root.name = next(self._tracks), program.model
        root.child_ordering = root.EXPLICIT
        self._root = root.uuid

    def slices(self, name: str, events: list[Event]) -> None:
        """Add a track of instructions, none of which begins before the one before has ended."""
        track = self._track(name).uuid
        for event in events:
            begin = self._event(event.issued, track)
            begin.type = begin.TYPE_SLICE_BEGIN
            begin.name = event.name
            self._describe(begin, event)
            end = self._event(event.retired, track)
            end.type = end.TYPE_SLICE_END

    def counter(self, name: str, moves: list[Move]) -> None:
        """Add a track of how many ports are busy."""
        descriptor = self._track(name)
        descriptor.counter.unit_name = "ports"
        track = descriptor.uuid
        times, values = levels(moves, MOST_CHANGES)
        for time, value in zip(times.tolist(), values.tolist(), strict=True):
            event = self._event(time, track)
            event.type = event.TYPE_COUNTER
            event.double_counter_value = value

    def _track(self, name: str) -> TrackDescriptor:
        """Add a track below the others."""
        descriptor = self.builder.add_packet().track_descriptor
        descriptor.uuid = descriptor.sibling_order_rank = next(self._tracks)
        descriptor.parent_uuid, descriptor.name = self._root, name
        return descriptor

    def _event(self, cycle: float, track: int) -> TrackEvent:
        packet = self.builder.add_packet()
        packet.timestamp = round(cycle * 1e9 / self.hertz)
        packet.trusted_packet_sequence_id = SEQUENCE
        packet.track_event.track_uuid = track
        return packet.track_event

    def _describe(self, slice_: TrackEvent, event: Event) -> None:
        """Write beside a slice what is known of its instruction."""
        text = slice_.debug_annotations.add()
        text.name = "operation"
        text.string_value = self.program.operations[event.index]
        numbers = {
            "index": event.index,
            "position": event.position,
            "rows": event.rows,
            "handed, cycle": event.handed,
            "issued, cycle": event.issued,
            "retired, cycle": event.retired,
            "products": event.products,
            **{f"{kind}, bytes": size for kind, size in event.moved.items()},
        }
        for name, value in numbers.items():
            note = slice_.debug_annotations.add()
            note.name = name
            note.int_value = int(value)
