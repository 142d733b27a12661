"""``hwroute reproduce``: the paper's figures beside ours."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from hwroute.cli import main


def run(line: str) -> Any:
    return CliRunner().invoke(main, line.split())


def test_it_prints_a_part() -> None:
    result = run("reproduce table2")
    assert result.exit_code == 0, result.output
    assert "Table 2: resources" in result.stdout
    assert "are in no row of its table" in result.stdout


def test_json_has_rows_and_where_they_come_from() -> None:
    fields = json.loads(run("reproduce kv-storage -m tiny -c demo --json").stdout)
    first = fields["rows"][0]
    assert first["section"] == "kv-storage"
    assert first["paper"] == 25.4
    assert first["difference"] == pytest.approx(first["ours"] / first["paper"] - 1)
    assert first["place"] == "abstract"
    assert fields["provenance"]["config"]["name"] == "demo"
    assert "synthetic decisions" in fields["sections"][0]["about"][0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("table3", "'table3' is not one of"),
        ("kv-storage -d u28", "did you mean 'u280'"),
        ("kv-storage -m llama2-7", "did you mean 'llama2-7b'"),
        ("end-to-end -m tiny -c demo", "context must be from 1 to the model's 256, not 1152"),
    ],
)
def test_bad_input_gets_a_line(line: str, message: str) -> None:
    result = run(f"reproduce {line}")
    assert result.exit_code != 0
    assert message in str(result.exception) + result.output
