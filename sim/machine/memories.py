"""What a run left in DDR and HBM, against the interpreter's, told by the instruction at fault."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.isa.fields import LINE_BYTES, Unit
from hwroute.models.interpreter import Interpreter
from hwroute.models.interpreter.journal import Journal, Space, Step
from hwroute.sim.machine.divergence import NOTHING, Divergence, Place, Reporter, decoded
from hwroute.sim.machine.pending import PLACES

Bytes = NDArray[np.uint8]
WRITERS = {Space.DDR: Unit.DMA, Space.HBM: Unit.KV}


def compare_memories(interpreter: Interpreter, ddr: Bytes, hbm: Bytes) -> Divergence | None:
    """Return the first instruction whose bits are not in a memory, None where all is equal.

    A place is that of the last instruction that wrote there. Where none did the divergence is
    ``extra``, at the last instruction of the unit that writes this memory.

    Parameters
    ----------
    interpreter
        After the same run, with a journal.
    ddr, hbm
        uint8 [lines, 128] and [ports, beats, 32]; beyond the image they must be zero.

    Raises
    ------
    ValueError
        The interpreter kept no journal, or a memory is smaller than its image.
    """
    state = interpreter.state
    if not state.journal:
        raise ValueError("interpreter must have a journal, not None")
    golden_ddr = state.ddr.view(np.uint8).reshape(-1, LINE_BYTES)
    pairs = (
        (Space.DDR, _padded(golden_ddr, ddr).view(np.uint16), ddr.view(np.uint16)),
        (Space.HBM, _padded(state.hbm, hbm), hbm),
    )
    found = [_first(state.journal, space, ours, theirs) for space, ours, theirs in pairs]
    ranked = [one for one in found if one]
    if not ranked:
        return None
    number, space, place, element, ours, theirs = min(ranked, key=lambda one: one[0])
    written = number < len(state.journal.steps)
    step = _last_of(state.journal, WRITERS[space])
    if written:
        step = state.journal.steps[number]
    at = dict(zip(PLACES[space], place, strict=True)) | {"element": element}
    shown = [decoded(step.instruction, space, "", value, 0) for value in (ours, theirs)]
    return Reporter(interpreter.program).report(
        step,
        "memory" if written else "extra",
        -1,
        shown[0] if written else f"{NOTHING}, leaving {shown[0]}",
        shown[1],
        Place(space=space.value, at=at),
    )


def _padded(golden: Bytes, memory: Bytes) -> Bytes:
    """Return the interpreter's memory with zeros behind it, as long as the machine's."""
    axis = golden.ndim - 2
    room = memory.shape[axis] - golden.shape[axis]
    if memory.ndim != golden.ndim or room < 0:
        raise ValueError(f"memory must be at least {golden.shape}, not {memory.shape}")
    widths = [(0, room if number == axis else 0) for number in range(golden.ndim)]
    return np.pad(golden, widths)


def _first(
    journal: Journal, space: Space, ours: NDArray[Any], theirs: NDArray[Any]
) -> tuple[int, Space, tuple[int, ...], int, int, int] | None:
    """Return the first step at fault, the place, the element and both values."""
    wrong = {tuple(place) for place in np.argwhere((ours != theirs).any(axis=-1)).tolist()}
    if not wrong:
        return None
    left, first = set(wrong), (len(journal.steps), min(wrong))
    for number in range(len(journal.steps) - 1, -1, -1):
        for write in journal.steps[number].writes:
            if write.space is not space or not left:
                continue
            places = [tuple(one) for one in write.places.reshape(len(write.places), -1).tolist()]
            hit = next((place for place in places if place in left), None)
            left.difference_update(places)
            first = (number, hit) if hit is not None else first
    number, place = first
    element = int(np.argmax(ours[place] != theirs[place]))
    return number, space, place, element, int(ours[place][element]), int(theirs[place][element])


def _last_of(journal: Journal, unit: Unit) -> Step:
    """Return the last step of a unit, of any where it has none."""
    return next((one for one in reversed(journal.steps) if one.unit is unit), journal.steps[-1])
