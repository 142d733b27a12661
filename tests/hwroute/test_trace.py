"""Traces survive the trip through a file; what is no whole trace is refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from hwroute.errors import InputError
from hwroute.tensor_document import METADATA
from hwroute.trace import FORMAT, Record, Trace


def record(number: int = 0, **outputs: Any) -> Record:
    return Record(
        id=number,
        operation=f"layers.{number}.attention.q",
        operator="matmul",
        position=7,
        rows=np.array([0, 2], np.int64),
        outputs=outputs,
    )


@pytest.fixture
def trace() -> Trace:
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    records = [
        record(0, q=np.array([[0x3C00, 0x8400]], np.uint16), empty=np.zeros((0, 9), np.int64)),
        record(1, zebra=wide.T, apple=np.array([True, False]), minus=np.float32([[-0.0]])),
        Record(id=2, operation="x", operator="add", position=0, rows=np.arange(6)[::2], outputs={}),
    ]
    return Trace(program="ab" * 32, header={"command": "sim", "seed": 3}, records=records)


def test_a_saved_trace_loads_as_it_was(trace: Trace, tmp_path: Path) -> None:
    trace.save(tmp_path / "run.trace")
    loaded = Trace.load(tmp_path / "run.trace")
    assert (loaded.program, loaded.header) == (trace.program, trace.header)
    assert len(loaded.records) == len(trace.records)
    for a, b in zip(loaded.records, trace.records, strict=True):
        assert (a.id, a.operation, a.operator) == (b.id, b.operation, b.operator)
        assert a.position == b.position
        np.testing.assert_array_equal(a.rows, b.rows)
        # Names in the order of writing, arrays bit for bit with type and shape.
        assert list(a.outputs) == list(b.outputs)
        for name, array in b.outputs.items():
            assert (a.outputs[name].dtype, a.outputs[name].shape) == (array.dtype, array.shape)
            assert a.outputs[name].tobytes() == np.ascontiguousarray(array).tobytes()


def test_two_saves_of_one_trace_are_equal_files(trace: Trace, tmp_path: Path) -> None:
    trace.save(tmp_path / "a")
    trace.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saving_leaves_only_the_trace(trace: Trace, tmp_path: Path) -> None:
    trace.save(tmp_path / "run.trace")
    trace.save(tmp_path / "run.trace")
    assert [path.name for path in tmp_path.iterdir()] == ["run.trace"]


def test_a_failed_save_keeps_the_earlier_file_and_leaves_no_other(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace.save(tmp_path / "run.trace")
    before = (tmp_path / "run.trace").read_bytes()

    def fails(_: Any, path: Path, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("hwroute.tensor_document.save_file", fails)
    with pytest.raises(InputError, match=r"run\.trace must be writable: No space left"):
        Trace(program="cd").save(tmp_path / "run.trace")
    assert (tmp_path / "run.trace").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.trace"]


def test_an_unwritable_path_is_named(trace: Trace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trace .*none/run\.trace must be writable"):
        trace.save(tmp_path / "none" / "run.trace")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"trace .*file/run\.trace must be writable"):
        trace.save(tmp_path / "file" / "run.trace")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"trace .*folder must be writable"):
        trace.save(tmp_path / "folder")
    with pytest.raises(InputError, match=r"trace / must be writable"):
        trace.save(Path("/"))
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}
    assert not any((tmp_path / "folder").iterdir())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trace .*none must be a whole trace file: "):
        Trace.load(tmp_path / "none")
    with pytest.raises(InputError, match="must be a whole trace file"):
        Trace.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.999])
def test_a_truncated_file_is_refused(trace: Trace, tmp_path: Path, share: float) -> None:
    trace.save(tmp_path / "run.trace")
    whole = (tmp_path / "run.trace").read_bytes()
    (tmp_path / "part").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="part must be a whole trace file"):
        Trace.load(tmp_path / "part")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("to be, or not to be")
    with pytest.raises(InputError, match="text must be a whole trace file"):
        Trace.load(tmp_path / "text")
    save_file({"weight": np.zeros(4, np.float32)}, tmp_path / "model")
    with pytest.raises(InputError, match=f"model must be of format {FORMAT!r}, not None"):
        Trace.load(tmp_path / "model")


def write(path: Path, about: Any) -> None:
    """Write a file with one record's rows and the given metadata."""
    rows = {"0/rows": np.zeros(1, np.int64)}
    save_file(rows, path, metadata={METADATA: json.dumps(about)})


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "new", {"format": "hwroute-trace/2", "others": []})
    with pytest.raises(InputError, match=f"must be of format {FORMAT!r}, not 'hwroute-trace/2'"):
        Trace.load(tmp_path / "new")


@pytest.mark.parametrize(
    "damage",
    [
        {"records": None},
        {"program": None},
        {"header": None},
        {"records": [[0]]},
        {"records": 7},
        {"records": [[9, "q", "matmul", 0, []]]},
        {"records": [[0, "q", "matmul", 0, ["absent"]]]},
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    index = [[0, "q", "matmul", 0, []]]
    about = {"format": FORMAT, "program": "ab", "header": {}, "records": index}
    path = tmp_path / "run.trace"
    write(path, about)
    assert len(Trace.load(path).records) == 1
    write(path, {key: value for key, value in (about | damage).items() if value is not None})
    with pytest.raises(InputError, match=r"run\.trace must be a whole trace file"):
        Trace.load(path)
    write(path, 7)
    with pytest.raises(InputError, match=r"run\.trace must be a whole trace file"):
        Trace.load(path)
