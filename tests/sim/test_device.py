"""Devices as data."""

from pathlib import Path

import pytest

from hwroute.errors import InputError
from hwroute.sim.device import ATOM_BYTES, DEVICES, device_names, load_device

U280 = (DEVICES / "u280.toml").read_text(encoding="utf-8")


def test_the_u280_has_the_peaks_that_its_sources_name() -> None:
    device = load_device("u280")
    assert "u280" in device_names()
    assert device.hbm.channel_gb_s == pytest.approx(14.4)
    assert device.hbm.peak_gb_s == pytest.approx(460.8)
    assert device.hbm.channels * device.hbm.channel_bytes == 8 << 30
    assert device.ddr.gb_s == pytest.approx(28.8)


@pytest.mark.parametrize("name", device_names())
def test_the_address_of_a_channel_reaches_all_of_it(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    address = device.hbm.address
    bits = sum(getattr(address, field) for field in address.order)
    assert ATOM_BYTES << bits == device.hbm.channel_bytes


def test_the_cards_have_what_their_data_sheets_say() -> None:
    sizes = {
        name: load_device(name).hbm.channels * load_device(name).hbm.channel_bytes >> 30
        for name in ("u280", "u50", "u55c")
    }
    assert sizes == {"u280": 8, "u50": 8, "u55c": 16}


def test_a_device_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(U280.replace('name = "u280"', 'name = "mine"'), encoding="utf-8")
    assert load_device(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", r"format must be 1, not 2"),
        ("core_mhz = 225", "core_mhs = 225", r"core_mhs must be a known key.*core_mhz"),
        ("dram_mhz = 900", "dram_mhz = 1000", r"hbm\.dram_mhz must be a multiple of"),
        ("dram_mhz = 900", 'dram_mhz = "fast"', r"dram_mhz must be .*'fast'"),
        ('"row", "group_high"', '"row", "row"', r"order must name each of row, group_high"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in U280
    path.write_text(U280.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_device(str(path))


def test_an_unknown_device_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"device must be a TOML file or one of .*did you mean"):
        load_device("u28o")
