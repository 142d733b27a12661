"""One pseudo-channel of HBM: banks, rows, refresh and turnaround, command by command."""

from collections import deque
from dataclasses import dataclass

from hwroute.sim.device import ATOM_BYTES, ATOM_CYCLES, Hbm

NEVER = -(1 << 40)
"""Long ago."""


@dataclass(kw_only=True)
class Bank:
    """What is known of a bank.

    Parameters
    ----------
    row
        The open one; None if closed.
    activated, ready, closable
        When its row was activated; when it takes column commands, or, closed, an activate; when it
        may be precharged at the earliest.
    """

    row: int | None = None
    activated: int = NEVER
    ready: int = 0
    closable: int = 0


@dataclass(kw_only=True)
class Counts:
    """What happened in a channel.

    Parameters
    ----------
    bytes, activates, refreshes, turnarounds
        Bytes moved, rows opened, refreshes, changes between reads and writes.
    """

    bytes: int = 0
    activates: int = 0
    refreshes: int = 0
    turnarounds: int = 0


class Channel:
    """Serve bursts in order; the rows of a burst open while the ones before it still move.

    Bursts are served in the order of the calls, which `hwroute.sim.memory.hbm` chooses. Time is in
    DRAM cycles, int.

    Parameters
    ----------
    hbm
        What it is a channel of.
    refresh_offset
        Time of the first refresh; channels are not refreshed at once.
    """

    def __init__(self, hbm: Hbm, refresh_offset: int = 0):
        self.hbm = hbm
        self.counts = Counts()
        self._fields = _field_places(hbm)
        timing, address = hbm.timing, hbm.address
        self._t = timing
        groups = 1 << (address.group_high + address.group_low)
        self._banks = [Bank() for _ in range(groups << address.bank)]
        self._group_column = [NEVER] * groups
        self._column = NEVER
        self._activates: deque[int] = deque([NEVER] * 4, maxlen=4)
        self._interval = hbm.cycles_of(timing.refresh_interval_ns)
        self._refreshing = hbm.cycles_of(timing.refresh_ns)
        self._refresh = refresh_offset + self._interval
        self._writing = False
        self._data_end = NEVER

    @property
    def column(self) -> int:
        """When the last column command went out."""
        return self._column

    def access(self, arrival: int, address: int, size: int, *, write: bool = False) -> int:
        """Return when the last data of a burst have moved.

        Parameters
        ----------
        arrival
            When the request is there.
        address, size
            Bytes within the channel, multiples of 32.
        """
        end = self._data_end
        for atom in range(address // ATOM_BYTES, (address + size) // ATOM_BYTES):
            end = self._atom(arrival, atom, write)
        self.counts.bytes += size
        return end

    def earliest(self, arrival: int, address: int, *, write: bool = False) -> int:
        """Return when the first column command of a burst could go out, were it the next one."""
        group, bank_number, row = self._locate(address // ATOM_BYTES)
        bank = self._banks[bank_number]
        opened = bank.activated if bank.row == row else self._activate_time(arrival, bank)
        return self._command_time(arrival, opened, group, write)

    def _atom(self, arrival: int, atom: int, write: bool) -> int:
        t = self._t
        group, bank_number, row = self._locate(atom)
        bank = self._banks[bank_number]
        command = self._column_time(arrival, bank, row, group, write)
        while command >= self._refresh:
            self._refresh_all()
            command = self._column_time(arrival, bank, row, group, write)
        latency = t.write_latency if write else t.read_latency
        data_end = command + latency + ATOM_CYCLES
        if write != self._writing:
            self.counts.turnarounds += 1
            self._writing = write
        self._column = self._group_column[group] = command
        self._data_end = data_end
        recovered = data_end + t.write_recovery if write else command + t.read_to_precharge
        bank.closable = max(bank.closable, recovered)
        return data_end

    def _column_time(self, arrival: int, bank: Bank, row: int, group: int, write: bool) -> int:
        """Return when the column command of an atom goes out, opening its row if need be."""
        if bank.row != row:
            self._open(arrival, bank, row)
        return self._command_time(arrival, bank.activated, group, write)

    def _command_time(self, arrival: int, activated: int, group: int, write: bool) -> int:
        t = self._t
        opened = t.activate_to_write if write else t.activate_to_read
        command = max(
            arrival,
            activated + opened,
            self._column + t.column_other_group,
            self._group_column[group] + t.column_same_group,
        )
        if write == self._writing:
            return command
        if write:
            # The bus must be free of data read before it is driven the other way.
            return max(command, self._data_end + 1 - t.write_latency)
        same = self._column == self._group_column[group]
        wait = t.write_to_read_same_group if same else t.write_to_read_other_group
        return max(command, self._data_end + wait)

    def _activate_time(self, arrival: int, bank: Bank) -> int:
        """Return when a bank could open another row."""
        t = self._t
        ready = bank.ready
        if bank.row is not None:
            ready = max(arrival, bank.closable) + t.precharge
        return max(
            arrival,
            ready,
            bank.activated + t.activate_to_activate,
            self._activates[-1] + t.activate_other_bank,
            self._activates[0] + t.four_activates,
        )

    def _open(self, arrival: int, bank: Bank, row: int) -> None:
        activate = self._activate_time(arrival, bank)
        bank.row, bank.activated = row, activate
        bank.closable = activate + self._t.activate_to_precharge
        self._activates.append(activate)
        self.counts.activates += 1

    def _refresh_all(self) -> None:
        """Close every bank and refresh; rows that were opened ahead of time open again."""
        started = [bank for bank in self._banks if bank.row is not None]
        begun = [bank.closable for bank in started if bank.activated < self._refresh]
        start = max([self._refresh, *begun]) + self._t.precharge
        for bank in self._banks:
            bank.row, bank.ready, bank.closable = None, start + self._refreshing, 0
        self._refresh += self._interval
        self.counts.refreshes += 1

    def _locate(self, atom: int) -> tuple[int, int, int]:
        """Return bank group, bank (counted over all groups) and row of an atom."""
        value = {
            name: atom >> place & ((1 << bits) - 1) for name, (place, bits) in self._fields.items()
        }
        group = value["group_high"] << self.hbm.address.group_low | value["group_low"]
        return group, group << self.hbm.address.bank | value["bank"], value["row"]


def _field_places(hbm: Hbm) -> dict[str, tuple[int, int]]:
    """Return lowest bit and width of each field of an atom's number."""
    places, at = {}, 0
    for name in reversed(hbm.address.order):
        bits = getattr(hbm.address, name)
        places[name] = (at, bits)
        at += bits
    return places
