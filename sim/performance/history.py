"""The KV memory system with mechanisms that the machine lacks: orders, survivors, placement."""

import numpy as np
from numpy.typing import NDArray

from hwroute.config import KVConfig
from hwroute.models.ops.kv import KVMemory
from hwroute.models.ops.kv_directory import KVDirectory, Slot
from hwroute.models.ops.kv_rounds import HistoryBuffer, Round
from hwroute.sim.performance.mechanisms import Mechanisms

REUSED_SHARE = 0.25
"""Of an entry that a layer reuses, beside one that it wrote, in what a port has to read there: a
token whose attention executed at the layer before finds it in the history buffer. Source: 1 minus
the share of attention that executes, at 25 per cent of skipping."""


class PlacingDirectory(KVDirectory):
    """A directory that deals a slot to the port with the least to read at its layer.

    Among equals it goes on in turn, as the directory of the machine does.
    """

    def __init__(self, config: KVConfig):
        super().__init__(config)
        self._loads: NDArray[np.float64] = np.zeros((config.max_layers, config.hbm_ports))

    def reset(self) -> None:
        """Forget the sequence."""
        super().reset()
        self._loads[:] = 0

    def write(self, layer: int, token: int) -> Slot:
        """Give a token that executes at `layer` its own slot there."""
        ports = self.config.hbm_ports
        turn = (self._dealt[layer] + layer) % ports
        after = np.roll(self._loads[layer], -turn)
        port = int(turn + after.argmin()) % ports
        # The directory's own rule leads to `port` from here.
        dealt, self._dealt[layer] = self._dealt[layer], (port - layer) % ports
        slot = super().write(layer, token)
        self._dealt[layer] = dealt + 1
        self._loads[layer, port] += 1
        return slot

    def skip(self, layer: int, token: int) -> None:
        """KV rule *reuse*; the port of the entry has it to read at this layer too."""
        super().skip(layer, token)
        entry = self.entry(layer, token)
        if entry.valid:
            self._loads[layer, entry.port] += REUSED_SHARE


class LastingBuffer(HistoryBuffer):
    """A history buffer whose orders always come from queues, or that outlasts skipped layers.

    Parameters
    ----------
    config, directory, mechanisms
        Of the machine; switches `queued_orders` and `survivors`.
    """

    def __init__(self, config: KVConfig, directory: KVDirectory, mechanisms: Mechanisms):
        self.mechanisms = mechanisms
        super().__init__(config, directory)

    def valid_for(self, layer: int, count: int) -> bool:
        """Tell whether an order is made by queues."""
        return self.mechanisms.queued_orders or super().valid_for(layer, count)

    def attend(self, layer: int, count: int, look_ahead: bool) -> list[Round]:
        """Order entries as `HistoryBuffer.attend`."""
        if not super().valid_for(layer, count):
            self.invalidate()
        return super().attend(layer, count, look_ahead)

    def pass_over(self, layer: int, last: int) -> None:
        """Keep what the layer behind a skipped one reuses; nothing behind layer `last`."""
        if self._layer != layer or layer >= last or not self.mechanisms.survivors:
            self.invalidate()
            return
        reused = self.directory.reused(layer + 1, self._count)
        for token in [token for token in self._held if not reused[token]]:
            bank, place = self._held.pop(token)
            self._given_back.append((bank, place))
        self._layer = layer + 1


class ModelledKV(KVMemory):
    """The KV memory system of a machine with some mechanisms.

    Parameters
    ----------
    config, mechanisms
        Of the machine.
    layers
        Of the model.
    """

    def __init__(self, config: KVConfig, mechanisms: Mechanisms, layers: int):
        super().__init__(config)
        self.layers = layers
        self._skipped = 0
        if mechanisms.placement:
            self.directory = PlacingDirectory(config)
        self.buffer: LastingBuffer = LastingBuffer(config, self.directory, mechanisms)

    def skip(self, layer: int, token: int) -> None:
        """KV rule *reuse*."""
        self._skipped = layer
        super().skip(layer, token)

    def invalidate(self) -> None:
        """Note that the token, which was skipped last, skips a layer's attention."""
        self.buffer.pass_over(self._skipped, self.layers - 1)
