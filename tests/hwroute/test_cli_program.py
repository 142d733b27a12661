"""``hwroute compile``, ``asm`` and ``disasm``."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hwroute import api
from hwroute.cli import main
from hwroute.config import PRESETS
from hwroute.errors import InputError
from hwroute.isa.assembly import from_text
from hwroute.models.image import Image
from hwroute.models.interpreter import Interpreter
from hwroute.models.library import SHAPES, named_policy, shape_names
from hwroute.program import Program

WIDE = 'base = "u280"\n[kv]\nmax_layers = 40\nentry_beats = 160\n'


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.program"
    assert run(f"compile -m tiny -o {path}").exit_code == 0
    return path


def test_a_listing_of_a_program_assembles_to_the_same_file(compiled: Path, tmp_path: Path) -> None:
    listing, again = tmp_path / "tiny.s", tmp_path / "again.program"
    assert run(f"disasm {compiled} -o {listing}").stdout == f"written to {listing}\n"
    assert run(f"disasm {compiled}").stdout == listing.read_text(encoding="utf-8")
    assert run(f"asm {listing} -o {again}").exit_code == 0
    assert again.read_bytes() == compiled.read_bytes()


def test_json_of_compile_and_asm_describes_the_program(compiled: Path, tmp_path: Path) -> None:
    program = Program.load(compiled)
    listing = tmp_path / "tiny.s"
    run(f"disasm {compiled} -o {listing}")
    first = json.loads(run(f"compile -m tiny -c demo -o {compiled} --json").stdout)
    second = json.loads(run(f"asm {listing} -o {compiled} --json").stdout)
    assert first.pop("provenance")["config"] == second.pop("provenance")["config"]
    assert first == second
    units = first.pop("instructions_by_unit")
    assert sum(units.values()) == len(program.instructions)
    assert units["router"] == sum(one.unit.name == "ROUTER" for one in program.instructions)
    assert first == {
        "model": "tiny",
        "policy": "skipgpt",
        "hash": program.hash,
        "instructions": len(program.instructions),
        "bytes": 32 * len(program.instructions),
        "tile": program.tile,
        "context": 256,
        "hbm_bytes": 4 * 32 * max(one.end for one in program.memory.regions if one.name == "kv"),
        "ddr_bytes": 128 * program.memory.region("program").end,
        "path": str(compiled),
    }


def test_compile_says_what_it_takes(compiled: Path) -> None:
    program = Program.load(compiled)
    lines = run(f"compile -m tiny --context 64 --policy off -o {compiled}").stdout.splitlines()
    assert lines[0] == "tiny, policy off, on demo"
    assert lines[2] == "tile          16 tokens of a context of 64"
    assert lines[-1] == f"written to {compiled}"
    smaller = Program.load(compiled)
    assert smaller.hash != program.hash
    assert len(smaller.instructions) < len(program.instructions)
    assert smaller.memory.region("kv").size < program.memory.region("kv").size


@pytest.mark.parametrize("name", shape_names())
def test_every_shape_compiles_and_survives_its_listing(tmp_path: Path, name: str) -> None:
    config = tmp_path / "wide.toml"
    config.write_text(WIDE, encoding="utf-8")
    done = run(f"compile -m {name} -c {config} --context 1152 -o {tmp_path / 'p'} --json")
    assert done.exit_code == 0, done.stderr
    program = Program.load(tmp_path / "p")
    assert (program.model, program.policy) == (name, "skipgpt")
    assert from_text(api.disassemble(program)) == program


def test_a_config_json_compiles_under_its_folders_name(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    text = (SHAPES / "tinyllama-1.1b.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text, encoding="utf-8")
    ours = api.compile_model(str(folder / "config.json"), config=PRESETS["u280"], context=64)
    shipped = api.compile_model("tinyllama-1.1b", config=PRESETS["u280"], context=64)
    assert (ours.model, shipped.model) == ("mine", "tinyllama-1.1b")
    assert ours.hash == shipped.hash


def test_the_api_takes_a_policy_object() -> None:
    program = api.compile_model("tiny", policy=named_policy("off"), context=32)
    assert (program.model, program.policy, program.memory.context) == ("tiny", "off", 32)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compile -m tinyy -o p", "model must be .*, not 'tinyy'; did you mean 'tiny'"),
        ("compile -m llama2-7 -o p", "model must be .*, not 'llama2-7'; did you mean 'llama2-7b'"),
        ("compile -m tiny --policy skipgtp -o p", "policy must be .*; did you mean 'skipgpt'"),
        ("compile -m tiny --policy d-llm -o p", "policy 'd-llm' needs "),
        ("compile -m tiny --context 1000 -o p", "context must be "),
        ("compile -m llama2-7b -c demo -o p", "kv.max_layers must be at least 32, not 8"),
        ("compile -m tiny -o none/p", "program none/p must be writable"),
        ("asm none.s -o p", "none.s: must be a readable listing"),
        (
            "asm bad.s -o p",
            "bad.s:1: directive must be one of .*, not 'formt'; did you mean 'format'",
        ),
        ("disasm none", "program none must be a whole program file"),
        ("disasm bad.s", "program bad.s must be a whole program file"),
        ("generate -m llama2-7b -p x", "model must have weights, not 'llama2-7b'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.s").write_text(".formt 1\n", encoding="utf-8")
    result = run(line)
    assert result.exit_code == InputError.exit_code
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert re.match(f"hwroute: {message}", result.stderr), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.s"]


def test_models_lists_and_shows_shapes() -> None:
    shapes = json.loads(run("models list --json").stdout)["shapes"]
    assert [shape["name"] for shape in shapes] == shape_names()
    shown = json.loads(run("models show llama2-7b --json").stdout)
    shown.pop("provenance")
    assert shown == next(shape for shape in shapes if shape["name"] == "llama2-7b")
    assert shown["dims"]["ffn_dim"] == 11008
    text = run("models list").stdout
    assert "llama2-7b                  32   4096     4096" in text.splitlines()
    assert "ffn_dim   11008" in run("models show llama2-7b").stdout.splitlines()


def test_compile_writes_the_image_that_the_program_runs_on(tmp_path: Path) -> None:
    program, image = tmp_path / "tiny.program", tmp_path / "tiny.image"
    assert run(f"compile -m tiny -o {program} --image {image}").exit_code == 0
    interpreter = Interpreter(Program.load(program), Image.load(image))
    prompt = [int(code) for code in b"First Citizen:"]
    expected = api.generate(api.load("tiny"), prompt, 5)
    assert interpreter.generate(prompt, 5).token_ids == expected.token_ids


def test_an_image_needs_weights(tmp_path: Path) -> None:
    result = run(f"compile -m tinyllama-1.1b -c u280 -o {tmp_path}/a --image {tmp_path}/b")
    assert result.exit_code == 2
    assert "model must have weights" in result.stderr
    assert not (tmp_path / "b").exists()


def test_compile_draws_the_scratchpad(tmp_path: Path) -> None:
    pictures = [tmp_path / name for name in ("one.svg", "two.svg", "one.png")]
    for picture in pictures:
        assert run(f"compile -o {tmp_path}/tiny.program --picture {picture}").exit_code == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert pictures[2].read_bytes().startswith(b"\x89PNG")
    result = run(f"compile -o {tmp_path}/tiny.program --picture {tmp_path}/one.bmp")
    assert result.exit_code == 2
    assert "picture must be a .png or .svg file" in result.stderr
