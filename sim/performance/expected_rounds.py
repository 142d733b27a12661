"""About how many rounds the attention of a decode step takes, without ordering any entries.

What orders them is `hwroute.models.ops.kv_rounds`; this is what the time between simulated steps is
interpolated with, so it need not be exact.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwroute.config import KVConfig
from hwroute.policy_terms import KVRule

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Attended:
    """What attention meets at each layer, were the token at each position the step's.

    Parameters
    ----------
    entries, reused
        Of earlier tokens, and those of them that the layer before may have kept: [layers, tokens].
    walked, queued
        Rounds without and with a valid history buffer: [layers, tokens].
    """

    entries: Ints
    reused: Ints
    walked: Ints
    queued: Ints


def attended(executed: Bools, rule: KVRule, config: KVConfig, *, keeps: bool = True) -> Attended:
    """Return what attention meets.

    Parameters
    ----------
    executed
        Who executes attention: [layers, tokens].
    rule
        What the others have of K and V.
    config
        Ports and banks.
    keeps
        Whether the history buffer keeps anything.
    """
    layers, tokens = executed.shape
    written = np.ones_like(executed) if rule is KVRule.DENSE else executed
    dealt = np.cumsum(written, axis=1)
    own: Ints = dealt - written
    everyone = np.broadcast_to(np.arange(tokens), executed.shape)
    reuses = rule is KVRule.REUSE
    entries = everyone if reuses else own
    reused = np.minimum(entries - own, config.buffer_tokens)
    reused[0] = 0
    from_hbm, banks = entries - reused, config.buffer_banks
    queued = np.maximum(-(-from_hbm // config.hbm_ports), -(-reused // banks))
    # The n-th token that executes at a layer goes to port n + layer.
    ports = (dealt - 1 + np.arange(layers)[:, None]) % config.hbm_ports
    kept = np.zeros_like(executed)
    if reuses and keeps:
        kept[:-1] = ~executed[1:]
    walked = np.zeros_like(entries)
    for layer in range(layers):
        if layer and reuses:
            ports[layer] = np.where(executed[layer], ports[layer], ports[layer - 1])
        walked[layer] = _walk(
            ports[layer], written[layer] | reuses, kept[layer], config.buffer_write_ports
        )
    return Attended(entries=entries, reused=reused, walked=walked, queued=queued)


def _walk(ports: Ints, present: Bools, kept: Bools, writes: int) -> Ints:
    """Return the rounds before each token: one ends where a port or the writes run out."""
    rounds, left, seen = 0, 0, set[int]()
    counts = []
    for port, here, keep in zip(ports.tolist(), present.tolist(), kept.tolist(), strict=True):
        counts.append(rounds)
        if here:
            if not rounds or port in seen or (keep and not left):
                rounds, left = rounds + 1, writes
                seen.clear()
            seen.add(port)
            left -= keep
    return np.array(counts, np.int64)
