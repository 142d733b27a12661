"""The state of one sequence in the golden model: KV cache, bitmask planes, position."""

import numpy as np
from numpy.typing import NDArray

from hwroute.models.ops.kv import KVMemory
from hwroute.models.ops.kv_rounds import rounds_to_records
from hwroute.numerics import Bits16, decode_fp16
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape

BLOCK = 64


class KVCache:
    """K and V as each layer's attention sees them, after the KV rule.

    A layer's row for a token holds what an executing query of that layer reads: the token's own
    entry, or under REUSE the entry of the last layer whose attention it executed. The machine
    finds the same entries through its directory, without copying.

    Members
    -------
    keys, values
        FP16 [layers, kv_heads, context, head_dim padded to 64].
    exponents
        Largest biased exponent of each block of 64 of a value vector:
        int16 [layers, kv_heads, context, blocks].
    valid
        bool [layers, context]: an entry exists.
    source
        Layer that wrote the entry: int16 [layers, context].
    """

    def __init__(self, shape: ModelShape):
        padded = -(-shape.head_dim // BLOCK) * BLOCK
        size = (shape.layers, shape.kv_heads, shape.context, padded)
        self.keys: Bits16 = np.zeros(size, np.uint16)
        self.values: Bits16 = np.zeros(size, np.uint16)
        self.exponents = np.zeros((*size[:3], padded // BLOCK), np.int16)
        self.valid = np.zeros((shape.layers, shape.context), np.bool_)
        self.source = np.zeros((shape.layers, shape.context), np.int16)

    def write(self, layer: int, tokens: NDArray[np.int64], keys: Bits16, values: Bits16) -> None:
        """Store K and V [tokens, kv_heads, head_dim] of the tokens that computed them."""
        width = keys.shape[-1]
        self.keys[layer][:, tokens, :width] = keys.transpose(1, 0, 2)
        self.values[layer][:, tokens, :width] = values.transpose(1, 0, 2)
        blocks = self.values[layer][:, tokens].reshape(
            len(self.values[layer]), len(tokens), -1, BLOCK
        )
        self.exponents[layer][:, tokens] = decode_fp16(blocks)[1].max(axis=-1)
        self.valid[layer, tokens] = True
        self.source[layer, tokens] = layer

    def skip(self, layer: int, tokens: NDArray[np.int64], rule: KVRule) -> None:
        """Apply the KV rule to tokens that computed no K and V at `layer`."""
        if rule is KVRule.REUSE:
            for array in (self.keys, self.values, self.exponents):
                array[layer][:, tokens] = array[layer - 1][:, tokens]
            self.valid[layer, tokens] = self.valid[layer - 1, tokens]
            self.source[layer, tokens] = self.source[layer - 1, tokens]
        else:
            self.valid[layer, tokens] = False


class Sequence:
    """Everything that outlives a tile.

    Parameters
    ----------
    shape
        Of the model.
    memory
        Directory and history buffer, where the order of KV entries is wanted; bits of results do
        not depend on it.

    Members
    -------
    position
        Tokens processed so far.
    executed
        bool [layers, 2 (attention, FFN), context]: the bitmask planes.
    """

    def __init__(self, shape: ModelShape, memory: KVMemory | None = None):
        self.cache = KVCache(shape)
        self.memory = memory
        self.position = 0
        self.executed = np.ones((shape.layers, 2, shape.context), np.bool_)
        if memory:
            memory.reset()

    def write_kv(
        self,
        layer: int,
        start: int,
        count: int,
        rule: KVRule,
        new: tuple[NDArray[np.int64], Bits16, Bits16] | None = None,
    ) -> NDArray[np.int64] | None:
        """Give every token of a tile its K and V at `layer`.

        Parameters
        ----------
        layer, start, count
            Layer, position of the tile's first token, tokens of the tile.
        rule
            For the tokens that computed none.
        new
            Rows of the tile that computed K and V, and both [rows, kv_heads, head_dim].

        Returns
        -------
        Slots of the new entries [rows, 2], None without a memory.
        """
        rows = np.zeros(0, np.int64) if new is None else new[0]
        computed = np.zeros(count, np.bool_)
        computed[rows] = True
        self.cache.skip(layer, start + np.flatnonzero(~computed), rule)
        if new is not None:
            self.cache.write(layer, start + rows, new[1], new[2])
        if self.memory is None:
            return None
        slots = []
        for row, own in enumerate(computed.tolist()):
            if own:
                slots.append(self.memory.write(layer, start + row))
            elif rule is KVRule.REUSE:
                self.memory.skip(layer, start + row)
            else:
                self.memory.evict(layer, start + row)
        if new is None:
            self.memory.invalidate()
        return np.array(slots, np.int64).reshape(-1, 2)

    def order_entries(
        self, layer: int, start: int, count: int, *, decode: bool
    ) -> NDArray[np.int64] | None:
        """Return the order record of one attention, None without a memory.

        A decode step consumes the tokens before it, its own K and V being at hand; a prefill tile
        reads its own entries too, and has no look-ahead.
        """
        if self.memory is None:
            return None
        layers = len(self.executed)
        rounds = self.memory.attend(
            layer, start if decode else start + count, decode and layer + 1 < layers
        )
        return rounds_to_records(rounds)
