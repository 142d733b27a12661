"""Sizes of the sequencer."""

import pytest

from hwroute.sequencer_config import SequencerConfig


@pytest.mark.parametrize(
    ("name", "value", "largest"),
    [("prefetch", 0, 64), ("queue", 65, 64), ("in_flight", -1, 64), ("token_bits", 17, 16)],
)
def test_a_size_out_of_range_is_refused(name: str, value: int, largest: int) -> None:
    message = f"sequencer.{name} must be from 1 to {largest}, not {value}"
    with pytest.raises(ValueError, match=message):
        SequencerConfig(**{name: value})
    assert getattr(SequencerConfig(**{name: largest}), name) == largest
