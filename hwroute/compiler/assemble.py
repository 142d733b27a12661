"""Drafts to a Program: addresses, names and labels become numbers."""

from hwroute.compiler.context import Target
from hwroute.compiler.draft import At, Draft, Value
from hwroute.isa.fields import Field, Kind, Register
from hwroute.isa.instruction import Instruction, check_targets, unit_mask
from hwroute.isa.table import BY_NAME
from hwroute.program import Program


def assemble(drafts: list[Draft], target: Target, tile: int, *, model: str, policy: str) -> Program:
    """Return the Program of all drafts, whose buffers have their addresses."""
    labels: dict[str, int] = {}
    for index, draft in enumerate(drafts):
        for label in draft.labels:
            assert label not in labels, f"label {label} must be unique"
            labels[label] = index
    instructions = tuple(_instruction(draft, labels) for draft in drafts)
    check_targets(instructions)
    return Program(
        model=model,
        policy=policy,
        config=target.config,
        memory=target.memory,
        tile=tile,
        instructions=instructions,
        labels=labels,
        operations=tuple(draft.operation for draft in drafts),
        notes=tuple(draft.note for draft in drafts),
    )


def _instruction(draft: Draft, labels: dict[str, int]) -> Instruction:
    fields = BY_NAME[draft.name].by_name
    values = {name: _number(fields[name], value) for name, value in draft.values.items()}
    if draft.target:
        values["target"] = labels[draft.target]
    values["wait"] = unit_mask(draft.wait)
    values["signal"] = unit_mask(draft.signal)
    return Instruction(draft.name, values)


def _number(field: Field, value: Value) -> int:
    if isinstance(value, At):
        assert value.buffer.address is not None, f"{value.buffer.name} must have an address"
        return value.buffer.address + value.offset
    if isinstance(value, str):
        if field.kind is Kind.REGISTER:
            return Register[value.upper()]
        return field.choices.index(value)
    return value
