"""Commands that load when they run, and the one place where errors become exit codes."""

import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand, NoSuchOption

from hwroute.errors import HwrouteError, InputError, nearest
from hwroute.paths import check_links

INTERNAL = 70
INTERRUPTED = 130


@dataclass(frozen=True)
class Entry:
    """A command that is imported when it is first used.

    Parameters
    ----------
    target
        ``module:attribute`` of a `click.Command`.
    summary
        The line that ``hwroute --help`` shows; the command's own first line says the same.
    """

    target: str
    summary: str

    def load(self) -> click.Command:
        """Import and return the command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


class Root(click.Group):
    """The top command: lazy commands, one-line errors, documented exit codes.

    Parameters
    ----------
    entries
        Its commands by name.
    """

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None for an unknown name."""
        entry = self.entries.get(cmd_name)
        return entry.load() if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with ``--debug`` an error shows its traceback first."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            if isinstance(error, BrokenPipeError):
                # Click would end silently with exit code 1, as if the check had failed. stdout
                # itself is handled in hwroute.cli.output.
                raise RuntimeError("the pipe to another program broke") from error
            raise

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run the command line and end the process with its exit code, in every mode.

        The command line is left in the context's ``obj`` for the provenance of results.
        """
        words = list(sys.argv[1:] if args is None else args)
        extra["obj"] = ["hwroute", *words]
        try:
            check_links()
            code = super().main(words, "hwroute", complete_var, standalone_mode=False, **extra)
        except NoArgsIsHelpError as error:
            error.show()
            sys.exit(InputError.exit_code)
        except Exception as error:
            code, message = explain(error)
            click.echo(" ".join(message.split()), err=True)
        sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code of an error and the line that reports it."""
    if isinstance(error, click.Abort):
        return INTERRUPTED, "hwroute: interrupted"
    if isinstance(error, click.ClickException):
        return InputError.exit_code, _usage(error)
    if isinstance(error, HwrouteError):
        return error.exit_code, f"hwroute: {error}"
    if isinstance(error, OSError) and error.filename is not None:
        return InputError.exit_code, f"hwroute: {error.filename}: {error.strerror}"
    return INTERNAL, (
        f"hwroute: internal error, please report it: {type(error).__name__}: {error} "
        "(hwroute --debug shows where)"
    )


def _usage(error: click.ClickException) -> str:
    """Return click's message behind the command that refused, with the nearest right name."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = context.command_path if context else "hwroute"
    if isinstance(error, NoSuchOption) and context:
        options = [name for param in context.command.get_params(context) for name in param.opts]
        return f"{where}: no such option {error.option_name!r}{nearest(error.option_name, options)}"
    if isinstance(error, NoSuchCommand) and context and isinstance(context.command, click.Group):
        commands = context.command.list_commands(context)
        close = nearest(error.command_name, commands)
        return f"{where}: no such command {error.command_name!r}{close}"
    return f"{where}: {error.format_message().removesuffix('.')}"
