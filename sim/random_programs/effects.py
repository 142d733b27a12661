"""What an instruction reads and writes, and the tokens that follow from it."""

from collections.abc import Sequence

from hwroute.compiler.dependences import synchronise
from hwroute.compiler.draft import Buffer, Draft, Span, Store
from hwroute.isa.fields import Unit, lines_of
from hwroute.isa.instruction import Instruction, unit_mask

DIRECTORY, ORDER, ENTRIES = (
    Span(Buffer(name=name, store=Store.STATE, size=1)) for name in ("directory", "order", "entries")
)
Spans = tuple[Span, ...]


class _Effects:
    """Reads and writes of one instruction in a tile of at most `tile` tokens.

    A matrix counts from its first line to its last. HBM and DDR are left out, but for K and V:
    no Program here writes the weights, the scales or a table, and only one unit reads the rest.
    """

    def __init__(self, one: Instruction, tile: int):
        self.one = one
        self.tile = tile

    def matrix(self, name: str, lines: int, *, rows: int | None = None) -> Span:
        """Return lines of the scratchpad; without `rows`, a row for each token of the tile."""
        rows = self.tile if rows is None else rows
        size = (rows - 1) * self.one.values.get(f"{name}_pitch", 0) + lines
        return self._span(Store.SCRATCHPAD, self.one[name], size)

    def scored(self, name: str) -> Span:
        """Return the lines of scores."""
        return self._span(
            Store.SCRATCHPAD,
            self.one[name],
            self.tile * self.one["heads"] * self.one[f"{name}_pitch"],
        )

    def words(self, name: str, values: int) -> Span:
        """Return words of the statistics."""
        size = (values - 1) * self.one.values.get("pitch", 0) + self.tile
        return self._span(Store.STATISTICS, self.one[name], size)

    def plane(self, name: str) -> Span:
        """Return a plane."""
        return self._span(Store.PLANE, self.one[name], 1)

    def _span(self, store: Store, address: int, size: int) -> Span:
        return Span(Buffer(name=self.one.name, store=store, size=size, address=address), 0, size)


def effects(one: Instruction, tile: int) -> tuple[Spans, Spans]:
    """Return what an instruction of a unit reads, and what it writes."""
    of = _Effects(one, tile)
    if one.unit in (Unit.DMA, Unit.ROUTER):
        reads, writes = _moves(one, of)
    elif one.unit is Unit.ARRAY:
        reads, writes = _products(one, of)
    elif one.unit is Unit.NPE:
        reads, writes = _vectors(one, of)
    else:
        reads, writes = _entries(one, of)
    if one["plane"]:
        reads = (*reads, of.plane("plane"))
    return reads, writes


def _moves(one: Instruction, of: _Effects) -> tuple[Spans, Spans]:
    if one.name == "load":
        return (), (of.matrix("to", one["lines"], rows=None if one["per_row"] else 1),)
    if one.name == "store":
        return (of.matrix("from", one["lines"], rows=None if one["per_row"] else 1),), ()
    if one.name == "gather":
        return (), (of.matrix("to", one["lines"]),)
    if one.name == "put":
        return (), ()
    logits: Spans = ()
    if one.name == "decide" and one.choice("mode") == "compare":
        logits = (of.words("logits", 2),)
    return logits, (of.plane("to"),)


def _products(one: Instruction, of: _Effects) -> tuple[Spans, Spans]:
    if one.name == "matmul":
        reads: list[Span] = [of.matrix("x", one["lines"])]
        end = one["offset"] + one["columns"]
        if one["last"] and one["biased"]:
            reads.append(of.matrix("bias", lines_of(end), rows=1))
        wide = 2 if one.choice("format") == "fp32" else 1
        return tuple(reads), (of.matrix("out", lines_of(wide * end)),) if one["last"] else ()
    heads, lines = one["heads"], one["head_lines"]
    last = (one["first"] + heads - 1) // one["queries"]
    own = "k" if one.name == "scores" else "v"
    common: Spans = (ORDER, ENTRIES)
    if one["own"]:
        common += (of.matrix(own, (last + 1) * lines, rows=1),)
    maximum = of.words("maximum", heads * (1 + lines))
    if one.name == "scores":
        return (*common, of.matrix("q", heads * lines)), (of.scored("out"), maximum)
    out = of.matrix("out", 2 * heads * lines)
    return (*common, of.scored("scores"), maximum), (out, of.words("sum", heads))


def _vectors(one: Instruction, of: _Effects) -> tuple[Spans, Spans]:
    if one.name == "reduce":
        reads: Spans = (of.matrix("x", one["lines"]),)
        if one["routed"]:
            reads += (of.matrix("router", 2 * one["lines"], rows=1),)
        return reads, (of.words("to", 3 if one["routed"] else 1),)
    if one.name == "normalise":
        lines = one["lines"]
        gain = of.matrix("gain", lines, rows=1)
        return (of.matrix("x", lines), gain, of.words("squares", 1)), (of.matrix("out", lines),)
    if one.name == "rotate":
        x = of.matrix("x", one["heads"] * one["head_lines"])
        return (x, of.matrix("table", one["head_lines"])), (x,)
    if one.name == "swiglu":
        return (of.matrix("x", 2 * one["lines"]),), (of.matrix("out", one["lines"]),)
    if one.name == "residual":
        x = of.matrix("x", one["lines"])
        return (x, of.matrix("y", one["lines"])), (x,)
    if one.name == "divide":
        x = of.matrix("x", 2 * one["heads"] * one["head_lines"])
        end = one["offset"] + one["heads"] * one["elements"]
        return (x, of.words("sum", one["heads"])), (of.matrix("out", lines_of(end)),)
    return (of.matrix("x", lines_of(2 * one["count"]), rows=1),), ()


def _entries(one: Instruction, of: _Effects) -> tuple[Spans, Spans]:
    if one.name == "kv.map":
        return (), (DIRECTORY, ORDER, ENTRIES)
    if one.name == "kv.deal":
        return (), (DIRECTORY,)
    if one.name == "kv.write":
        lines = one["lines"]
        return (DIRECTORY, of.matrix("k", lines), of.matrix("v", lines)), (ENTRIES,)
    return (DIRECTORY,), (ORDER,) if one.name == "kv.order" else ()


def with_tokens(instructions: Sequence[Instruction], tile: int) -> tuple[Instruction, ...]:
    """Return instructions with the tokens and waits that their order needs, and no others.

    What control instructions wait for stays. A loop must go back to a ``sync`` of all units.

    Raises
    ------
    AssertionError
        A target is no control instruction.
    """
    targets = {one["target"] for one in instructions if "target" in one.values}
    drafts = []
    for index, one in enumerate(instructions):
        control = one.unit is Unit.CONTROL
        reads, writes = ((), ()) if control else effects(one, tile)
        drafts.append(
            Draft(
                name=one.name,
                values=dict(one.values),
                reads=reads,
                writes=writes,
                target=str(one["target"]) if "target" in one.values else "",
                labels=[str(index)] if index in targets else [],
                wait=set(one.units("wait")) if control else set(),
            )
        )
    synchronise(drafts)
    return tuple(
        Instruction(
            one.name,
            {**one.values, "wait": unit_mask(draft.wait), "signal": unit_mask(draft.signal)},
        )
        for one, draft in zip(instructions, drafts, strict=True)
    )
