"""A wrong policy file is refused with the key, the reason and the nearest right name."""

from pathlib import Path

import pytest

from hwroute.errors import InputError
from hwroute.models.library import POLICIES, named_policy
from hwroute.policy_file import from_toml, read_policy


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "format must be 1, not 2"),
        ("format = 1", "", "format must be 1, not None"),
        ("format = 1", "format = true", "format must be 1, not True"),
        ("format = 1", "format", "must be TOML: "),
        ('paper = "2506.04179"', "paper = 2506", "paper must be of type str, not 2506"),
        ('name = "skipgpt"', "", "key name is missing"),
        ('kv = "reuse"', 'kv = "reusing"', "kv must be one of .* did you mean 'reuse'"),
        ('kv = "reuse"', 'kvs = "reuse"', "kvs must be a known key; did you mean 'kv'"),
        (
            "overrides = { first_layers = 1 }",
            "overrides = { first_layer = 1 }",
            "attention.overrides.first_layer must be a known key; did you mean 'first_layers'",
        ),
        (
            "overrides = { first_layers = 1 }",
            "overrides = 1",
            "attention.overrides must be a table, not 1",
        ),
        (
            "overrides = { first_layers = 1 }",
            "",
            "kv must not be 'reuse' unless attention.overrides.first_layers is at least 1",
        ),
        (
            'router = { source = "sub-layer-input" }',
            'router = { source = "sublayer-input" }',
            r"attention.router.source must be one of .*; did you mean 'sub-layer-input'",
        ),
        (
            'router = { source = "sub-layer-input" }',
            "router = { linears = 3 }",
            "attention.router: linears must be 1 or 2, not 3",
        ),
        (
            'router = { source = "sub-layer-input" }',
            "",
            "attention: router must be given exactly where decision.rule is not 'table'",
        ),
        (
            'outcomes = [{ addend = "native" }, { addend = "bypass" }]',
            'outcomes = "native"',
            "attention.outcomes must be an array, not 'native'",
        ),
        (
            'outcomes = [{ addend = "native" }, { addend = "bypass" }]',
            'outcomes = [{ addend = "native" }, { repeat = 2 }]',
            r"key attention.outcomes\[1\].addend is missing",
        ),
    ],
)
def test_a_wrong_line_is_named(old: str, new: str, message: str) -> None:
    text = to_file("skipgpt")
    assert old in text
    with pytest.raises(InputError, match=f"^wrong.toml: {message}"):
        from_toml(text.replace(old, new, 1), "wrong.toml")


def to_file(name: str) -> str:
    return (POLICIES / f"{name}.toml").read_text()


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: must be a readable policy file"):
        read_policy(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"binary\.toml: must be a readable policy file"):
        read_policy(tmp_path / "binary.toml")


def test_a_path_is_a_policy_too(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(to_file("d-llm"))
    assert named_policy(str(tmp_path / "mine.toml")) == named_policy("d-llm")
