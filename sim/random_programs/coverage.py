"""What random Programs reach: counts of what an interpreted run did."""

from collections import Counter
from collections.abc import Callable, Iterable

from hwroute.isa.fields import QUEUED
from hwroute.isa.instruction import Instruction
from hwroute.isa.table import TABLE
from hwroute.kv import ORDER_FIELDS
from hwroute.models.image import Image
from hwroute.models.interpreter.journal import Journal
from hwroute.models.interpreter.run import Interpreter
from hwroute.models.tile import Values
from hwroute.program import Program
from hwroute.sim.random_programs.case import RandomCase, outcome_of

HIT, KEEP = ORDER_FIELDS.index("hit"), ORDER_FIELDS.index("keep")
Key = tuple[str, str]
"""Kind and name of something counted."""
BRANCHES = ("branch.empty", "branch.zero", "branch.equal", "loop")
DECISIONS = ("compare", "execute", "skip", "tie executes", "tie skips", "first tokens")
KEYS: tuple[Key, ...] = (
    *(("opcode", opcode.name) for opcode in TABLE),
    *(("rule", name) for name in ("dense", "reuse", "evict", "nobody")),
    *(("branch", f"{name} {way}") for name in BRANCHES for way in ("taken", "not taken")),
    *(("mask", name) for name in ("empty", "partial", "full", "last")),
    *(("decision", name) for name in DECISIONS),
    *(("buffer", name) for name in ("hit", "miss", "keep", "stay", "evict")),
    *(("pass", name) for name in ("own", "no own", "part", "grouped", "wide head", "blind row")),
    *(("product", name) for name in ("whole", "first", "middle", "last", "biased", "fp32")),
    *(("edge", f"{a.name.lower()} {b.name.lower()}") for a in QUEUED for b in QUEUED if a != b),
)
"""All that is counted, in the order of the table."""


class Counting(Interpreter):
    """An interpreter that counts what its runs meet.

    Members
    -------
    counts
        How often each of `KEYS` was met.
    """

    def __init__(self, program: Program, image: Image, *, journal: Journal | None = None):
        super().__init__(program, image, journal=journal)
        self.counts: Counter[Key] = Counter(dict.fromkeys(KEYS, 0))

    def _run(self, progress: Callable[[int], None]) -> int:
        puts = super()._run(progress)
        self._count("opcode", "halt")
        return puts

    def _control(self, index: int, one: Instruction) -> int:
        target = super()._control(index, one)
        self._count("opcode", one.name)
        if one.name in BRANCHES:
            taken = target == one["target"]
            self._count("branch", f"{one.name} {'taken' if taken else 'not taken'}")
        return target

    def _perform(self, one: Instruction) -> Values:
        self._count("opcode", one.name)
        for target in one.units("signal"):
            self._count("edge", f"{one.unit.name.lower()} {target.name.lower()}")
        rows = self.state.row_count
        if one["plane"]:
            held = len(self.state.selected(one["plane"]))
            self._count("mask", "empty" if not held else "full" if held == rows else "partial")
        if one.name == "kv.deal":
            self._count_deal(one, rows)
        if one.name == "decide":
            self._count_decision(one)
        written = super()._perform(one)
        if one.name == "select":
            self._count("mask", "last")
        if one.name == "kv.order" and written:
            self._count_order(written)
        if one.name in ("scores", "values") and written:
            self._count_pass(one, written)
        if one.name == "matmul" and written:
            self._count_product(one)
        return written

    def _count(self, kind: str, name: str, times: int = 1) -> None:
        self.counts[kind, name] += times

    def _count_deal(self, one: Instruction, rows: int) -> None:
        held = len(self.state.selected(one["plane"]))
        self._count("rule", "dense" if held == rows else one.choice("rule"))
        if not held:
            self._count("rule", "nobody")

    def _count_decision(self, one: Instruction) -> None:
        rows = self.state.selected(0)
        if one["first_tokens"] > self.state.position:
            self._count("decision", "first tokens")
        self._count("decision", one.choice("mode"))
        if one.choice("mode") == "compare":
            logits = self.state.read_floats(one, "logits", rows, 2)
            ties = int((logits[:, 0] == logits[:, 1]).sum())
            self._count("decision", "tie executes" if one["tie"] else "tie skips", ties)

    def _count_order(self, written: Values) -> None:
        hits, keeps = (written["order"][:, column] == 1 for column in (HIT, KEEP))
        self._count("buffer", "hit", int(hits.sum()))
        self._count("buffer", "miss", int((~hits).sum()))
        self._count("buffer", "keep", int((keeps & ~hits).sum()))
        self._count("buffer", "stay", int((keeps & hits).sum()))
        self._count("buffer", "evict", int((hits & ~keeps).sum()))

    def _count_pass(self, one: Instruction, written: Values) -> None:
        self._count("pass", "own" if one["own"] else "no own")
        for name, there in (
            ("part", one["first"] > 0),
            ("grouped", one["queries"] > 1),
            ("wide head", one["head_lines"] > 1),
            ("blind row", "visible" in written and not written["visible"].any(axis=1).all()),
        ):
            self._count("pass", name, int(there))

    def _count_product(self, one: Instruction) -> None:
        names = {(1, 1): "whole", (1, 0): "first", (0, 0): "middle", (0, 1): "last"}
        self._count("product", names[one["first"], one["last"]])
        self._count("product", "biased", one["biased"] & one["last"])
        self._count("product", "fp32", one["format"] & one["last"])


def coverage(cases: Iterable[RandomCase]) -> Counter[Key]:
    """Return how often runs of the cases met each of `KEYS`."""
    counts: Counter[Key] = Counter(dict.fromkeys(KEYS, 0))
    for case in cases:
        interpreter = Counting(case.program, case.image)
        outcome_of(interpreter, case)
        counts.update(interpreter.counts)
    return counts


def table(counts: Counter[Key]) -> str:
    """Return the counts as text, a line each."""
    return "\n".join(f"{kind:<9} {name:<24} {counts[kind, name]:>8}" for kind, name in KEYS)
