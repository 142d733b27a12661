"""The ``hwroute`` command: a thin layer over the Python API.

A command family is one module of this package and one line of `COMMANDS`; its module is imported
when the command runs, so that ``hwroute --help`` imports none of them.
"""

import click

from hwroute import __version__
from hwroute.cli.frame import Entry, Root

COMMANDS = {
    "models": Entry("hwroute.cli.models:models", "List, show and import models."),
    "generate": Entry(
        "hwroute.cli.generate:generate", "Continue a prompt and say what was skipped."
    ),
    "evaluate": Entry(
        "hwroute.cli.evaluate:evaluate",
        "Score a text: nats per token over windows of the model's context.",
    ),
    "compile": Entry(
        "hwroute.cli.compile:compile_",
        "Compile a model to the overlay's program; no weights are needed but for --image.",
    ),
    "asm": Entry(
        "hwroute.cli.asm:asm", "Assemble a LISTING, as disasm writes it, to a program file."
    ),
    "disasm": Entry(
        "hwroute.cli.disasm:disasm",
        "Print a PROGRAM file as text that a person reads and asm takes.",
    ),
    "sim": Entry(
        "hwroute.cli.sim:sim",
        "Generate text, replay every operation on the RTL, compare every bit.",
    ),
    "compare": Entry(
        "hwroute.cli.compare:compare", "Compare two traces record by record, bit by bit."
    ),
    "perf": Entry(
        "hwroute.cli.perf:perf",
        "Say how fast a model of any size would run on a board, and where the time goes.",
    ),
    "sweep": Entry(
        "hwroute.cli.sweep:sweep",
        "Run the performance model for every point of FILE, a grid or a list in TOML.",
    ),
    "reproduce": Entry(
        "hwroute.cli.reproduce:reproduce",
        "Put what SkipOPU prints beside what the performance model says.",
    ),
    "verilog": Entry(
        "hwroute.cli.verilog:verilog",
        "Write the Verilog of the machine, the same text every time, and a Vivado project.",
    ),
    "config": Entry("hwroute.cli.config:config", "List, show and check configurations."),
    "doctor": Entry("hwroute.cli.doctor:doctor", "Say what is installed and what is missing."),
}
"""Command name -> where it is and its one-line summary, in the order that the help shows."""


@click.group(
    cls=Root,
    entries=COMMANDS,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
    },
    epilog="Example: hwroute config show u280",
)
@click.version_option(__version__, message="hwroute %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Design, verify and evaluate overlays for language models that skip computation.

    Exit codes: 0 fine, 1 the check failed, 2 the input is wrong,
    3 a tool is missing, 70 a bug in hwroute, 130 interrupted.
    """
