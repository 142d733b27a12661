"""The PE array: products with INT4 matrices, scores, probabilities by values."""

import numpy as np
from numpy.typing import NDArray

from hwroute.isa.fields import LINE_ELEMENTS, lines_of
from hwroute.isa.instruction import Instruction
from hwroute.matrix_layout import MatrixLayout
from hwroute.models.folder import unpack_int4
from hwroute.models.interpreter.cached import Cached
from hwroute.models.interpreter.kv import KVUnit
from hwroute.models.interpreter.state import Ints, MachineError, State, fp32_lines
from hwroute.models.ops.columns import PreparedWeights, columns_of
from hwroute.models.ops.functions import probabilities
from hwroute.models.ops.reduction import ceiling_of_maximum, sum_of_probabilities
from hwroute.models.tile import Values
from hwroute.numerics import Bits16, Floats32, fp16_to_fp32, fp32_to_fp16


class Array:
    """The unit that multiplies.

    Parameters
    ----------
    state
        What it works on.
    kv
        Where entries come from.
    """

    def __init__(self, state: State, kv: KVUnit):
        self.state = state
        self.kv = kv
        self.numerics = state.config.numerics
        self.columns = columns_of(self.numerics)
        self._width = state.config.array.columns
        self._sums = np.zeros((state.planes.shape[1], self._width), np.float32)
        self._prepared: dict[tuple[int, ...], PreparedWeights] = {}

    def reset(self) -> None:
        """Forget partial sums."""
        self._sums[:] = 0

    def matmul(self, one: Instruction) -> Values:
        """Multiply FP16 by INT4 for a range of columns."""
        state = self.state
        rows = state.selected(one["plane"])
        x = state.read(one, "x", rows, one["lines"])
        width = one["columns"]
        if width > self._width and not (one["first"] and one["last"]):
            raise MachineError(
                f"matmul.columns must be at most {self._width} without first and last, not {width}"
            )
        weights = self._weights(one)
        start = None if one["first"] else self._sums[rows, :width]
        total = self.columns.matmul(x, weights, start)
        if one["first"] and one["last"]:
            # A whole product uses other rows of partial sums: none survive it.
            self._sums[:] = 0
        if not one["last"]:
            self._sums[rows, :width] = total
            return {"sums": total}
        if one["biased"]:
            bias = state.read(one, "bias", np.zeros(1, np.int64), lines_of(one["offset"] + width))
            total = total + fp16_to_fp32(bias[:, one["offset"] : one["offset"] + width])
        if one.choice("format") == "fp32":
            state.write(one, "out", rows, fp32_lines(total), offset=2 * one["offset"])
            return {"out": total}
        bits, overflow = fp32_to_fp16(total, self.numerics.rounding)
        state.overflowed |= overflow
        state.write(one, "out", rows, bits, offset=one["offset"])
        return {"out": bits}

    def _weights(self, one: Instruction) -> PreparedWeights:
        """Return the matrix that an instruction reads, unpacked once."""
        if self.state.weights.stale or self.state.scales.stale:
            self._prepared.clear()
            self.state.weights, self.state.scales = Cached(), Cached()
        key = (one["weights"], one["scales"], one["lines"], one["columns"])
        if key not in self._prepared:
            self._prepared[key] = self._unpack(one)
        return self._prepared[key]

    def _unpack(self, one: Instruction) -> PreparedWeights:
        state, lines, outputs = self.state, one["lines"], one["columns"]
        size = MatrixLayout(
            outputs=outputs,
            reduction=lines,
            columns=self._width,
            ports=len(state.hbm),
            group_lines=self.numerics.group // LINE_ELEMENTS,
        )
        beats = state.port_beats(one, "weights", one["weights"], size.beats)
        state.weights.add(one["weights"], size.beats)
        in_turn = beats.transpose(1, 0, 2).reshape(size.blocks, -1, beats.shape[2])
        by_line = unpack_int4(in_turn[:, : lines * self._width].reshape(-1, beats.shape[2]))
        by_column = by_line.reshape(size.blocks, lines, self._width, LINE_ELEMENTS)
        values = by_column.transpose(0, 2, 1, 3).reshape(size.blocks * self._width, -1)[:outputs]
        places = state.ddr_lines(one, "scales", one["scales"] + np.arange(size.scales))
        state.scales.add(one["scales"], size.scales)
        by_group = state.ddr[places].reshape(size.blocks, size.groups, -1)[..., : self._width]
        scales = by_group.transpose(0, 2, 1).reshape(-1, size.groups)[:outputs]
        return self.columns.prepare(values, np.ascontiguousarray(scales))

    def _heads(self, one: Instruction) -> tuple[Ints, int]:
        """Return the KV head of each group of query heads of the pass, and the group's size."""
        heads, queries = one["heads"], one["queries"]
        aligned = one["first"] % queries == 0 and heads % queries == 0
        size = queries if aligned else 1
        return (one["first"] + np.arange(0, heads, size)) // queries, size

    def _entry_count(self, one: Instruction) -> int:
        """Return the entries of the pass, the own one included."""
        count = len(self.kv.tokens) + one["own"]
        if not count:
            raise MachineError(f"{one.name} must have at least one entry (kv.order), not none")
        return int(count)

    def _visible(
        self, one: Instruction, rows: Ints
    ) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """Return which entries [rows, entries] each row attends to; the own one is the last."""
        positions = self.state.position + rows
        tokens = self.kv.tokens
        if one["own"]:
            tokens = np.append(tokens, self.state.position)
        visible: NDArray[np.bool_] = tokens[None, :] <= positions[:, None]
        return visible

    def scores(self, one: Instruction) -> Values:
        """Multiply queries by keys, with the row maxima and reference exponents."""
        state = self.state
        rows = state.selected(one["plane"])
        heads, lines = one["heads"], one["head_lines"]
        kv_heads, size = self._heads(one)
        count = self._entry_count(one)
        q = state.read(one, "q", rows, heads * lines).reshape(len(rows), heads, -1)
        keys = self.kv.keys(one, kv_heads)
        if one["own"]:
            keys = self._with_own(one, "k", keys, kv_heads)
        grouped = q.transpose(1, 0, 2).reshape(len(kv_heads), size * len(rows), -1)
        products = self.columns.scores(grouped, keys)
        products = products.reshape(heads, len(rows), count)
        visible = self._visible(one, rows)
        bits, overflow = fp32_to_fp16(products, self.numerics.rounding)
        if overflow:
            # Only what a row attends to counts.
            seen = np.where(visible, products, 0)
            state.overflowed |= fp32_to_fp16(seen, self.numerics.rounding)[1]
        self._write_scores(one, rows, bits)
        maximum = ceiling_of_maximum(bits, visible)
        earlier = visible[:, : len(self.kv.tokens)]
        exponents = self.kv.exponents(one, kv_heads)
        reference = np.where(earlier[None, :, :, None], exponents[:, None], 0).max(
            axis=2, initial=0
        )
        reference = np.repeat(reference, size, axis=0)
        words = np.concatenate([maximum[..., None], reference], axis=2).transpose(1, 0, 2)
        flat = words.reshape(len(rows), -1).astype(np.int32)
        state.write_words(one, "maximum", rows, flat.view(np.uint32))
        return {"scores": bits.transpose(1, 0, 2), "visible": visible, "maximum": words}

    def _with_own(self, one: Instruction, name: str, entries: Bits16, kv_heads: Ints) -> Bits16:
        """Append the tile's own K or V [heads, 1, d] to entries [heads, n, d]."""
        lines = one["head_lines"]
        rows = np.zeros(1, np.int64)
        own = self.state.read(one, name, rows, lines * (int(kv_heads.max()) + 1))
        own = own.reshape(-1, 1, lines * LINE_ELEMENTS)[kv_heads]
        return np.concatenate([entries, own], axis=1)

    def _write_scores(self, one: Instruction, rows: Ints, bits: Bits16) -> None:
        state, heads = self.state, one["heads"]
        by_row = bits.transpose(1, 0, 2).reshape(len(rows) * heads, -1)
        state.write(one, "out", _score_rows(rows, heads), by_row)

    def _read_scores(self, one: Instruction, rows: Ints, entries: int) -> Bits16:
        """Return scores [heads, rows, entries]."""
        heads = one["heads"]
        lines = lines_of(entries)
        bits = self.state.read(one, "scores", _score_rows(rows, heads), lines)
        return bits.reshape(len(rows), heads, -1)[..., :entries].transpose(1, 0, 2)

    def values(self, one: Instruction) -> Values:
        """Multiply probabilities by values, with the sum of probabilities."""
        state = self.state
        rows = state.selected(one["plane"])
        heads, lines = one["heads"], one["head_lines"]
        kv_heads, size = self._heads(one)
        entries = self.kv.values(one, kv_heads)
        count = self._entry_count(one)
        visible = self._visible(one, rows)
        places = state.words(one, "maximum", rows, heads * (1 + lines))
        integers = state.statistics[places].view(np.int32).astype(np.int64)
        words = integers.reshape(len(rows), heads, -1).transpose(1, 0, 2)
        reference = words[..., 1:]
        if one["own"]:
            entries = self._with_own(one, "v", entries, kv_heads)
            own = self.columns.value_exponents(entries[:, -1:])[:, 0]
            reference = np.maximum(reference, np.repeat(own, size, axis=0)[:, None])
        p = probabilities(self._read_scores(one, rows, count), words[..., :1])
        p = np.where(visible, p, 0).astype(np.uint16)
        grouped = p.reshape(len(kv_heads), size * len(rows), count)
        mixed = self.columns.values(
            grouped, entries, reference.reshape(len(kv_heads), size * len(rows), -1)
        ).reshape(heads, len(rows), -1)
        by_row: Floats32 = mixed.transpose(1, 0, 2).reshape(len(rows), -1)
        state.write(one, "out", rows, fp32_lines(by_row))
        total = sum_of_probabilities(p).T
        state.write_floats(one, "sum", rows, total)
        return {"out": by_row, "sum": total}


def _score_rows(rows: Ints, heads: int) -> Ints:
    """Return the rows of a matrix of scores [rows * heads] that (row, head) are."""
    every: Ints = (rows[:, None] * heads + np.arange(heads)).reshape(-1)
    return every
