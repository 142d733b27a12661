"""The order in which attention consumes K and V, and what the history buffer keeps (docs/kv.md).

The order is a pure function of bitmasks, directory and port counts. It is cut into rounds; a round
fixes order, not time.
"""

from collections import deque
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwroute.config import KVConfig
from hwroute.kv import ORDER_FIELDS
from hwroute.models.ops.kv_directory import Entry, KVDirectory


class Served(NamedTuple):
    """One entry of a round.

    `hit`: it is read from bank `bank`, place `place` of the history buffer; else from slot `slot`
    of HBM port `port`, where it is stored in either case. `keep`: it is in `bank`, `place`
    afterwards. `bank` and `place` are 0 where neither holds.
    """

    token: int
    hit: bool
    source_layer: int
    port: int
    slot: int
    keep: bool
    bank: int
    place: int


Round: TypeAlias = list[Served]


class HistoryBuffer:
    """The KV history buffer: which entries it holds, and the rounds that fill and empty it.

    `KVConfig.buffer_read_ports` banks each hold `KVConfig.bank_places` entries and serve one read
    and one write a round. A bank hands out its free places first in, first out: 0, 1, 2, ... after
    an invalidation, then those given back, in that order; a place given back in a round is free
    from the next round on.

    Parameters
    ----------
    config
        Ports, banks, capacity.
    directory
        Where the entries are stored.
    """

    def __init__(self, config: KVConfig, directory: KVDirectory):
        self.config = config
        self.directory = directory
        self.invalidate()

    @property
    def held(self) -> dict[int, tuple[int, int]]:
        """Tokens in the buffer, each with its bank and place."""
        return dict(self._held)

    def valid_for(self, layer: int, count: int) -> bool:
        """Tell whether attention of tokens 0 to `count` - 1 at `layer` will use the buffer."""
        return self._layer == layer and count >= self._count

    def invalidate(self) -> None:
        """Forget everything that the buffer holds."""
        banks = range(self.config.buffer_banks)
        self._layer: int | None = None
        self._count = 0
        self._held: dict[int, tuple[int, int]] = {}
        self._free = [deque(range(self.config.bank_places)) for _ in banks]
        self._load = [0 for _ in banks]
        self._given_back: list[tuple[int, int]] = []
        self._written: set[int] = set()
        self._writes_left = 0

    def attend(self, layer: int, count: int, look_ahead: bool) -> list[Round]:
        """Order the entries of tokens 0 to `count` - 1 at `layer`, and update the buffer.

        Parameters
        ----------
        layer
            Layer of this attention. A buffer that was not filled for it, or was filled by an
            attention over more tokens, is invalidated first.
        count
            Tokens that are consumed; those without an entry at `layer` are passed over. Every one
            must have been written, skipped or evicted at `layer`, and at the next layer too with
            `look_ahead`.
        look_ahead
            Whether the next layer's bits of these tokens are final: in decode, but at the last
            layer. Then what the next layer reuses is kept, and the buffer is valid for it.

        Returns
        -------
        list[Round]
            Every entry exactly once. Without entries there are no rounds.
        """
        entries = self.directory.entries(layer, count)
        wishes = [False] * count
        if look_ahead:
            wishes = self.directory.reused(layer + 1, count).tolist()
        if self.valid_for(layer, count):
            rounds = self._queued_rounds(entries, wishes)
        else:
            self.invalidate()
            rounds = self._walked_rounds(entries, wishes)
        if look_ahead:
            self._layer, self._count = layer + 1, count
        else:
            self.invalidate()
        return rounds

    def _walked_rounds(self, entries: list[Entry], wishes: list[bool]) -> list[Round]:
        """Go by token; a round ends where a port or the writes run out: the buffer is invalid."""
        rounds: list[Round] = []
        ports: set[int] = set()
        for token, entry in enumerate(entries):
            if not entry.valid:
                continue
            full = wishes[token] and self._writes_left == 0
            if not rounds or entry.port in ports or full:
                rounds.append([])
                ports.clear()
                self._next_round()
            ports.add(entry.port)
            rounds[-1].append(self._from_hbm(token, entry, wishes[token]))
        return rounds

    def _queued_rounds(self, entries: list[Entry], wishes: list[bool]) -> list[Round]:
        """Serve the head of each bank's queue, then of each port's queues: the buffer is valid.

        A port has two queues in token order: what is to be kept, which goes first as long as the
        round has a write left, and the rest.
        """
        banks: list[deque[int]] = [deque() for _ in self._load]
        keep: list[deque[int]] = [deque() for _ in range(self.config.hbm_ports)]
        rest: list[deque[int]] = [deque() for _ in range(self.config.hbm_ports)]
        self._load = [0 for _ in banks]
        for token, entry in enumerate(entries):
            if token in self._held:
                bank = self._held[token][0]
                banks[bank].append(token)
                self._load[bank] += wishes[token]
            elif entry.valid:
                (keep if wishes[token] else rest)[entry.port].append(token)
        rounds: list[Round] = []
        while any(banks) or any(keep) or any(rest):
            self._next_round()
            served: Round = []
            for queue in filter(None, banks):
                token = queue.popleft()
                served.append(self._from_buffer(token, entries[token], wishes[token]))
            for kept, others in zip(keep, rest, strict=True):
                queue = kept if kept and self._writes_left else others
                if queue:
                    token = queue.popleft()
                    served.append(self._from_hbm(token, entries[token], wishes[token]))
            rounds.append(served)
        return rounds

    def _next_round(self) -> None:
        """Begin a round: places given back in the last one are free, every port may be used."""
        for bank, place in self._given_back:
            self._free[bank].append(place)
        self._given_back = []
        self._writes_left = self.config.buffer_write_ports
        self._written = set()

    def _from_buffer(self, token: int, entry: Entry, wish: bool) -> Served:
        """Read a held entry; it stays where it is, or its place is given back."""
        bank, place = self._held[token]
        if not wish:
            del self._held[token]
            self._given_back.append((bank, place))
        _, source, port, slot = entry
        return Served(token, True, source, port, slot, wish, bank, place)

    def _from_hbm(self, token: int, entry: Entry, wish: bool) -> Served:
        """Read an entry from HBM; if the next layer reuses it, keep it where a place is free.

        It goes to the bank with the fewest entries for the next layer, the lowest number first,
        among those that have a free place and were not written in this round. Where there is none
        the entry is not kept.
        """
        _, source, port, slot = entry
        able = wish and [
            bank for bank, free in enumerate(self._free) if free and bank not in self._written
        ]
        if not able:
            return Served(token, False, source, port, slot, False, 0, 0)
        bank = min(able, key=lambda choice: (self._load[choice], choice))
        place = self._free[bank].popleft()
        self._held[token] = (bank, place)
        self._load[bank] += 1
        self._written.add(bank)
        self._writes_left -= 1
        return Served(token, False, source, port, slot, True, bank, place)


def rounds_to_records(rounds: list[Round]) -> NDArray[np.int64]:
    """Return the order record of `rounds`: [entries, len(ORDER_FIELDS)] int64."""
    rows = [(number, *entry) for number, entries in enumerate(rounds) for entry in entries]
    return np.array(rows, np.int64).reshape(-1, len(ORDER_FIELDS))
