"""Sizes of the sequencer's queues."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SequencerConfig:
    """Geometry of the sequencer; it never changes a result.

    Parameters
    ----------
    prefetch
        Words that are asked for ahead of the decoder. A word a cycle takes as many as
        `hwroute.timing.sequencer_prefetch` says.
    queue
        Instructions of a unit that wait for tokens or for the unit.
    in_flight
        Instructions that a unit may have taken and not finished.
    token_bits
        Width of a counter of tokens, of which there is one for every pair of units.

    Raises
    ------
    ValueError
        A size out of range; the message names it.
    """

    prefetch: int = 8
    queue: int = 8
    in_flight: int = 8
    token_bits: int = 8

    def __post_init__(self) -> None:
        largest_sizes = {"prefetch": 64, "queue": 64, "in_flight": 64, "token_bits": 16}
        for name, largest in largest_sizes.items():
            value = getattr(self, name)
            if not 1 <= value <= largest:
                raise ValueError(f"sequencer.{name} must be from 1 to {largest}, not {value!r}")
