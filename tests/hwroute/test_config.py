"""Configurations: presets, files laid over them, and errors that say what to write instead."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from hwroute.config import (
    PRESETS,
    ArrayConfig,
    Config,
    KVConfig,
    Numerics,
    Rounding,
    Variant,
    load,
    to_dict,
)
from hwroute.errors import InputError


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str, name: str = "mine.toml") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_by_name_and_survive_a_file(name: str, written: Any) -> None:
    assert load(name) is PRESETS[name]
    assert load(written(tomli_w.dumps(to_dict(PRESETS[name])))) == PRESETS[name]


def test_plain_values_are_what_json_and_toml_hold() -> None:
    values = to_dict(PRESETS["demo"])
    assert values["numerics"]["variant"] == "aligned"
    assert values["kv"]["hbm_ports"] == 4
    assert tomllib.loads(tomli_w.dumps(values)) == values


def test_a_file_changes_only_what_it_names(written: Any) -> None:
    text = 'base = "demo"\n[numerics]\nrounding = "toward-zero"\n[kv]\nbuffer_tokens = 16\n'
    demo = PRESETS["demo"]
    expected = replace(
        demo,
        name="mine",
        numerics=replace(demo.numerics, rounding=Rounding.TOWARD_ZERO),
        kv=replace(demo.kv, buffer_tokens=16),
    )
    assert load(written(text)) == expected


def test_a_file_without_a_base_starts_from_the_defaults(written: Any) -> None:
    assert load(written("")) == Config(name="mine")
    assert load(written('name = "big"\n')) == Config(name="big")


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError,
        match=r"one of demo, mid, u280 or a TOML file, not 'dmeo'; did you mean 'demo'\?",
    ):
        load("dmeo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[kv]\nhbm_port = 4", r"kv\.hbm_port must be a known key; did you mean 'hbm_ports'\?"),
        ("[kvs]\nhbm_ports = 4", r"kvs must be a known key; did you mean 'kv'\?"),
        ("numeric = 3", r"numeric must be a known key; did you mean 'numerics'\?"),
        ("[array]\nzzz = 1", r"array\.zzz must be a known key$"),
        ("array = 16", "array must be a table, not 16"),
        ("[kv]\nhbm_ports = 3", r"kv\.hbm_ports must be a power of two, not 3"),
        ("[kv]\nhbm_ports = -4", r"kv\.hbm_ports must be a power of two, not -4"),
        ("[kv]\nhbm_ports = 4.0", r"kv\.hbm_ports must be of type int, not 4\.0"),
        ("[kv]\nmax_tokens = true", r"kv\.max_tokens must be of type int, not True"),
        ("name = 5", "name must be of type str, not 5"),
        (
            '[numerics]\nvariant = "alligned"',
            r"variant must be one of aligned, overpacked, not 'alligned'; did you mean 'aligned'\?",
        ),
        ("[numerics]\nrounding = [1]", r"rounding must be one of .*toward-zero, not \[1\]$"),
        ("[numerics]\nblock = 32", r"numerics\.block must be 64 .* not 32"),
        ("[numerics]\ngroup = 96", r"numerics\.group must be a multiple of numerics\.block"),
        ("[array]\ncolumns = 256", r"array\.columns must be a power of two from 2 to 128, not 256"),
        ('base = "dem"', r"base must be one of demo, mid, u280, not 'dem'; did you mean 'demo'\?"),
        ('base = ["demo"]', r"base must be one of demo, mid, u280, not \['demo'\]$"),
        ("base = 5", "base must be one of demo, mid, u280, not 5$"),
        ("[kv", "must be a readable TOML file: "),
    ],
)
def test_a_bad_file_is_refused_by_file_key_and_value(written: Any, text: str, message: str) -> None:
    path = written(text)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a readable TOML file"):
        load(str(tmp_path))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.toml must be a readable TOML file"):
        load(str(tmp_path / "binary.toml"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buffer_write_ports": 32}, r"kv\.buffer_write_ports must be at most .* \(16\).*not 32"),
        ({"buffer_tokens": 16}, r"kv\.buffer_tokens must be at least two .* \(16\) banks, not 16"),
        ({"entry_beats": 0}, r"kv\.entry_beats must be positive, not 0"),
        ({"beat_bits": 100}, r"kv\.beat_bits must be a positive multiple of 64, not 100"),
        ({"max_tokens": 32}, r"kv\.max_tokens must be a power of two, at least 64, not 32"),
        ({"max_tokens": 1000}, r"kv\.max_tokens must be a power of two, at least 64, not 1000"),
        ({"hbm_ports": 64, "max_tokens": 64, "max_layers": 257}, r"from 1 to 256, not 257"),
        ({"hbm_ports": 128, "max_tokens": 64}, r"at least kv\.hbm_ports \(128\), not 64"),
        ({"max_layers": 0}, r"kv\.max_layers must be from 1 to 256, not 0"),
    ],
)
def test_impossible_kv_geometry_is_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KVConfig(**changes)


def test_sizes_that_follow_from_others() -> None:
    kv = PRESETS["u280"].kv
    assert (kv.buffer_banks, kv.bank_places, kv.port_slots) == (16, 64, 32 * 4096 // 32)


def test_corners_that_are_allowed() -> None:
    assert KVConfig(buffer_tokens=32, max_layers=256, max_tokens=64).bank_places == 2
    assert Numerics(group=64, variant=Variant.OVERPACKED).group == 64
    assert ArrayConfig(columns=2, kv_vectors=1).columns == 2


def test_rows_that_do_not_hold_a_tile_of_v_are_refused() -> None:
    array = ArrayConfig(columns=4, kv_vectors=2, accumulator_rows=16)
    with pytest.raises(ValueError, match=r"array.accumulator_rows must be at least 32, .*, not 16"):
        Config(name="narrow", array=array)
    Config(name="narrow", numerics=Numerics(variant=Variant.OVERPACKED), array=array)
