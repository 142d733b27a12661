# amaranth: UnusedElaboratable=no
"""A unit is emitted once for all that it depends on, and again for anything else."""

import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hwroute.sim import emission
from hwroute.sim.emission import EmittedUnit, hash_of_files, source_files
from hwroute.sim.harness import Ports


class Kind(enum.Enum, shape=2):
    """A shape that is a class."""

    A = 0
    B = 1


class Pair(data.Struct):
    """A shape that is a class with fields."""

    low: 4
    high: signed(5)


class Shapes(wiring.Component):
    """Ports of every kind of shape that units have."""

    i: In(stream.Signature(data.StructLayout({"kind": Kind, "lanes": data.ArrayLayout(Pair, 3)})))
    o: Out(stream.Signature(Pair))
    setting: In(range(9))
    result: Out(signed(3))

    def elaborate(self, platform: Any) -> Module:
        return Module()


class Constant(wiring.Component):
    """Add a constant to what passes; count how often that is elaborated."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    elaborated = 0

    def __init__(self, constant: Any = 1):
        self.constant = constant
        super().__init__()

    def elaborate(self, platform: Any) -> Module:
        Constant.elaborated += 1
        m = Module()
        m.d.comb += [
            self.o.payload.eq(self.i.payload + self.constant),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]
        return m


@pytest.fixture(autouse=True)
def from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Constant, "elaborated", 0)


def kept(constant: Any, identity: str, folder: Path) -> EmittedUnit:
    return EmittedUnit.kept(partial(Constant, constant), identity=identity, folder=folder)


def test_a_unit_is_elaborated_once_and_kept_as_it_is_emitted(tmp_path: Path) -> None:
    units = [kept(1, "constant 1", tmp_path) for _ in range(3)]
    assert Constant.elaborated == 1
    for unit in units:
        assert unit == EmittedUnit.of(Constant())
        assert unit.ports == Ports.of(Constant())


def test_another_identity_is_another_emission(tmp_path: Path) -> None:
    one, two = (kept(n, f"constant {n}", tmp_path) for n in (1, 2))
    assert one != two
    assert kept(1, "constant 1", tmp_path) == one


@pytest.mark.parametrize("name", ["SOURCES", "TOOLS"])
def test_other_sources_or_tools_emit_anew(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(1, "constant", tmp_path)
    monkeypatch.setattr(emission, name, "other" if name == "SOURCES" else ("numpy",))
    assert kept(2, "constant", tmp_path) == EmittedUnit.of(Constant(2))


def test_an_emission_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        kept("one", "constant", tmp_path)
    assert list(tmp_path.glob("*.unit")) == []
    assert kept(1, "constant", tmp_path) == EmittedUnit.of(Constant())


def test_ports_of_every_kind_of_shape_are_kept_whole() -> None:
    ports = Ports.of(Shapes())
    copy = pickle.loads(pickle.dumps(ports))
    assert copy == ports
    assert copy.sources["i"]["kind"].shape is Kind


def test_one_changed_character_changes_the_hash(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.py", "b.py")]
    hashes = set()
    for texts in (("x = 1", "y = 1"), ("x = 1", "y = 2"), ("x = 1y", " = 1"), ("y = 1", "x = 1")):
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        hashes.add(hash_of_files(files))
    assert len(hashes) == 4


def test_every_module_that_a_unit_needs_counts() -> None:
    code = (
        "import sys, hwroute.sim.harness\n"
        "from hwroute.rtl.units import UNITS\n"
        "modules = {n: m for n, m in sys.modules.items() if n.split('.')[0] == 'hwroute'}\n"
        "print(*(m.__file__ for n, m in modules.items() if n != 'hwroute.sim'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needed = {Path(line).resolve() for line in done.stdout.split()}
    assert len(needed) > 40
    assert needed <= {file.resolve() for file in source_files()}
