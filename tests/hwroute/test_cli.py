"""The command line: help, exit codes, one-line errors."""

import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

from hwroute import __version__
from hwroute.cli import COMMANDS, frame, main
from hwroute.errors import CheckFailedError, HwrouteError, InputError, ToolMissingError

PROGRAM = [sys.executable, "-c", "from hwroute.cli import main; main()"]


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below `command` with its full name."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, (*path, name))


EVERY = dict(walk(main, ("hwroute",)))


def test_help_imports_no_command_and_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from hwroute.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    families = {entry.target.partition(":")[0] for entry in COMMANDS.values()}
    heavy = {"numpy", "amaranth", "cocotb", "matplotlib", "simpy", "safetensors", "rich"}
    assert loaded & (families | heavy) == set()
    shown = " ".join(done.stdout.split())
    for name, entry in COMMANDS.items():
        assert f" {name} {entry.summary}" in shown


def test_help_takes_at_most_400_ms_of_processor_time() -> None:
    def cpu_seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(3):
        start = cpu_seconds()
        subprocess.run([*PROGRAM, "--help"], capture_output=True, check=True)
        times.append(cpu_seconds() - start)
    assert min(times) <= 0.4


@pytest.mark.parametrize("name", list(COMMANDS))
def test_table_of_commands_says_what_the_command_says(name: str) -> None:
    command = COMMANDS[name].load()
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name].summary


@pytest.mark.parametrize("name", list(EVERY))
def test_help_shows_a_summary_every_option_and_an_example(name: str) -> None:
    command = EVERY[name]
    assert command.help is not None
    assert command.help.splitlines()[0].endswith(".")
    assert len(command.help.splitlines()[0]) <= 90
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    assert command.epilog is not None
    example = command.epilog.removeprefix("Example: ")
    assert example.startswith(name)


@pytest.mark.parametrize(
    "name", [name for name, command in EVERY.items() if not isinstance(command, click.Group)]
)
def test_example_of_the_help_is_accepted(name: str) -> None:
    command = EVERY[name]
    assert command.epilog is not None
    words = shlex.split(command.epilog.removeprefix(f"Example: {name}").partition(">")[0])
    command.make_context(name, words).close()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("conifg", "hwroute: no such command 'conifg'; did you mean 'config'?"),
        ("config lst", "hwroute config: no such command 'lst'; did you mean 'list'?"),
        (
            "config show --jsn",
            "hwroute config show: no such option '--jsn'; did you mean '--json'?",
        ),
        ("--vresion", "hwroute: no such option '--vresion'; did you mean '--version'?"),
        ("config show --xyzzy", "hwroute config show: no such option '--xyzzy'"),
        ("config check", "hwroute config check: Missing argument 'CONFIGURATION'"),
        (
            "config show demo u280",
            "hwroute config show: Got unexpected extra argument (u280)",
        ),
    ],
)
def test_wrong_usage_is_one_line_with_the_nearest_name(line: str, expected: str) -> None:
    result = run(line)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{expected}\n")


@pytest.mark.parametrize("line", ["", "config"])
def test_no_command_prints_the_help_on_stderr(line: str) -> None:
    result = run(line)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: hwroute")


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (CheckFailedError("12 of 90 records differ"), 1, "hwroute: 12 of 90 records differ"),
        (InputError("layers must be\npositive, not 0"), 2, "hwroute: layers must be positive,"),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), 2, "hwroute: a.txt: No such"),
        (ToolMissingError("no perl"), 3, "hwroute: no perl"),
        (HwrouteError("the build failed"), 70, "hwroute: the build failed"),
        (KeyError("x"), 70, "hwroute: internal error, please report it: KeyError: 'x' (hwroute -"),
        (OSError("no file named"), 70, "hwroute: internal error, please report it: OSError: no f"),
        (BrokenPipeError(32, "Broken pipe"), 70, "hwroute: internal error, please report it: Run"),
        (KeyboardInterrupt(), 130, "hwroute: interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("debug", [False, True])
def test_errors_become_exit_codes_and_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, expected: str, debug: bool
) -> None:
    @click.command
    def fail() -> None:
        raise error

    monkeypatch.setattr(frame.Entry, "load", lambda _self: fail)
    result = run("--debug doctor" if debug else "doctor")
    assert (result.exit_code, result.stdout) == (code, "")
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith(expected)
    if debug and code != 130:
        assert lines[0].startswith("Traceback")
    else:
        assert len(lines) == 1


def test_an_exit_code_chosen_by_a_command_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command
    @click.pass_context
    def leave(context: click.Context) -> None:
        context.exit(3)

    monkeypatch.setattr(frame.Entry, "load", lambda _self: leave)
    assert run("doctor").exit_code == 3


def test_a_reader_that_left_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, "config", "list"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_version() -> None:
    assert run("--version").stdout == f"hwroute {__version__}\n"


def test_broken_links_stop_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise InputError("hwroute/rtl must link")

    monkeypatch.setattr(frame, "check_links", broken)
    result = run("config list")
    assert (result.exit_code, result.stderr) == (2, "hwroute: hwroute/rtl must link\n")
