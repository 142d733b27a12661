"""Recorded runs of the KV memory system for benches."""

import numpy as np

from hwroute.config import KVConfig
from hwroute.models.ops.kv import KVMemory, KVRequest


def decode_log(
    config: KVConfig, *, tokens: int, layers: int, skip: float, seed: int, evict: float = 0.0
) -> list[KVRequest]:
    """Record a decode of seeded random masks; some attentions are prepared, some wrongly."""
    rng = np.random.default_rng(seed)
    log: list[KVRequest] = []
    memory = KVMemory(config, log)
    memory.reset()
    for token in range(tokens):
        for layer in range(layers):
            if layer and rng.random() < skip:
                (memory.evict if rng.random() < evict else memory.skip)(layer, token)
                memory.invalidate()
                continue
            memory.write(layer, token)
            ahead = layer + 1 < layers
            if rng.random() < 0.5:
                memory.prepare(layer, token, ahead != (rng.random() < 0.2))
            memory.attend(layer, token, ahead)
    return log
