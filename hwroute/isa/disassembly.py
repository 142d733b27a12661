"""A program as text that a person reads, from which `hwroute.isa.assembly` makes it again.

::

    .model "tiny"
    .config kv.hbm_ports 4
    .region head matrix 0x40 512 plain lm_head.weight

    prefill.layers.3.attention:
        matmul       x=0x40 columns=64 weights=head+0x10 last plane=p2 wait=dma ; [head] block 1
        branch.empty target=prefill.layers.3.ffn plane=p2 wait=router

Directives come first, then labels and instructions, one a line. Behind ``;`` stands the operation
that an instruction is part of, in brackets, and a note. Other comments are lines of their own.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hwroute.config import to_dict
from hwroute.isa.fields import COMMON, Opcode
from hwroute.isa.instruction import Instruction
from hwroute.isa.operands import Operands
from hwroute.memory_map import MemoryMap
from hwroute.program import Program

FORMAT = 1
"""Version of the syntax."""
INDENT = " " * 4
MNEMONIC_WIDTH = 12
LAST_COMMENT_COLUMN = 84
"""Comments are aligned up to here; a longer line has its own directly behind it."""


def to_text(program: Program) -> str:
    """Return the listing of a program."""
    lines = [
        f".format {FORMAT}",
        f".model {json.dumps(program.model)}",
        f".policy {json.dumps(program.policy)}",
        f".tile {program.tile}",
        f".context {program.memory.context}",
        *(
            f".config {name} {json.dumps(value)}"
            for name, value in _leaves(to_dict(program.config))
        ),
        *_regions(program.memory),
        "",
    ]
    return "\n".join([*lines, *_code(program)]) + "\n"


def sublayer(operation: str) -> str:
    """Return the sub-layer that an operation is part of, or what else its name begins with."""
    layer = operation.split(".")[:3]
    return ".".join(layer) if layer[0] == "layers" else layer[0]


def comment(operation: str, note: str) -> str:
    """Return what stands behind ``;``, "" for nothing."""
    bracketed = f"[{operation}]" if operation or note.startswith("[") else ""
    return " ".join(part for part in (bracketed, note) if part)


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``a.b`` and value of everything in nested tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _regions(memory: MemoryMap) -> Iterator[str]:
    width = max((len(region.name) for region in memory.regions), default=0)
    for region in memory.regions:
        place = f"{region.address:#9x} {region.size:>8}"
        made = " ".join([region.arrangement.value, *region.tensors])
        yield f".region {region.name:<{width}} {region.content.value:<9} {place} {made}"


def _code(program: Program) -> Iterator[str]:
    """Yield the lines of labels and instructions, sub-layer by sub-layer."""
    operands = Operands(program.memory, program.labels)
    labels: dict[int, list[str]] = {}
    for name, index in program.labels.items():
        labels.setdefault(index, []).append(name)
    part, block = "", list[tuple[str, str]]()
    for index, one in enumerate(program.instructions):
        operation = program.operations[index]
        if operation and sublayer(operation) != part:
            yield from _aligned(block)
            block = []
            part = sublayer(operation)
            yield from ("", f"; {part}")
        block += [(f"{name}:", "") for name in labels.get(index, [])]
        block.append((instruction_text(one, operands), comment(operation, program.notes[index])))
    yield from _aligned(block)


def instruction_text(one: Instruction, operands: Operands) -> str:
    """Return the line of an instruction, without its comment."""
    shown = (operands.write(one.opcode.by_name[name], one[name]) for name in _order(one.opcode))
    words = " ".join(word for word in shown if word)
    return f"{INDENT}{one.name:<{MNEMONIC_WIDTH}} {words}".rstrip()


def _order(opcode: Opcode) -> list[str]:
    """Return the fields in the order of the listing: its own, then plane, wait and signal."""
    common = [field.name for field in COMMON]
    own = [name for name in opcode.by_name if name not in common]
    return [*own, "plane", "wait", "signal"]


def _aligned(block: list[tuple[str, str]]) -> Iterator[str]:
    """Yield lines with their comments below each other."""
    fitting = [len(line) for line, behind in block if behind and len(line) < LAST_COMMENT_COLUMN]
    column = max(fitting, default=0)
    for line, behind in block:
        yield f"{line:<{column}} ; {behind}" if behind else line
