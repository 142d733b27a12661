"""Decisions and bitmask words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwroute.models.ops.router import compact, decide, pack_mask

ONE = np.float32(1)
NEXT = np.nextafter(ONE, np.float32(2))
PAIRS = np.float32([[1, 1], [NEXT, 1], [1, NEXT], [0.0, -0.0], [-0.0, 0.0], [-1, 1], [3e38, -3e38]])


@pytest.mark.parametrize(
    ("execute", "tie_executes", "expected"),
    [
        (0, True, [1, 1, 0, 1, 1, 0, 1]),
        (0, False, [0, 1, 0, 0, 0, 0, 1]),
        (1, True, [1, 0, 1, 1, 1, 1, 0]),
        (1, False, [0, 0, 1, 0, 0, 1, 0]),
    ],
)
def test_one_unit_of_fp32_decides_and_ties_follow_the_rule(
    execute: int, tie_executes: bool, expected: list[int]
) -> None:
    assert decide(PAIRS, execute=execute, tie_executes=tie_executes).tolist() == [
        bool(bit) for bit in expected
    ]


@pytest.mark.parametrize("execute", [0, 1])
@pytest.mark.parametrize("tie_executes", [True, False])
def test_decisions_are_those_of_plain_comparison(execute: int, tie_executes: bool) -> None:
    rng = np.random.default_rng(1)
    logits = rng.integers(-3, 4, (500, 2)).astype(np.float32)
    for row, bit in zip(
        logits.tolist(), decide(logits, execute=execute, tie_executes=tie_executes), strict=True
    ):
        run, skip = row[execute], row[1 - execute]
        assert bit == (run > skip or (run == skip and tie_executes))


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.booleans(), max_size=200))
def test_masks_pack_into_words_and_compact_into_indices(bits: list[bool]) -> None:
    mask = np.array(bits, np.bool_)
    words = pack_mask(mask)
    assert (words.dtype, len(words)) == (np.uint64, -(-len(bits) // 64))
    number = sum(int(word) << 64 * place for place, word in enumerate(words))
    assert number == sum(1 << index for index, bit in enumerate(bits) if bit)
    assert compact(mask).tolist() == [index for index, bit in enumerate(bits) if bit]
