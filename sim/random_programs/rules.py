"""Rules of a legal Program that the interpreter does not need and a machine relies on."""

from functools import partial

import numpy as np

from hwroute.isa.fields import Kind, Register, Unit
from hwroute.isa.instruction import Instruction
from hwroute.kv import ORDER_FIELDS
from hwroute.models.image import Image
from hwroute.models.interpreter.journal import Journal
from hwroute.models.interpreter.run import Interpreter
from hwroute.models.interpreter.state import MachineError
from hwroute.models.tile import Values
from hwroute.program import Program
from hwroute.sim.random_programs.case import MismatchError, RandomCase, check, outcome_of
from hwroute.sim.random_programs.effects import with_tokens
from hwroute.sim.random_programs.overlapped import overlapped
from hwroute.sim.random_programs.passes import LINE_BEATS

HIT, TOKEN, SOURCE = (ORDER_FIELDS.index(name) for name in ("hit", "token", "source_layer"))
PASS_FIELDS = ("plane", "heads", "first", "queries", "head_lines", "own", "maximum", "pitch")


class RuleError(MachineError):
    """A rule is broken; the message says which."""


class Ruled(Interpreter):
    """An interpreter that holds a Program to the rules.

    - A plane is read in as many rows as were decided.
    - K and V of a token and layer are written once, and before they are read.
    - An order that keeps or hits is used for all KV heads by both passes before the next.
    - A pass of values follows its pass of scores, and no sum that is divided by is zero.
    - Partial sums, and the parts of an argmax, follow each other from the first to the last.
    - The token is read when the unit that writes it has finished.
    """

    def __init__(self, program: Program, image: Image):
        super().__init__(program, image)
        self._begin()

    def _begin(self) -> None:
        self._decided: dict[int, int] = {}
        self._written: set[tuple[int, int]] = set()
        self._ordered = False
        self._open: dict[str, set[int]] = {}
        self._scored: set[tuple[int, ...]] = set()
        self._partial: tuple[int, int] | None = None
        self._argmax = False
        self._token_pending = False
        self._heads = 0

    def _reset(self) -> None:
        super()._reset()
        self._begin()

    def _control(self, index: int, one: Instruction) -> int:
        if Unit.NPE in one.units("wait"):
            self._token_pending = False
        if one.name == "branch.empty":
            _require(Unit.ROUTER in one.units("wait"), "branch.empty must wait for the router")
            self._check_plane(one)
        self._check_token(one)
        return super()._control(index, one)

    def _perform(self, one: Instruction) -> Values:
        self._check_plane(one)
        self._check_token(one)
        held = len(self.state.selected(one["plane"])) if one["plane"] else 1
        if held or one.name == "kv.deal":
            self._check(one)
        written = super()._perform(one)
        if "order" in written:
            self._check_order(one, written)
        return written

    def _check_plane(self, one: Instruction) -> None:
        rows = self._decided.get(one["plane"], 0)
        _require(not one["plane"] or self.state.row_count <= rows, "a plane must hold the tile")

    def _check_token(self, one: Instruction) -> None:
        fields = one.opcode.by_name.items()
        read = {one[name] for name, field in fields if field.kind is Kind.REGISTER and name != "d"}
        if one.name == "loop":
            read.add(one["d"])
        pending = self._token_pending and Register.TOKEN in read
        _require(not pending, "the token must be read behind a wait for the NPE")

    def _check(self, one: Instruction) -> None:
        if one.unit is Unit.ROUTER:
            self._decided[one["to"]] = self.state.row_count
        elif one.name == "argmax":
            _require(
                bool(one["first"] or self._argmax), "parts of an argmax must begin with the first"
            )
            self._argmax = not one["last"]
            self._token_pending |= bool(one["last"])
        elif one.name == "divide":
            rows = self.state.selected(one["plane"])
            sums = self.state.read_floats(one, "sum", rows, one["heads"])
            _require(bool((sums > 0).all()), "sums that are divided by must be above 0")
        elif one.unit is Unit.ARRAY:
            self._check_array(one)
        elif one.unit is Unit.KV:
            self._check_kv(one)

    def _check_array(self, one: Instruction) -> None:
        if one.name == "matmul":
            key = (one["plane"], one["columns"])
            started = one["first"] or self._partial == key
            _require(bool(started), "partial sums must follow their first part")
            self._partial = None if one["last"] else key
            return
        _require(self._partial is None, "partial sums must not be cut by another product")
        _require(self._ordered, "a pass must follow an order")
        place = "out" if one.name == "scores" else "scores"
        fields = (*(one[name] for name in PASS_FIELDS), one[place], one[f"{place}_pitch"])
        if one.name == "scores":
            self._scored.add(fields)
        _require(fields in self._scored, "values must follow their scores")
        first, last = one["first"], one["first"] + one["heads"] - 1
        heads = set(range(first // one["queries"], last // one["queries"] + 1))
        if self._open:
            self._heads = self._vector_lines // one["head_lines"]
            self._open[one.name] |= heads
            if all(len(found) == self._heads for found in self._open.values()):
                self._open = {}

    def _check_kv(self, one: Instruction) -> None:
        if one.name == "kv.map":
            self._written = set()
            self._ordered = False
            self._open = {}
            self._vector_lines = one["vector"] // LINE_BEATS
        elif one.name == "kv.write":
            rows = self.state.selected(one["plane"])
            entries = {(one["layer"], self.state.position + int(row)) for row in rows}
            _require(not entries & self._written, "K and V must be written once")
            self._written |= entries

    def _check_order(self, one: Instruction, written: Values) -> None:
        _require(not self._open, "an order that keeps or hits must be used for all heads")
        order = written["order"]
        entries = {(int(row[SOURCE]), int(row[TOKEN])) for row in order}
        _require(entries <= self._written, "K and V must be written before they are read")
        self._ordered = True
        self._scored = set()
        if one["ahead"] or order[:, HIT].any():
            self._open = {"scores": set(), "values": set()}


class Littered(Interpreter):
    """An interpreter whose scratchpad and statistics begin with numbers, as a machine's may."""

    def _reset(self) -> None:
        super()._reset()
        numbers = np.random.default_rng(1)
        for memory in (self.state.scratchpad, self.state.statistics):
            # Positive, finite and below one, in FP16 as in FP32.
            largest = 0x3C << 8 * (memory.itemsize - 1)
            memory[:] = numbers.integers(1, largest, memory.shape, memory.dtype)


def _writes(interpreter: Interpreter, case: RandomCase) -> list[tuple[object, ...]]:
    """Run an interpreter that has a journal; return all that was written, in order."""
    with np.errstate(all="ignore"):
        outcome_of(interpreter, case)
    assert interpreter.state.journal
    return [
        (
            step.index,
            write.space,
            write.places.tobytes(),
            (write.bits if write.mask is None else write.bits * write.mask).tobytes(),
        )
        for step in interpreter.state.journal.steps
        for write in step.writes
    ]


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise RuleError(rule)


def require_legal(case: RandomCase) -> None:
    """Run a case with the rules, over what a machine may begin with, and at two paces.

    Raises
    ------
    MachineError, ValueError, AssertionError, MismatchError
        The Program is not legal.
    """
    # A Program whose targets cannot be boundaries has no tokens.
    with_tokens(case.program.instructions, case.program.tile)
    outcome_of(Ruled(case.program, case.image), case)
    clean, littered = (
        _writes(kind(case.program, case.image, journal=Journal()), case)
        for kind in (Interpreter, Littered)
    )
    _require(clean == littered, "nothing may be read that was never written")
    for pace in range(2):
        check(case, partial(overlapped, seed=pace))


def is_legal(case: RandomCase) -> bool:
    """Tell whether a Program is legal."""
    try:
        require_legal(case)
    except (MachineError, ValueError, AssertionError, MismatchError):
        return False
    return True
