"""NPE and router: row reductions, element-wise operators, decisions, argmax."""

import numpy as np

from hwroute.isa.fields import lines_of
from hwroute.isa.instruction import Instruction
from hwroute.models.interpreter.state import ROW_0, Ints, State, lines_fp32
from hwroute.models.ops import vector
from hwroute.models.ops.reduction import dot_products, sum_of_squares
from hwroute.models.ops.router import decide
from hwroute.models.tile import Values
from hwroute.numerics import Bits16


class NPE:
    """The unit that works on vectors.

    Parameters
    ----------
    state
        What it works on.
    """

    def __init__(self, state: State):
        self.state = state
        self.rounding = state.config.numerics.rounding
        self._best = np.float32(0)
        self._token = 0

    def _row(self, one: Instruction, name: str, lines: int) -> Bits16:
        """Return an FP16 row [lines * 64] that serves every token."""
        return self.state.read(one, name, ROW_0, lines).reshape(-1)

    def _finish(
        self,
        one: Instruction,
        rows: Ints,
        result: vector.Rounded,
        name: str = "out",
        offset: int = 0,
    ) -> Values:
        bits, overflow = result
        self.state.overflowed |= overflow
        self.state.write(one, name, rows, bits, offset=offset)
        return {name: bits}

    def reduce(self, one: Instruction) -> Values:
        """Sum of squares and the router's logits."""
        rows = self.state.selected(one["plane"])
        x = self.state.read(one, "x", rows, one["lines"])
        results = sum_of_squares(x)[:, None]
        if one["routed"]:
            router = self._row(one, "router", 2 * one["lines"]).reshape(2, -1)
            results = np.concatenate([results, dot_products(x, router)], axis=1)
        self.state.write_floats(one, "to", rows, results)
        return {"to": results}

    def normalise(self, one: Instruction) -> Values:
        """RMSNorm of a part of each row."""
        state = self.state
        rows = state.selected(one["plane"])
        result = vector.normalise(
            state.read(one, "x", rows, one["lines"]),
            state.read_floats(one, "squares", rows)[:, 0],
            self._row(one, "gain", one["lines"]),
            one.number("epsilon"),
            self.rounding,
            inverse=one.number("inverse"),
        )
        return self._finish(one, rows, result)

    def rotate(self, one: Instruction) -> Values:
        """Rotary embedding, in place."""
        state = self.state
        rows = state.selected(one["plane"])
        heads, lines = one["heads"], one["head_lines"]
        x = state.read(one, "x", rows, heads * lines).reshape(len(rows), heads, -1)
        table = state.read(one, "table", rows, lines)
        turned, overflow = vector.rotate(x, table[:, 0::2], table[:, 1::2], self.rounding)
        return self._finish(one, rows, (turned.reshape(len(rows), -1), overflow), "x")

    def swiglu(self, one: Instruction) -> Values:
        """silu(gate) * up of alternating elements."""
        rows = self.state.selected(one["plane"])
        pairs = self.state.read(one, "x", rows, 2 * one["lines"])
        result = vector.swiglu(pairs[:, 0::2], pairs[:, 1::2], self.rounding)
        return self._finish(one, rows, result)

    def residual(self, one: Instruction) -> Values:
        """X plus y, in place."""
        rows = self.state.selected(one["plane"])
        x, y = (self.state.read(one, name, rows, one["lines"]) for name in ("x", "y"))
        return self._finish(one, rows, vector.add(x, y, self.rounding), "x")

    def divide(self, one: Instruction) -> Values:
        """Heads by their sums, packed."""
        state = self.state
        rows = state.selected(one["plane"])
        heads = one["heads"]
        sums = lines_fp32(state.read(one, "x", rows, 2 * heads * one["head_lines"]))
        mixed = sums.reshape(len(rows), heads, -1)[..., : one["elements"]]
        bits, overflow = vector.divide(
            mixed, state.read_floats(one, "sum", rows, heads), self.rounding
        )
        packed = (bits.reshape(len(rows), -1), overflow)
        return self._finish(one, rows, packed, offset=one["offset"])

    def argmax(self, one: Instruction) -> Values:
        """Largest logit so far."""
        lines = lines_of(2 * one["count"])
        logits = lines_fp32(self.state.read(one, "x", ROW_0, lines))[0, : one["count"]]
        index = int(np.argmax(logits))
        if one["first"] or logits[index] > self._best:
            self._best, self._token = logits[index], one["base"] + index
        if one["last"]:
            self.state.write_token(self._token)
        return {"token": np.array([self._token], np.int64)}


class Router:
    """The unit that writes bitmask planes.

    Parameters
    ----------
    state
        What it works on.
    """

    def __init__(self, state: State):
        self.state = state

    def decide(self, one: Instruction) -> Values:
        """Which tokens of the tile execute a sub-layer."""
        state = self.state
        rows = state.selected(0)
        if one.choice("mode") == "compare":
            logits = state.read_floats(one, "logits", rows, 2)
            bits = decide(logits, execute=one["execute"], tie_executes=bool(one["tie"]))
        else:
            bits = np.full(len(rows), one.choice("mode") == "execute")
        bits[: max(0, one["first_tokens"] - state.position)] = True
        state.write_plane(one["to"], bits)
        return {"plane": bits}

    def select(self, one: Instruction) -> Values:
        """Write a plane of the last token alone."""
        rows = self.state.selected(0)
        bits = rows == rows[-1]
        self.state.write_plane(one["to"], bits)
        return {"plane": bits}
