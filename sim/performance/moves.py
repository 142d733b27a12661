"""When the ports of a memory moved data, for a timeline."""

from typing import NamedTuple


class Move(NamedTuple):
    """A stretch in which ports moved data.

    Parameters
    ----------
    start, end
        Cycles of the machine.
    ports
        How many moved data, on average over the stretch.
    """

    start: float
    end: float
    ports: float


class Moves:
    """Stretches in the order in which they were asked for; those that go on are one.

    Members
    -------
    list
        All of them.
    """

    def __init__(self) -> None:
        self.list: list[Move] = []

    def add(self, start: float, end: float, busy: float) -> None:
        """Note that ports were busy, together for `busy` cycles, from `start` to `end`."""
        if end <= start:
            return
        ports = busy / (end - start)
        if self.list:
            last = self.list[-1]
            # Sums of cycles are not exact; a port that moves all the time is one stretch.
            if abs(last.end - start) < 1e-3 and abs(last.ports - ports) < 1e-3:
                self.list[-1] = Move(last.start, end, ports)
                return
        self.list.append(Move(start, end, ports))
