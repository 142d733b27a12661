"""A comparison finds every difference and names the first one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwroute.compare import Divergence, compare, compare_records, first_difference, show
from hwroute.errors import InputError
from hwroute.trace import Record, Trace


def record(number: int, operation: str = "layers.0.ffn.down", **outputs: Any) -> Record:
    outputs = outputs or {"down": np.array([[0x3C00, 0x4000], [0x4200, 0x4400]], np.uint16)}
    return Record(
        id=number,
        operation=operation,
        operator="matmul",
        position=4,
        rows=np.array([0, 1], np.int64),
        outputs=outputs,
    )


def trace(count: int = 4) -> Trace:
    return Trace(program="5a" * 32, records=[record(number) for number in range(count)])


def changed(base: Trace, number: int, **changes: Any) -> Trace:
    records = list(base.records)
    records[number] = replace(records[number], **changes)
    return replace(base, records=records)


def test_equal_traces_match() -> None:
    result = compare(trace(), trace())
    assert (result.match, result.records, result.mismatches, result.first) == (True, 4, 0, None)


def test_one_flipped_bit_is_named_with_place_and_values() -> None:
    down = np.array([[0x3C00, 0x4000], [0x4201, 0x4400]], np.uint16)
    theirs = changed(trace(), 2, outputs={"down": down})
    result = compare(trace(), theirs)
    assert (result.match, result.records, result.mismatches) == (False, 4, 1)
    assert result.first == Divergence(
        id=2,
        operation="layers.0.ffn.down",
        output="down",
        index=(1, 0),
        ours="0x4200 (3)",
        theirs="0x4201 (3.00195)",
    )
    assert str(result.first) == (
        "operation 2 (layers.0.ffn.down), down[1, 0]: first 0x4200 (3), second 0x4201 (3.00195)"
    )
    assert result.first.to_dict()["index"] == [1, 0]


def test_the_first_of_several_differences_is_named_and_all_are_counted() -> None:
    wrong = {"down": np.zeros((2, 2), np.uint16)}
    theirs = changed(changed(trace(), 3, outputs=wrong), 1, outputs=wrong)
    result = compare(trace(), theirs)
    assert result.first is not None
    assert (result.first.id, result.first.index, result.mismatches) == (1, (0, 0), 2)


@pytest.mark.parametrize(
    ("ours", "theirs", "a", "b"),
    [
        (np.float32([1, 0.0]), np.float32([1, -0.0]), "0x00000000 (0)", "0x80000000 (-0)"),
        (np.array([1, -2]), np.array([1, 3]), "0xfffffffffffffffe (-2)", "0x3 (3)"),
        (np.array([True, True]), np.array([True, False]), "1", "0"),
        (np.float32([1, 1]), np.float32([1, np.nan]), "0x3f800000 (1)", "0x7fc00000 (nan)"),
        (np.uint16([0, 0xFBFF]), np.uint16([0, 0x8000]), "0xfbff (-65504)", "0x8000 (0)"),
    ],
)
def test_every_type_is_shown_in_hexadecimal_and_decoded(
    ours: Any, theirs: Any, a: str, b: str
) -> None:
    found = compare_records(record(0, out=ours), record(0, out=theirs))
    assert found is not None
    assert (found.index, found.ours, found.theirs) == ((1,), a, b)


def test_equal_nan_bits_are_equal() -> None:
    assert first_difference(np.float32([np.nan]), np.float32([np.nan])) is None
    assert show(np.float32(1.5)) == "0x3fc00000 (1.5)"


def test_differences_in_arrays_that_are_not_contiguous_are_found() -> None:
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    other = base.copy()
    other[1, 2] += 1
    assert first_difference(base.T, other.T) == (2, 1)


@pytest.mark.parametrize("longer", ["ours", "theirs"])
def test_missing_records_are_counted_and_the_first_is_named(longer: str) -> None:
    pair = {"ours": trace(4), "theirs": trace(4)}
    pair["theirs" if longer == "ours" else "ours"] = trace(2)
    result = compare(pair["ours"], pair["theirs"])
    assert result.first is not None
    assert (result.records, result.mismatches, result.first.id) == (4, 2, 2)
    sides = ("a record", "none") if longer == "ours" else ("none", "a record")
    assert (result.first.output, result.first.ours, result.first.theirs) == ("record", *sides)


def test_a_difference_comes_before_the_missing_records() -> None:
    theirs = changed(trace(3), 0, rows=np.array([0, 2], np.int64))
    result = compare(trace(4), theirs)
    assert result.first is not None
    assert (result.first.id, result.first.output, result.first.index) == (0, "rows", (1,))
    assert result.mismatches == 2


def test_another_operation_or_position_is_named() -> None:
    found = compare_records(record(5), record(5, "layers.0.ffn.up"))
    assert found is not None
    assert (found.output, found.ours) == ("operation", "layers.0.ffn.down at position 4")
    assert found.theirs == "layers.0.ffn.up at position 4"
    found = compare_records(record(5), replace(record(5), position=5))
    assert found is not None
    assert found.theirs == "layers.0.ffn.down at position 5"


def test_another_shape_or_type_is_named() -> None:
    ours = record(0, out=np.zeros((2, 3), np.uint16))
    found = compare_records(ours, record(0, out=np.zeros((2, 4), np.uint16)))
    assert found is not None
    assert (found.output, found.ours, found.theirs) == ("out", "uint16 (2, 3)", "uint16 (2, 4)")
    found = compare_records(ours, record(0, out=np.zeros((2, 3), np.float32)))
    assert found is not None
    assert found.theirs == "float32 (2, 3)"


def test_an_output_on_one_side_only_is_named() -> None:
    one, two = record(0, a=np.zeros(1), b=np.zeros(1)), record(0, a=np.zeros(1))
    found = compare_records(one, two)
    assert found is not None
    assert (found.output, found.ours, found.theirs) == ("b", "present", "absent")
    found = compare_records(two, one)
    assert found is not None
    assert (found.output, found.ours, found.theirs) == ("b", "absent", "present")


def test_the_named_output_does_not_depend_on_the_hash_seed() -> None:
    """Of several missing outputs the first in the order of writing is named."""
    code = (
        "import numpy as np\n"
        "from hwroute.compare import compare_records\n"
        "from hwroute.trace import Record\n"
        "def r(names):\n"
        "    return Record(id=0, operation='q', operator='x', position=0, rows=np.zeros(1),\n"
        "                  outputs={name: np.zeros(1) for name in names})\n"
        "print(compare_records(r(['m', 'zeta', 'beta', 'kappa']), r(['m'])).output)\n"
    )
    for seed in ("1", "2", "3"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        out = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True
        )
        assert out.stdout.decode().strip() == "zeta"


def test_traces_of_different_programs_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"of the same program .* not of 5a5a5a5a5a5a and 000000000000"
    ):
        compare(trace(), replace(trace(), program="0" * 64))


@pytest.mark.parametrize(
    ("ours", "theirs", "which"), [(0, 0, "first"), (0, 4, "first"), (4, 0, "second")]
)
def test_a_trace_without_records_matches_nothing(ours: int, theirs: int, which: str) -> None:
    with pytest.raises(
        InputError, match=f"the {which} trace must have at least one record, not none"
    ):
        compare(trace(ours), trace(theirs))


def test_a_trace_from_a_file_equals_the_one_in_memory(tmp_path: Path) -> None:
    trace().save(tmp_path / "t")
    assert compare(trace(), Trace.load(tmp_path / "t")).match
