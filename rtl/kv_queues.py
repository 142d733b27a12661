"""Queues of tokens as linked lists in one memory: one for each bank, two for each HBM port."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out

from hwroute.config import KVConfig
from hwroute.rtl.kv_layouts import bits
from hwroute.rtl.ram import Ram


class QueueKind(Enum, shape=2):
    """What waits in a queue."""

    HELD = 0
    """Entries that a bank of the history buffer holds."""
    KEEP = 1
    """Entries of an HBM port that the next layer reuses."""
    REST = 2
    """The other entries of an HBM port."""


def queue_layout(config: KVConfig) -> data.StructLayout:
    """Return the name of a queue: of a bank or port, and what waits in it."""
    return data.StructLayout(
        {"number": bits(max(config.buffer_banks, config.hbm_ports)), "kind": QueueKind}
    )


class KVQueues(wiring.Component):
    """Append tokens to queues, one a cycle; then look at a queue's head and pop it, two cycles.

    Every token is in at most one queue at a time.

    Parameters
    ----------
    config
        Banks, ports, tokens.

    Members
    -------
    clear : ``In(1)``, empty every queue
    queue : ``In``, the queue that `append`, `look` and `pop` concern
    append, token : ``In``, put a token at its end
    look : ``In(1)``, read its head; ``head`` is valid in this cycle
    head : ``Out``
    pop : ``In(1)``, remove its head; it was looked at last, in an earlier cycle
    held, keep, rest : ``Out``, which queues of each kind hold a token
    """

    def __init__(self, config: KVConfig):
        self.config = config
        token = bits(config.max_tokens)
        super().__init__(
            {
                "clear": In(1),
                "queue": In(queue_layout(config)),
                "append": In(1),
                "token": In(token),
                "look": In(1),
                "head": Out(token),
                "pop": In(1),
                "held": Out(config.buffer_banks),
                "keep": Out(config.hbm_ports),
                "rest": Out(config.hbm_ports),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        token = bits(self.config.max_tokens)
        rows = len(QueueKind) << len(self.queue.number)
        m.submodules.heads = heads = memory.Memory(shape=token, depth=rows, init=[])
        m.submodules.tails = tails = memory.Memory(shape=token, depth=rows, init=[])
        depth = self.config.max_tokens
        m.submodules.following = following = Ram(token, depth)
        head_read, head_write = heads.read_port(domain="comb"), heads.write_port()
        tail_read, tail_write = tails.read_port(domain="comb"), tails.write_port()
        occupied, last = Signal(), Signal()
        m.d.comb += [
            occupied.eq(self._occupied(m, last)),
            head_read.addr.eq(self.queue),
            tail_read.addr.eq(self.queue),
            self.head.eq(head_read.data),
            following.read_addr.eq(self.head),
            following.read_en.eq(self.look),
            head_write.addr.eq(self.queue),
            head_write.data.eq(following.read_data),
            head_write.en.eq(self.pop),
            tail_write.addr.eq(self.queue),
            tail_write.data.eq(self.token),
            tail_write.en.eq(self.append),
            following.write_addr.eq(tail_read.data),
            following.write_data.eq(self.token),
            following.write_en.eq(self.append & occupied),
        ]
        with m.If(self.append):
            m.d.comb += [head_write.data.eq(self.token), head_write.en.eq(~occupied)]
        with m.If(self.look):
            m.d.sync += last.eq(head_read.data == tail_read.data)
        return m

    def _occupied(self, m: Module, last: Signal) -> Any:
        """Keep which queues hold a token; return whether the one concerned does."""
        flags = {
            QueueKind.HELD: self.held,
            QueueKind.KEEP: self.keep,
            QueueKind.REST: self.rest,
        }
        chosen = []
        for kind, flag in flags.items():
            here = self.queue.kind == kind
            chosen.append(here & flag.bit_select(self.queue.number, 1))
            with m.If(self.clear):
                m.d.sync += flag.eq(0)
            with m.Elif(here & self.append):
                m.d.sync += flag.bit_select(self.queue.number, 1).eq(1)
            with m.Elif(here & self.pop & last):
                m.d.sync += flag.bit_select(self.queue.number, 1).eq(0)
        return Cat(chosen).any()
