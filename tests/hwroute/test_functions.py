"""The tables fit their formats and lie within a stated distance of the functions."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from hwroute.functions import EXP2, LOG2_E, LOG2_E_BITS, RECIPROCAL, RSQRT, Segments

TABLES = {"exp2": EXP2, "reciprocal": RECIPROCAL, "rsqrt": RSQRT}
LIMITS = {"exp2": 2.0**-18.0, "reciprocal": 2.0**-18.9, "rsqrt": 2.0**-18.3}
"""Largest relative errors: what docs/numerics.md lists."""


def significands(table: Segments) -> tuple[np.ndarray, np.ndarray]:
    """Return arguments in [0, 1) and results: every seventh argument and all segments' ends."""
    span = 1 << table.delta_bits
    step = 1 if span <= 1 << 9 else 7
    delta = np.unique(np.append(np.arange(0, span, step), span - 1))
    base = np.array(table.base, np.int64)[:, None]
    slope = np.array(table.slope, np.int64)[:, None]
    index = np.arange(1 << table.index_bits)[:, None]
    argument = (index * span + delta) / (span << table.index_bits)
    return argument, base + ((slope * delta) >> table.shift)


def function(name: str, argument: np.ndarray) -> np.ndarray:
    if name == "exp2":
        return np.exp2(argument) * 2.0**23
    if name == "reciprocal":
        return 2.0**24 / (1 + argument)
    return 2.0**24 / np.sqrt(np.where(argument < 0.5, 1 + 2 * argument, 4 * argument))


@pytest.mark.parametrize("name", TABLES)
def test_tables_stay_within_their_error(name: str) -> None:
    argument, result = significands(TABLES[name])
    exact = function(name, argument)
    error = np.abs(result - exact) / exact
    assert error.max() <= LIMITS[name]
    # The bound is no looser than it need be.
    assert error.max() > LIMITS[name] / 1.2


@pytest.mark.parametrize("name", TABLES)
def test_coefficients_fit_their_registers(name: str) -> None:
    table = TABLES[name]
    assert len(table.base) == len(table.slope) == 1 << table.index_bits
    assert all(0 <= base < 1 << 24 for base in table.base)
    assert all(-(1 << 17) <= slope < 1 << 17 for slope in table.slope)
    assert table.delta_bits <= 17  # the multiplier's other port, with a sign


@pytest.mark.parametrize("name", TABLES)
def test_results_are_normalised_significands(name: str) -> None:
    _, result = significands(TABLES[name])
    assert result.min() >= 1 << 23
    assert result.max() < 1 << 24


@pytest.mark.parametrize("name", TABLES)
def test_segments_bend_one_way_and_meet_within_the_error(name: str) -> None:
    """No segment is out of place: neighbours meet, but where rsqrt changes parity."""
    table = TABLES[name]
    _, result = significands(table)
    gap = np.abs(result[1:, 0] - result[:-1, -1]).astype(float)
    if name == "rsqrt":
        gap[(1 << table.index_bits - 1) - 1] = 0
    step = np.abs(np.array(table.slope[:-1])) / (1 << table.shift)
    assert (gap <= step + 2.2 * LIMITS[name] * 2**24).all()


def test_log2_e_is_the_nearest_integer() -> None:
    with localcontext(prec=40):
        exact = 2**LOG2_E_BITS / Decimal(2).ln()
    assert int(exact.to_integral_value()) == LOG2_E


def test_coefficients_are_integers_of_python() -> None:
    """Decimal arithmetic made them: no float of the platform had a say."""
    for table in TABLES.values():
        assert {type(value) for value in (*table.base, *table.slope)} == {int}
