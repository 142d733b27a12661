"""The Python API: load, import, compile, assemble, generate, evaluate, simulate, compare.

The command line is a thin layer over these functions.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import Checkpoint
from hwroute.compare import Comparison
from hwroute.compare import compare as compare_traces
from hwroute.compiler import compile_program
from hwroute.compiler.compile import lower
from hwroute.config import PRESETS, Config
from hwroute.errors import InputError
from hwroute.isa.assembly import from_text
from hwroute.isa.disassembly import to_text
from hwroute.models.evaluate import Evaluation
from hwroute.models.evaluate import evaluate as evaluate_windows
from hwroute.models.folder import ModelFolder
from hwroute.models.generate import GoldenWindows, adjusted_policy
from hwroute.models.golden import Golden
from hwroute.models.image import Image, build_image
from hwroute.models.importing.convert import Import
from hwroute.models.interpreter import Interpreter, ProgramTracer
from hwroute.models.library import (
    SHAPE_POLICY,
    model_path,
    model_shape,
    named_policy,
    shape_names,
)
from hwroute.models.prompt import check_prompt
from hwroute.models.reference import Reference
from hwroute.policy import RoutingPolicy
from hwroute.policy_terms import KVRule
from hwroute.program import Program
from hwroute.shape import ModelShape
from hwroute.trace import Trace

if TYPE_CHECKING:
    from hwroute.sim.simulate import Job, Simulation

Executor = Literal["reference", "golden"]
Progress = Callable[[int], None]


def _silent(_steps: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Result of `generate`.

    Parameters
    ----------
    prompt_ids, token_ids
        Given and generated.
    text
        The generated tokens as text, None without a tokeniser.
    executed
        bool [layers, 2 (attention, FFN), tokens that were processed].
    overflowed
        Operations in which a value saturated at 65504.
    seconds
        Wall time of the generation.
    trace
        Every retired operation, where it was asked for.
    """

    prompt_ids: list[int]
    token_ids: list[int]
    text: str | None
    executed: NDArray[np.bool_]
    overflowed: list[str]
    seconds: float
    trace: Trace | None


def load(name_or_folder: str, *, policy: RoutingPolicy | None = None) -> ModelFolder:
    """Return a model of the zoo by name, or the one in a folder.

    Parameters
    ----------
    name_or_folder
        What ``-m`` takes on the command line.
    policy
        Instead of the model's own, from `hwroute.policy_file.from_toml` for instance.

    Raises
    ------
    InputError
        Unknown, or a broken or unsupported folder, or one without the routers of `policy`.
    """
    return ModelFolder(model_path(name_or_folder), policy=policy)


def import_model(
    path: Path,
    folder: Path,
    *,
    name: str | None = None,
    quantize: Literal["none", "rtn", "gptq"] = "rtn",
    calibration: Path | None = None,
    tokenizer: str | None = None,
    policy: RoutingPolicy | None = None,
    progress: Progress = _silent,
) -> ModelFolder:
    """Make a model folder of a checkpoint of another project, or quantise a model folder again.

    Parameters
    ----------
    path
        A Hugging Face folder, a `.bin` file of llama2.c, or a model folder.
    folder
        The folder to write; it must not exist yet, and is written whole or not at all.
    name
        What reports call the model; the folder's name by default.
    quantize, calibration, tokenizer, policy
        See `hwroute.models.importing.convert.Import`.
    progress
        Called with 1 after each tensor.

    Raises
    ------
    InputError
        The checkpoint is broken or not handled, an option does not fit it, or the folder exists.
    """
    job = Import(
        path, quantize=quantize, calibration=calibration, tokenizer=tokenizer, policy=policy
    )
    return job.write(folder, name=name, progress=progress)


def compile_model(
    model: str,
    *,
    config: Config = PRESETS["demo"],
    policy: RoutingPolicy | None = None,
    context: int | None = None,
) -> Program:
    """Compile a model to the overlay's Program, for which no weights are needed.

    Parameters
    ----------
    model
        Zoo name, model folder, name of a shape that ships, or a Hugging Face ``config.json``.
    config
        The overlay.
    policy
        Instead of the model's own; a shape has `SHAPE_POLICY`.
    context
        Tokens to make room for; by default as many as fit model and overlay.

    Raises
    ------
    InputError
        No such model, a policy that the overlay does not run, or a memory that is too small.
    """
    shape, own, name = _shape_of(model)
    return compile_program(shape, policy or own, config, model=name, context=context)


def _shape_of(model: str) -> tuple[ModelShape, RoutingPolicy, str]:
    """Return shape, policy and name of a model, with or without weights."""
    if model in shape_names() or Path(model).is_file():
        return model_shape(model), named_policy(SHAPE_POLICY), Path(model).name
    folder = load(model)
    return folder.shape, folder.policy, folder.name


def draw_scratchpad(
    model: str,
    path: Path,
    *,
    config: Config = PRESETS["demo"],
    policy: RoutingPolicy | None = None,
    context: int | None = None,
) -> None:
    """Draw the buffers of the middle layer in prefill; parameters as in `compile_model`.

    Raises
    ------
    InputError
        As `compile_model`; or `path` is no .png or .svg file that can be written.
    """
    from hwroute.compiler.picture import save_scratchpad_picture

    shape, own, _ = _shape_of(model)
    lowered = lower(shape, policy or own, config, context=context)
    save_scratchpad_picture(lowered, shape.layers // 2, path)


def make_image(program: Program, model: Checkpoint) -> Image:
    """Return what HBM and DDR hold before a Program of the model starts.

    Raises
    ------
    InputError
        The model has no INT4 weights, a tensor is broken, or its shape is not the Program's.
    """
    return build_image(program, model)


def assemble(path: Path) -> Program:
    """Return the Program that a listing describes; see `hwroute.isa.disassembly`.

    Raises
    ------
    InputError
        The file is unreadable, or something in it is wrong: the line, and what.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: must be a readable listing: {error}") from error
    return from_text(text, str(path))


def disassemble(program: Program | Path) -> str:
    """Return the listing of a Program, or of a program file.

    Raises
    ------
    InputError
        The file is no whole program file, or holds a malformed word.
    """
    return to_text(program if isinstance(program, Program) else Program.load(program))


def encode(model: Checkpoint, text: str) -> list[int]:
    """Return the token ids of a text.

    Raises
    ------
    InputError
        The model has no tokeniser, or the text a character outside its vocabulary.
    """
    if model.tokenizer is None:
        raise InputError(
            f"model {model.name} has no tokeniser: the prompt must be given as token ids"
        )
    return model.tokenizer.encode(text)


def generate(
    model: Checkpoint,
    prompt: str | Sequence[int],
    count: int,
    *,
    on: Executor = "golden",
    config: Config = PRESETS["demo"],
    routing: bool = True,
    kv: KVRule | None = None,
    trace: bool = False,
    progress: Progress = _silent,
) -> Generated:
    """Continue a prompt greedily.

    Parameters
    ----------
    model
        From `load`.
    prompt
        Text or token ids.
    count
        Tokens to generate.
    on
        "golden": every bit as the machine. "reference": floating point, unquantised.
    config
        The overlay that a Program is compiled for.
    routing
        False executes everything.
    kv
        Instead of the policy's KV rule.
    trace
        Keep a record of every operation (golden only).
    progress
        Called with 1 after each token.

    Raises
    ------
    InputError
        The prompt does not fit the model, or the policy or KV rule the executor.
    """
    ids = encode(model, prompt) if isinstance(prompt, str) else list(prompt)
    check_prompt(model.shape, ids, count)
    policy = adjusted_policy(model, routing=routing, kv=kv)
    start = time.perf_counter()
    tracer, overflowed = None, []
    if on == "reference":
        if trace:
            raise InputError("a trace must be asked from the golden model, not the reference")
        reference = Reference(model, routing=routing, kv=kv)
        tokens = reference.generate(ids, count)
        executed = reference.decisions
    else:
        tracer = ProgramTracer() if trace else None
        program = compile_program(model.shape, policy, config, model=model.name)
        interpreter = Interpreter(program, build_image(program, model), observer=tracer)
        result = interpreter.generate(ids, count, progress=progress)
        tokens, executed, overflowed = result.token_ids, result.executed, interpreter.overflowed
    return Generated(
        prompt_ids=ids,
        token_ids=tokens,
        text=model.tokenizer.decode(tokens) if model.tokenizer else None,
        executed=executed,
        overflowed=overflowed,
        seconds=time.perf_counter() - start,
        trace=tracer.trace if tracer else None,
    )


def evaluate(
    model: Checkpoint,
    text: str | Sequence[int],
    *,
    on: Executor = "reference",
    weights: Literal["float", "int4"] = "float",
    config: Config = PRESETS["demo"],
    routing: bool = True,
    kv: KVRule | None = None,
) -> Evaluation:
    """Score a text in windows of the model's context; see `hwroute.models.evaluate`.

    Parameters
    ----------
    model
        From `load`.
    text
        Text or token ids.
    on, config, routing, kv
        As in `generate`.
    weights
        Of the reference; the golden model always has INT4.

    Raises
    ------
    InputError
        The text is too short or has a character outside the vocabulary.
    """
    ids = encode(model, text) if isinstance(text, str) else list(text)
    if on == "reference":
        return evaluate_windows(Reference(model, weights=weights, routing=routing, kv=kv), ids)
    policy = adjusted_policy(model, routing=routing, kv=kv)
    return evaluate_windows(GoldenWindows(Golden(model, config, policy=policy)), ids, batch=1)


def simulate(
    model: Checkpoint,
    job: "Job",
    *,
    folder: Path,
    config: Config = PRESETS["demo"],
    routing: bool = True,
    kv: KVRule | None = None,
    progress: Progress = _silent,
) -> "Simulation":
    """Generate on the golden model, replay the run on the RTL units, compare every bit.

    Parameters
    ----------
    model
        From `load`.
    job
        Prompt, tokens, stalls, and what to replay.
    folder
        Where builds, runs and waves go.
    config, routing, kv, progress
        As in `generate`; progress is called after each unit.

    Raises
    ------
    InputError
        The prompt does not fit the model, or `Job.only` is no operation of the run.
    ToolMissingError
        There is no Verilator or no compiler.
    """
    # Here, so that everything else runs without the hardware side being imported.
    from hwroute.sim.simulate import simulate as run_simulation

    check_prompt(model.shape, job.prompt, job.tokens)
    policy = adjusted_policy(model, routing=routing, kv=kv)
    return run_simulation(model, config, policy, job, folder=folder, progress=progress)


def compare(ours: Path | Trace, theirs: Path | Trace) -> Comparison:
    """Compare two traces, or trace files, of the same program.

    Raises
    ------
    InputError
        A file is no whole trace, or the programs differ.
    """
    pair: list[Any] = [
        side if isinstance(side, Trace) else Trace.load(side) for side in (ours, theirs)
    ]
    return compare_traces(pair[0], pair[1])
