"""The golden model: execute the list of operations, every bit as the machine has it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import Checkpoint
from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.models.ops import vector
from hwroute.models.ops.columns import columns_of
from hwroute.models.ops.functions import probabilities
from hwroute.models.ops.reduction import (
    ceiling_of_maximum,
    dot_products,
    sum_of_probabilities,
    sum_of_squares,
)
from hwroute.models.ops.router import decide
from hwroute.models.sequence import Sequence
from hwroute.models.tile import Tile, Values
from hwroute.models.weights import MachineWeights
from hwroute.numerics import Bits16, fp16_to_fp32, fp32_to_fp16
from hwroute.operation_list import build
from hwroute.operations import Operation, Operator
from hwroute.policy import RoutingPolicy

Observer = Callable[["Golden", Operation, "Tile", Values], None]
"""Called after each operation that ran, with the arrays it wrote."""


class Golden:
    """Interpret a model's operations on integer arithmetic.

    Parameters
    ----------
    checkpoint
        With INT4 weights.
    config
        Only `config.numerics` changes a bit.
    policy
        Instead of the checkpoint's own.
    observer
        Told of every operation that ran.

    Raises
    ------
    InputError
        The policy needs a primitive that is not there, or the weights' groups do not fit.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: Config,
        *,
        policy: RoutingPolicy | None = None,
        observer: Observer | None = None,
    ):
        self.shape = checkpoint.shape
        self.policy = policy or checkpoint.policy
        self.config = config
        self.rounding = config.numerics.rounding
        self.columns = columns_of(config.numerics)
        self.weights = MachineWeights(checkpoint, config.numerics, self.columns)
        self.operations = build(self.shape, self.policy)
        self.observer = observer
        self.overflowed: list[str] = []
        """Names of operations in which a value saturated, sticky."""
        self._run: dict[Operator, Callable[[Operation, Tile, Sequence], Values]] = {
            Operator.EMBED: self._embed,
            Operator.REDUCE: self._reduce,
            Operator.DECIDE: self._decide,
            Operator.NORMALISE: self._normalise,
            Operator.MATMUL: self._matmul,
            Operator.ROTATE: self._rotate,
            Operator.KV_WRITE: self._kv_write,
            Operator.KV_ORDER: self._kv_order,
            Operator.SCORES: self._scores,
            Operator.ATTEND: self._attend,
            Operator.SWIGLU: self._swiglu,
            Operator.ADD: self._add,
            Operator.HEAD: self._head,
            Operator.ARGMAX: self._argmax,
        }

    def forward(
        self, tokens: NDArray[np.int64], sequence: Sequence, *, decode: bool = False
    ) -> Tile:
        """Run one tile of tokens [n] through the model; the state moves on by n tokens.

        `decode`: the tile's only token continues a generation, so the KV memory looks ahead.

        Returns the tile, whose values hold at least ``logits`` (float32 [n, vocab]) and ``token``.

        Raises
        ------
        InputError
            A token outside the vocabulary, or more tokens than the context has room for.
        """
        self._check(tokens, sequence)
        tile = Tile(tokens=tokens, start=sequence.position, sequence=sequence, decode=decode)
        for operation in self.operations:
            if operation.predicate and not tile.planes[operation.predicate].any():
                self._skip(operation, tile, sequence)
                continue
            written = self._run[operation.operator](operation, tile, sequence)
            tile.values.update(written)
            rows = tile.selected(operation.predicate)
            if operation.operator is Operator.ADD:
                rows = tile.selected(None)
            tile.rows.update(dict.fromkeys(written, rows))
            if self.observer:
                self.observer(self, operation, tile, written)
        sequence.position += len(tokens)
        return tile

    def _check(self, tokens: NDArray[np.int64], sequence: Sequence) -> None:
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.shape.vocab:
            wrong = tokens[(tokens < 0) | (tokens >= self.shape.vocab)][0]
            raise InputError(f"tokens must be from 0 to {self.shape.vocab - 1}, not {wrong}")
        end = sequence.position + len(tokens)
        if not sequence.position < end <= self.shape.context:
            raise InputError(
                f"tokens must be at least 1 and fit the model's context of {self.shape.context}, "
                f"not {len(tokens)} behind {sequence.position}"
            )

    def _skip(self, operation: Operation, tile: Tile, sequence: Sequence) -> None:
        """Do what remains of an operation that no token executes."""
        if operation.operator is Operator.ADD:
            source, (out,) = operation.inputs[0], operation.outputs
            tile.values[out], tile.rows[out] = tile.values[source], tile.rows[source]
        elif operation.operator is Operator.KV_WRITE:
            assert operation.layer is not None
            sequence.write_kv(operation.layer, tile.start, len(tile.tokens), self.policy.kv)

    def _rounded(self, operation: Operation, result: vector.Rounded) -> Bits16:
        bits, overflow = result
        if overflow and operation.name not in self.overflowed:
            self.overflowed.append(operation.name)
        return bits

    def _inputs(self, operation: Operation, tile: Tile) -> list[NDArray[Any]]:
        rows = tile.selected(operation.predicate)
        return [tile.take(name, rows) for name in operation.inputs]

    def _embed(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        table = self.weights.vector(operation.weights[0])
        return {operation.outputs[0]: table[tile.tokens]}

    def _reduce(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        (x,) = self._inputs(operation, tile)
        results = [sum_of_squares(x)]
        if operation.weights:
            results.append(dot_products(x, self.weights.vector(operation.weights[0])))
        return dict(zip(operation.outputs, results, strict=True))

    def _decide(self, operation: Operation, tile: Tile, sequence: Sequence) -> Values:
        rule, layer = operation.decision, operation.layer
        assert rule is not None
        assert layer is not None
        if rule.forced is None:
            (logits,) = self._inputs(operation, tile)
            bits = decide(logits, execute=rule.execute, tie_executes=rule.tie_executes)
        else:
            bits = np.full(len(tile.tokens), rule.forced)
        bits[: max(0, rule.first_tokens - tile.start)] = True
        (plane,) = operation.outputs
        tile.planes[plane] = bits
        kind = 0 if ".attention." in plane else 1
        sequence.executed[layer, kind, tile.start : tile.start + len(bits)] = bits
        return {plane: bits}

    def _normalise(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        x, squares = self._inputs(operation, tile)
        gain = self.weights.vector(operation.weights[0])
        result = vector.normalise(x, squares, gain, self.shape.norm_eps, self.rounding)
        return {operation.outputs[0]: self._rounded(operation, result)}

    def _product(self, operation: Operation, tile: Tile) -> NDArray[np.float32]:
        (x,) = self._inputs(operation, tile)
        matrix, *bias = operation.weights
        product = self.columns.matmul(x, self.weights.matrix(matrix))
        return product + fp16_to_fp32(self.weights.vector(bias[0])) if bias else product

    def _matmul(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        result = fp32_to_fp16(self._product(operation, tile), self.rounding)
        return {operation.outputs[0]: self._rounded(operation, result)}

    def _rotate(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        (x,) = self._inputs(operation, tile)
        positions = tile.start + tile.selected(operation.predicate)
        cosine, sine = self.weights.rotary["q" if ".q." in operation.name else "k"]
        heads = x.reshape(len(x), -1, self.shape.head_dim)
        result = vector.rotate(heads, cosine[positions], sine[positions], self.rounding)
        return {operation.outputs[0]: self._rounded(operation, result)}

    def _kv_write(self, operation: Operation, tile: Tile, sequence: Sequence) -> Values:
        keys, values = self._inputs(operation, tile)
        assert operation.layer is not None
        rows = tile.selected(operation.predicate)
        slots = sequence.write_kv(
            operation.layer,
            tile.start,
            len(tile.tokens),
            self.policy.kv,
            (rows, keys, values.reshape(keys.shape)),
        )
        return {} if slots is None else {operation.outputs[0]: slots}

    def _kv_order(self, operation: Operation, tile: Tile, sequence: Sequence) -> Values:
        assert operation.layer is not None
        order = sequence.order_entries(
            operation.layer, tile.start, len(tile.tokens), decode=tile.decode
        )
        return {} if order is None else {operation.outputs[0]: order}

    def _scores(self, operation: Operation, tile: Tile, sequence: Sequence) -> Values:
        (q,) = self._inputs(operation, tile)
        assert operation.layer is not None
        entries = tile.start + len(tile.tokens)
        keys = sequence.cache.keys[operation.layer][:, :entries]
        padded = np.zeros((self.shape.heads, len(q), keys.shape[-1]), np.uint16)
        padded[..., : self.shape.head_dim] = q.transpose(1, 0, 2)
        # Query heads that share a KV head stand beside each other as more rows of it.
        grouped = padded.reshape(len(keys), -1, keys.shape[-1])
        products = self.columns.scores(grouped, keys).reshape(*padded.shape[:2], entries)
        visible = self._visible(operation, tile, sequence)
        scores, _ = fp32_to_fp16(products, self.rounding)
        # Only what a row attends to counts as an overflow: tiles do not show.
        self._rounded(operation, fp32_to_fp16(np.where(visible, products, 0), self.rounding))
        maximum = ceiling_of_maximum(scores, visible)
        # Rows of a value are tokens.
        outputs = (scores.transpose(1, 0, 2), visible, maximum.T)
        return dict(zip(operation.outputs, outputs, strict=True))

    def _visible(self, operation: Operation, tile: Tile, sequence: Sequence) -> NDArray[np.bool_]:
        """Return which entries [rows, entries] each selected token attends to."""
        positions = tile.start + tile.selected(operation.predicate)
        entries = tile.start + len(tile.tokens)
        causal = np.arange(entries)[None, :] <= positions[:, None]
        valid: NDArray[np.bool_] = sequence.cache.valid[operation.layer, :entries]
        return causal & valid[None, :]

    def _attend(self, operation: Operation, tile: Tile, sequence: Sequence) -> Values:
        scores, visible, maximum = self._inputs(operation, tile)
        assert operation.layer is not None
        cache, shape = sequence.cache, self.shape
        rows, _, entries = scores.shape
        p = probabilities(scores.transpose(1, 0, 2), maximum.T[..., None])
        p = np.where(visible, p, 0).astype(np.uint16)
        values = cache.values[operation.layer][:, :entries]
        exponents = cache.exponents[operation.layer][:, :entries]
        # The reference exponent of a row: the largest among the entries it attends to.
        seen = np.where(visible[None, :, :, None], exponents[:, None], 0).max(axis=2)
        grouped = p.reshape(len(values), -1, entries)
        reference = np.tile(seen, (1, shape.queries_per_kv, 1)).astype(np.int64)
        mixed = self.columns.values(grouped, values, reference)
        mixed = mixed.reshape(shape.heads, rows, -1)[..., : shape.head_dim]
        total = sum_of_probabilities(p)
        heads = self._rounded(operation, vector.divide(mixed, total, self.rounding))
        outputs = (
            p.transpose(1, 0, 2),
            total.T,
            mixed.transpose(1, 0, 2),
            heads.transpose(1, 0, 2).reshape(rows, -1),
        )
        return dict(zip(operation.outputs, outputs, strict=True))

    def _swiglu(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        gate, up = self._inputs(operation, tile)
        result = vector.swiglu(gate, up, self.rounding)
        return {operation.outputs[0]: self._rounded(operation, result)}

    def _add(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        x, addend = operation.inputs
        rows = tile.selected(operation.predicate)
        out = tile.values[x].copy()
        result = vector.add(out[rows], tile.values[addend], self.rounding)
        out[rows] = self._rounded(operation, result)
        return {operation.outputs[0]: out}

    def _head(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        return {operation.outputs[0]: self._product(operation, tile)}

    def _argmax(self, operation: Operation, tile: Tile, _: Sequence) -> Values:
        (logits,) = self._inputs(operation, tile)
        return {operation.outputs[0]: np.argmax(logits, axis=-1)}
