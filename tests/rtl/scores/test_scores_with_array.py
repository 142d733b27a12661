# amaranth: UnusedElaboratable=no
"""What the scores unit sends to the array, on the real array."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rtl.attention_bench import outputs_of_array


@pytest.mark.cpp
def test_the_array_makes_the_same_of_beats_and_tiles(
    bench: Any, config_of: Any, tmp_path: Path
) -> None:
    """The real array, fed with what the unit sent to its model, sends what the model sent."""
    unit = bench(config_of(), seed=20, tokens=np.arange(30))
    unit.add(1, heads=4, queries=2, own=1, pitch=2)
    unit.add(3, heads=2, queries=2, first=1, head_lines=2, pitch=8)
    unit.run()
    sent, expected = outputs_of_array(unit, tmp_path)
    np.testing.assert_array_equal(sent["slot"], expected["slot"])
    # Columns that no vector was given hold what an earlier tile left there.
    given = np.arange(unit.config.array.columns) < np.array(unit.array.filled)[:, None]
    sums = (np.where(given, rows["columns"], 0) for rows in (sent, expected))
    np.testing.assert_array_equal(*sums)
