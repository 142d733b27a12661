"""Keys and values of the float reference."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.policy_terms import KVRule

Array = NDArray[Any]
Bools = NDArray[np.bool_]


class FloatCache:
    """Keys and values of the tokens so far, by layer.

    Each layer holds an entry for every token, as the KV rule has it: what is stored only once on
    the machine is stored in every layer here.

    Parameters
    ----------
    rule
        Where the entry of a token that skipped a layer's attention comes from.
    layers
        Depth of the model.
    """

    def __init__(self, rule: KVRule, layers: int) -> None:
        self.rule = rule
        self._entries: list[tuple[Array, Array, Bools] | None] = [None] * layers

    @property
    def tokens(self) -> int:
        """Tokens that the last layer holds: those of every completed pass."""
        last = self._entries[-1]
        return 0 if last is None else last[2].shape[1]

    def append(
        self, layer: int, keys: Array, values: Array, executed: Bools
    ) -> tuple[Array, Array, Bools]:
        """Append tokens to a layer, after they were appended to the layer below.

        Parameters
        ----------
        keys, values
            Computed from this layer's input, [windows, kv_heads, tokens, head_dim].
        executed
            Which tokens execute the layer's attention, bool [windows, tokens].

        Returns
        -------
        keys, values
            Of all tokens so far, [windows, kv_heads, all tokens, head_dim].
        present
            bool [windows, all tokens], False where the layer has no entry for the token.
        """
        if self.rule is KVRule.REUSE and layer > 0:
            below = self._entries[layer - 1]
            assert below is not None
            new, count = executed[:, None, :, None], executed.shape[1]
            keys = np.where(new, keys, below[0][:, :, -count:])
            values = np.where(new, values, below[1][:, :, -count:])
        present = executed if self.rule is KVRule.EVICT else np.ones_like(executed)
        old = self._entries[layer]
        entry = keys, values, present
        if old is not None:
            entry = (
                np.concatenate([old[0], keys], axis=2),
                np.concatenate([old[1], values], axis=2),
                np.concatenate([old[2], present], axis=1),
            )
        self._entries[layer] = entry
        return entry
