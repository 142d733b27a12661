"""What the units of the model share."""

from typing import Any

import numpy as np
import simpy

from hwroute.config import Config
from hwroute.isa.fields import Unit
from hwroute.kv import ORDER_FIELDS
from hwroute.models.ops.kv import KVMemory
from hwroute.sim.performance.ahead import Ahead
from hwroute.sim.performance.batches import FIELD, Batches, Ints, batches_of
from hwroute.sim.performance.interleaved import SpreadReader, spread_batches
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.reader import Reader
from hwroute.sim.performance.result import Attention, Read, Traffic
from hwroute.sim.performance.sequencer import Sequencer
from hwroute.sim.performance.unit_queue import Item, Process, Registers, UnitQueue
from hwroute.sim.performance.workload import Workload


class Parts:
    """What the units share.

    Parameters
    ----------
    env, config, memories, sequencer, registers, workload, free
        Of the machine.

    Members
    -------
    kv
        Directory and history buffer, in the order of the Program.
    reader
        Sources of K and V, once kv.map has said where they are.
    traffic
        Bytes by kind.
    reads
        Each read of K or V by the array.
    attentions
        What attention met, each time that entries were ordered.
    """

    def __init__(
        self,
        env: simpy.Environment,
        config: Config,
        memories: Memories,
        sequencer: Sequencer,
        registers: Registers,
        workload: Workload,
        kv: KVMemory,
        traffic: Traffic,
        *,
        free: Parameters,
    ):
        self.env = env
        self.config = config
        self.memories = memories
        self.sequencer = sequencer
        self.registers = registers
        self.workload = workload
        self.kv = kv
        self.traffic = traffic
        self.free = free
        self.ahead = Ahead(env, config, memories, free.mechanisms, traffic)
        self.attentions: list[Attention] = []
        self.reader: Reader | None = None
        self.reads: list[Read] = []
        self.order: Ints = np.zeros((0, len(ORDER_FIELDS)), np.int64)
        self.fresh = {"scores": False, "values": False}
        """The first pass over an order goes through the history buffer."""
        self._spread = False
        self._cut: dict[bool, Batches] = {}

    def map(self, one: Any) -> None:
        """Take up where entries lie."""
        self._spread = one.choice("mapping") == "interleaved"
        narrow = self.free.mechanisms.kv_bits
        reader = SpreadReader if self._spread else Reader
        self.reader = reader(
            config=self.config,
            memories=self.memories,
            vector=one["vector"] * narrow // 16,
            # K has exponents too where its elements are narrow.
            exponents=one["exponents"] * (2 if narrow < 16 else 1),
            mechanisms=self.free.mechanisms,
            fifo_bytes=self.free.port_fifo_bytes,
        )

    def batches(self, buffered: bool) -> Batches:
        """Return the batches of the order, through the history buffer or not."""
        if buffered not in self._cut:
            cut = spread_batches if self._spread else batches_of
            skip = self.free.mechanisms.skip_empty
            self._cut[buffered] = cut(self.order, self.config, buffered=buffered, skip_empty=skip)
        return self._cut[buffered]

    def take_order(self, order: Ints) -> None:
        """Take up another order."""
        self.order = order
        self.fresh = {"scores": True, "values": True}
        self._cut = {}

    def count(self, item: Item, kind: str, size: int) -> None:
        """Count bytes that an instruction moves."""
        self.traffic.add(kind, size)
        moved = item.event.moved
        moved[kind] = moved.get(kind, 0) + size

    def rows(self, item: Item) -> Any:
        """Return the tokens of the tile that an instruction is for."""
        return self.registers.selected(item.one["plane"], item.event.rows)

    def pairs(self, item: Item) -> int:
        """Return the pairs of a row and an entry of the order that it may attend to."""
        tokens = np.sort(self.order[:, FIELD["token"]])
        rows = item.event.position + self.rows(item)
        return int(np.searchsorted(tokens, rows, side="right").sum())

    def queue(self, unit: Unit) -> UnitQueue:
        """Return the queue in front of a unit."""
        return self.sequencer.queues[unit]

    def until(self, time: float) -> Process:
        """Wait until a time, rounded up to a cycle."""
        now = self.env.now
        if time > now:
            yield self.env.timeout(int(np.ceil(time)) - now)

    def retire_at(self, item: Item, time: float) -> Process:
        """End an instruction at a time."""
        yield from self.until(time)
        self.sequencer.retire(item)
