# amaranth: UnusedElaboratable=no
"""What the scores unit sends to the array, on the real array."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute.paths import build_dir
from hwroute.rtl.array import PEArray
from hwroute.sim.units import UnitSimulation


@pytest.mark.cpp
def test_the_array_makes_the_same_of_beats_and_tiles(
    bench: Any, config_of: Any, tmp_path: Path
) -> None:
    """The real array, fed with what the unit sent to its model, sends what the model sent."""
    config = config_of()
    unit = bench(config, seed=20, tokens=np.arange(30))
    unit.add(1, heads=4, queries=2, own=1, pitch=2)
    unit.add(3, heads=2, queries=2, first=1, head_lines=2, pitch=8)
    unit.run()
    columns = config.array.columns
    nothing = {
        "weights": np.zeros((1, columns, 64), np.int8),
        "scales": np.zeros((1, columns), np.uint16),
    }
    inputs = {"x": unit.stacked("x"), "w": nothing, "kv": unit.stacked("kv")}
    simulation = UnitSimulation(PEArray(config), folder=build_dir())
    expected = unit.stacked("o")
    run = simulation.run(inputs, {"o": len(expected["slot"])}, folder=tmp_path)
    np.testing.assert_array_equal(run.outputs["o"]["slot"], expected["slot"])
    # Columns that no vector was given hold what an earlier tile left there.
    given = np.arange(columns) < np.array(unit.array.filled)[:, None]
    sent, expected_sums = run.outputs["o"]["columns"], expected["columns"]
    np.testing.assert_array_equal(np.where(given, sent, 0), np.where(given, expected_sums, 0))
