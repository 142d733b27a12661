"""Runs of a model: generate, evaluate, simulate, compare traces."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwroute.api.models import encode
from hwroute.api.progress import Progress, silent
from hwroute.checkpoint import Checkpoint
from hwroute.compare import Comparison
from hwroute.compare import compare as compare_traces
from hwroute.compiler import compile_program
from hwroute.config import PRESETS, Config
from hwroute.errors import CheckFailedError, InputError
from hwroute.models.evaluate import Evaluation
from hwroute.models.evaluate import evaluate as evaluate_windows
from hwroute.models.generate import GoldenWindows, adjusted_policy
from hwroute.models.golden import Golden
from hwroute.models.image import Image, build_image
from hwroute.models.interpreter import Interpreter, ProgramTracer
from hwroute.models.prompt import check_prompt
from hwroute.models.reference import Reference
from hwroute.paths import build_dir
from hwroute.policy_terms import KVRule
from hwroute.program import Program
from hwroute.trace import Trace

if TYPE_CHECKING:
    from hwroute.sim.machine.check import Checked
    from hwroute.sim.simulate import Job, Simulation

Executor = Literal["reference", "golden", "rtl"]


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
    machine
        What the simulated machine did, where it generated.
    """

    prompt_ids: list[int]
    token_ids: list[int]
    text: str | None
    executed: NDArray[np.bool_]
    seconds: float
    overflowed: list[str] = field(default_factory=list)
    trace: Trace | None = None
    machine: "Checked | None" = None


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
    progress: Progress = silent,
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
        "golden": every bit as the machine. "reference": floating point, unquantised. "rtl": the
        machine itself in Verilator, every write compared with "golden".
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
    CheckFailedError
        The RTL differs from the golden model.
    ToolMissingError
        There is no Verilator or no compiler ("rtl").
    """
    ids = encode(model, prompt) if isinstance(prompt, str) else list(prompt)
    check_prompt(model.shape, ids, count)
    policy = adjusted_policy(model, routing=routing, kv=kv)
    if trace and on != "golden":
        raise InputError(f"a trace must be asked from the golden model, not {on}")
    start = time.perf_counter()
    if on == "reference":
        reference = Reference(model, routing=routing, kv=kv)
        tokens = reference.generate(ids, count)
        ran: dict[str, Any] = {"token_ids": tokens, "executed": reference.decisions}
    else:
        program = compile_program(model.shape, policy, config, model=model.name)
        image = build_image(program, model)
        if on == "rtl":
            ran = _on_rtl(program, image, ids, count)
        else:
            ran = _on_golden(program, image, ids, count, trace=trace, progress=progress)
    return Generated(
        prompt_ids=ids,
        text=model.tokenizer.decode(ran["token_ids"]) if model.tokenizer else None,
        seconds=time.perf_counter() - start,
        **ran,
    )


def _on_golden(
    program: Program, image: Image, ids: list[int], count: int, *, trace: bool, progress: Progress
) -> dict[str, Any]:
    """Return what the interpreter has to say of a generation, by fields of `Generated`."""
    tracer = ProgramTracer() if trace else None
    interpreter = Interpreter(program, image, observer=tracer)
    result = interpreter.generate(ids, count, progress=progress)
    return {
        "token_ids": result.token_ids,
        "executed": result.executed,
        "overflowed": interpreter.overflowed,
        "trace": tracer.trace if tracer else None,
    }


def _on_rtl(program: Program, image: Image, ids: list[int], count: int) -> dict[str, Any]:
    """Return what the simulated machine has to say, by fields of `Generated`."""
    machine = _run_machine(program, image, ids, count)
    return {
        "token_ids": machine.run.token_ids,
        "executed": machine.generation.executed,
        "overflowed": machine.overflowed,
        "machine": machine,
    }


def _run_machine(program: Program, image: Image, ids: list[int], count: int) -> "Checked":
    """Generate on the simulated machine; its files stay only where something differs."""
    from hwroute.sim.machine.check import check_machine

    builds = build_dir() / "machine"
    builds.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=builds))
    checked = check_machine(program, image, ids, count, folder=folder, builds=builds)
    if not checked.match:
        waves = f"; waves in {checked.waves}" if checked.waves else ""
        raise CheckFailedError(f"RTL differs from golden: {checked.difference}{waves}")
    shutil.rmtree(folder)
    return checked


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
    progress: Progress = silent,
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
