"""``hwroute config``, and the provenance of what it prints as JSON."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hwroute import __version__, provenance
from hwroute.cli import main
from hwroute.config import PRESETS, load, to_dict


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


@pytest.mark.parametrize("name", list(PRESETS))
def test_config_show_prints_a_file_that_loads_as_the_same(tmp_path: Path, name: str) -> None:
    file = tmp_path / "shown.toml"
    file.write_text(run(f"config show {name}").stdout, encoding="utf-8")
    assert load(str(file)) == PRESETS[name]


def test_config_show_json_has_the_fields_and_the_provenance() -> None:
    result = json.loads(run("config show u280 --json").stdout)
    record = result.pop("provenance")
    assert result == to_dict(PRESETS["u280"])
    assert record["config"] == result
    assert record["config_hash"] == provenance.hash_of(result)
    assert record["command"] == ["hwroute", "config", "show", "u280", "--json"]
    assert record["hwroute"] == __version__


def test_config_list_names_every_preset() -> None:
    rows = run("config list").stdout.splitlines()
    assert [row.split()[0] for row in rows[1:]] == list(PRESETS)
    assert {len(row) for row in rows} == {len(rows[0])}
    listed = json.loads(run("config list --json").stdout)["configurations"]
    assert listed == [to_dict(preset) for preset in PRESETS.values()]


def test_config_check_accepts_a_valid_file_and_names_the_fault_of_another(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('base = "demo"\n[array]\ncolumns = 32\n', encoding="utf-8")
    assert run(f"config check {file}").stdout == f"{file}: valid\n"
    assert json.loads(run(f"config check {file} --json").stdout)["valid"] is True
    file.write_text("[array]\ncolums = 32\n", encoding="utf-8")
    result = run(f"config check {file}")
    assert result.exit_code == 2
    assert result.stderr == (
        f"hwroute: {file}: array.colums must be a known key; did you mean 'columns'?\n"
    )
