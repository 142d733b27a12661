"""Where the K and V that a token has at a layer are: the KV directory (docs/kv.md)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwroute.config import KVConfig


class Slot(NamedTuple):
    """Where K and V of one token and layer are stored: slot `slot` of HBM port `port`."""

    port: int
    slot: int


class Entry(NamedTuple):
    """What a token has at a layer.

    `valid` is False where the token takes no part in that layer's attention; the other fields are
    0 then. `source_layer` is the layer whose execution wrote the slot.
    """

    valid: bool
    source_layer: int
    port: int
    slot: int


NO_ENTRY = Entry(valid=False, source_layer=0, port=0, slot=0)


class KVDirectory:
    """KD[layer][token] = {valid, source layer, slot}, and the dealing of slots.

    The n-th token that executes at layer l goes to port (n + l) mod ports. Tokens of one layer are
    dealt in turn, so that its attention meets few collisions; the offset spreads the remainders of
    the layers over the ports. Within a port, slots are handed out in order, by one pointer that
    all layers share; `KVConfig.port_slots` of them always suffice.

    Parameters
    ----------
    config
        Ports, longest context, most layers.
    """

    def __init__(self, config: KVConfig):
        self.config = config
        shape = (config.max_layers, config.max_tokens)
        self._known = np.zeros(shape, bool)
        self._valid = np.zeros(shape, bool)
        self._reused = np.zeros(shape, bool)
        self._where = np.zeros((*shape, 3), np.int64)
        self._dealt = [0] * config.max_layers
        self._pointers = [0] * config.hbm_ports

    def reset(self) -> None:
        """Forget the sequence; every slot is free again."""
        for plane in (self._known, self._valid, self._reused):
            plane[:] = False
        self._dealt = [0] * self.config.max_layers
        self._pointers = [0] * self.config.hbm_ports

    def write(self, layer: int, token: int) -> Slot:
        """Give a token that executes at `layer` its own slot there."""
        self._claim(layer, token)
        port = (self._dealt[layer] + layer) % self.config.hbm_ports
        slot = Slot(port, self._pointers[port])
        self._dealt[layer] += 1
        self._pointers[port] += 1
        self._valid[layer, token] = True
        self._where[layer, token] = (layer, *slot)
        return slot

    def skip(self, layer: int, token: int) -> None:
        """KV rule *reuse*: at `layer` the token has what it has at the layer before."""
        if layer == 0:
            raise ValueError("KV reuse layer must be at least 1 (layer 0 executes), not 0")
        self._require_known(layer - 1, token)
        self._claim(layer, token)
        self._valid[layer, token] = self._valid[layer - 1, token]
        self._where[layer, token] = self._where[layer - 1, token]
        self._reused[layer, token] = True

    def evict(self, layer: int, token: int) -> None:
        """KV rule *evict*: the token has no entry at `layer`."""
        self._claim(layer, token)

    def entry(self, layer: int, token: int) -> Entry:
        """Return what `token` has at `layer`."""
        self._require_known(layer, token)
        if not self._valid[layer, token]:
            return NO_ENTRY
        source, port, slot = (int(value) for value in self._where[layer, token])
        return Entry(valid=True, source_layer=source, port=port, slot=slot)

    def entries(self, layer: int, count: int) -> list[Entry]:
        """Return what tokens 0 to `count` - 1 have at `layer`."""
        self._require_all_known(layer, count)
        valid = self._valid[layer, :count].tolist()
        where = self._where[layer, :count].tolist()
        return [
            Entry(True, *place) if has else NO_ENTRY
            for has, place in zip(valid, where, strict=True)
        ]

    def reused(self, layer: int, count: int) -> NDArray[np.bool_]:
        """Tell which tokens [count] have at `layer` what they have at the layer before."""
        self._require_all_known(layer, count)
        return self._reused[layer, :count].copy()

    def slots_used(self) -> int:
        """Return the number of slots that hold K and V: what skipping saves in storage."""
        return sum(self._pointers)

    def _claim(self, layer: int, token: int) -> None:
        for name, value, limit in (
            ("layer", layer, self.config.max_layers),
            ("token", token, self.config.max_tokens),
        ):
            if not 0 <= value < limit:
                raise ValueError(f"KV {name} must be from 0 to {limit - 1}, not {value!r}")
        if self._known[layer, token]:
            raise ValueError(
                f"KV token must be new at layer {layer}, not {token} (already written or skipped)"
            )
        self._known[layer, token] = True

    def _require_known(self, layer: int, token: int) -> None:
        if not self._known[layer, token]:
            raise ValueError(f"KV token must be written or skipped at layer {layer}, not {token}")

    def _require_all_known(self, layer: int, count: int) -> None:
        if not 0 <= layer < self.config.max_layers:
            raise ValueError(
                f"KV layer must be from 0 to {self.config.max_layers - 1}, not {layer!r}"
            )
        if not 0 <= count <= self.config.max_tokens:
            raise ValueError(f"KV count must be from 0 to {self.config.max_tokens}, not {count!r}")
        known = self._known[layer, :count]
        if not known.all():
            self._require_known(layer, int(np.flatnonzero(~known)[0]))
