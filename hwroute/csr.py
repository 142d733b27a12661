"""The control and status registers of the overlay: one table, which RTL and host follow.

The first four are those of every Vitis kernel (``ap_ctrl_hs``); arguments follow from 0x10.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

from hwroute.config import Config
from hwroute.isa import fields
from hwroute.isa.fields import QUEUED
from hwroute.isa.parts import TARGET

CONTROL = 0x00
"""Bit 0 start (set by the host, cleared at the end of a run), 1 done (cleared by a read), 2 idle,
3 ready (as done)."""
GLOBAL_INTERRUPT = 0x04
"""Bit 0 lets interrupts out."""
INTERRUPT_ENABLE = 0x08
"""Bits 0 and 1: interrupt when done, when ready."""
INTERRUPT_STATUS = 0x0C
"""The same bits, set by the event where it is enabled; writing a 1 toggles."""
ARGUMENTS = 0x10
STATUS = 0x80
COUNTERS = 0x100
ADDRESS_BITS = 12
"""Of a byte address: the size of the kernel's control interface."""
PITCH = 8
"""Bytes from a register to the next. One of more than 32 bits has two words; reading the low one
keeps the high one of the same cycle for a later read."""
COUNTER_BITS = 48
"""A counter wraps after 14 days at 225 MHz."""

REQUEST_BYTES_BITS = 30
"""Of the bytes of a request to memory: fewer than 2**24 beats of at most 64."""


class Error(IntEnum):
    """Why a run ended before its halt."""

    NONE = 0
    OPCODE = 1
    STRAY = 2
    RANGE = 3
    TARGET = 4
    END = 5
    LOOP = 6
    ROWS = 7
    UNIT = 8
    TOKENS = 9
    DEADLOCK = 10
    TIMEOUT = 11


ERROR_MEANING: Mapping[Error, str] = {
    Error.NONE: "the run came to its halt",
    Error.OPCODE: "no instruction has this opcode",
    Error.STRAY: "a bit is set that belongs to no field",
    Error.RANGE: "a field is out of its range, or a control instruction signals",
    Error.TARGET: "the target is outside the program",
    Error.END: "the program went on past its end",
    Error.LOOP: "the count of a loop was 0",
    Error.ROWS: "a branch on a plane while the register ``rows`` is 0 or above ``tile``",
    Error.UNIT: "a unit could not do an instruction",
    Error.TOKENS: "more tokens waited than a counter holds",
    Error.DEADLOCK: "everything waits for tokens that no instruction at work gives",
    Error.TIMEOUT: "nothing went on for ``timeout`` cycles",
}


class Kind(Enum):
    """What a register is."""

    ARGUMENT = "argument"
    """Written by the host, while nothing runs."""
    STATUS = "status"
    """Read by the host."""
    FLAG = "flag"
    """Set by an event, cleared by the start of a run."""
    COUNTER = "counter"
    """Adds up a number each cycle, from the start of a run."""


@dataclass(frozen=True, kw_only=True)
class Csr:
    """One register.

    Parameters
    ----------
    name, kind, doc
        What it is.
    offset
        Byte address, a multiple of `PITCH`.
    bits
        Width of what is read or written; above 32 it takes two words.
    step_bits
        Of a counter: width of what is added in a cycle.
    """

    name: str
    offset: int
    kind: Kind
    bits: int
    doc: str
    step_bits: int = 0


_ARGUMENTS = (
    ("prompt", 32, "register at the start: tokens of the prompt"),
    ("generate", 32, "register at the start: tokens to generate"),
    ("stop", 32, "register at the start: token id that ends the generation"),
    ("length", TARGET.bits + 1, "instructions of the program"),
    ("first", TARGET.bits, "index of the instruction to start with"),
    ("tile", 9, "most tokens of a tile, as the program was compiled for"),
    ("timeout", 32, "cycles without any progress that end a run; 0 for none"),
    (
        "program",
        fields.ADDRESS_BITS[fields.Kind.DDR],
        "line of DDR where the program's words begin",
    ),
)
_STATUS = (
    ("error", Kind.STATUS, 4, "why the last run ended (`Error`), 0 at a halt"),
    ("error_unit", Kind.STATUS, 3, "unit of the error: 0 the sequencer, else 1 + bit of the unit"),
    ("error_index", Kind.STATUS, TARGET.bits, "index of the instruction at fault"),
    ("overflowed", Kind.FLAG, 1, "whether a conversion to FP16 saturated"),
)
ARGUMENT_BITS: Mapping[str, int] = {name: bits for name, bits, _ in _ARGUMENTS}
"""Widths of the arguments of a run."""
STATUS_BITS: Mapping[str, int] = {
    name: bits for name, kind, bits, _ in _STATUS if kind is Kind.STATUS
}
"""Widths of what is said of a run that ended."""
_UNIT_COUNTERS = {
    "instructions": "instructions started",
    "busy_cycles": "cycles in which one was at work",
    "wait_cycles": "cycles in which the next lacked a token and none was at work",
}
SEQUENCER_COUNTERS: Mapping[str, str] = {
    "cycles": "cycles from start to end",
    "control_instructions": "instructions that the sequencer ran itself",
    "control_wait_cycles": "cycles in which the sequencer waited for units or for a full queue",
    "fetch_wait_cycles": "cycles in which the sequencer waited for an instruction",
} | {
    f"{unit.name.lower()}_{what}": f"{unit.name}: {doc}"
    for unit in QUEUED
    for what, doc in _UNIT_COUNTERS.items()
}
"""Counters of what the sequencer sees, and what they count: 0 or 1 a cycle."""


def csr_table(config: Config) -> tuple[Csr, ...]:
    """Return the registers behind the first four, by offset.

    Raises
    ------
    ValueError
        They do not fit the address space.
    """
    arguments = (
        Csr(name=name, offset=ARGUMENTS + PITCH * place, kind=Kind.ARGUMENT, bits=bits, doc=doc)
        for place, (name, bits, doc) in enumerate(_ARGUMENTS)
    )
    status = (
        Csr(name=name, offset=STATUS + PITCH * place, kind=kind, bits=bits, doc=doc)
        for place, (name, kind, bits, doc) in enumerate(_STATUS)
    )
    counters = (
        Csr(
            name=name,
            offset=COUNTERS + PITCH * place,
            kind=Kind.COUNTER,
            bits=COUNTER_BITS,
            doc=doc,
            step_bits=step_bits,
        )
        for place, (name, step_bits, doc) in enumerate(_counters(config))
    )
    table = (*arguments, *status, *counters)
    if table[-1].offset + PITCH > 1 << ADDRESS_BITS:
        raise ValueError(f"Registers must fit {1 << ADDRESS_BITS} bytes, not {len(table)} of them")
    return table


def _counters(config: Config) -> Iterator[tuple[str, int, str]]:
    """Yield name, width of the step and meaning of every counter."""
    for name, doc in SEQUENCER_COUNTERS.items():
        yield name, 1, doc
    for kind in ("attention", "ffn"):
        for what in ("executed", "skipped"):
            yield f"{kind}_tokens_{what}", 1, f"tokens that {what} an {kind} sub-layer"
    # As many as ports serve in a cycle: banks of the history buffer, HBM ports.
    yield "kv_buffer_entries", 6, "KV entries read from the history buffer"
    yield "kv_hbm_entries", 6, "KV entries read from HBM"
    for way in ("read from", "written to"):
        yield f"ddr_bytes_{way.split()[0]}", REQUEST_BYTES_BITS, f"bytes {way} DDR"
    # Last, for their number depends on the configuration.
    for port in range(config.kv.hbm_ports):
        for way in ("read from", "written to"):
            name = f"hbm{port}_bytes_{way.split()[0]}"
            yield name, REQUEST_BYTES_BITS, f"bytes {way} HBM {port}"
