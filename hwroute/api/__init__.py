"""The Python API, over which the command line is a thin layer.

Load, import, compile, assemble, generate, evaluate, simulate, compare, perf, sweep.
"""

from hwroute.api.models import encode, import_model, load
from hwroute.api.performance import perf
from hwroute.api.programs import (
    assemble,
    compile_model,
    disassemble,
    draw_scratchpad,
    make_image,
)
from hwroute.api.reproduce import reproduce
from hwroute.api.runs import Executor, Generated, compare, evaluate, generate, simulate
from hwroute.api.sweeps import sweep

__all__ = [
    "Executor",
    "Generated",
    "assemble",
    "compare",
    "compile_model",
    "disassemble",
    "draw_scratchpad",
    "encode",
    "evaluate",
    "generate",
    "import_model",
    "load",
    "make_image",
    "perf",
    "reproduce",
    "simulate",
    "sweep",
]
