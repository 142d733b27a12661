"""Speeds of golden model, compiler and interpreter: ``python -m hwroute.models.bench``.

Nothing passes or fails. The interpreter is to be within 1.5 times of what is asked of the golden
model, which has neither memories nor an order of KV entries to keep.

Each figure is the median of several runs with its smallest and largest value.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from hwroute.checkpoint import Checkpoint
from hwroute.compiler import compile_program
from hwroute.config import PRESETS, Config
from hwroute.models.evaluate import evaluate
from hwroute.models.folder import ModelFolder
from hwroute.models.generate import GoldenWindows, generate
from hwroute.models.golden import Golden
from hwroute.models.image import build_image
from hwroute.models.interpreter import Interpreter
from hwroute.models.library import ZOO, model_path, model_shape, named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.sequence import Sequence
from hwroute.program import Program
from hwroute.speeds import Speed, seconds, speed_of, write_speeds

PROMPT, GENERATED, EVALUATED = 14, 128, 4 * 256
"""Tokens."""


def _measure(name: str, unit: str, asked: float, run: Callable[[], float], runs: int) -> Speed:
    run()  # lays out the weights
    return speed_of(name, unit, asked, [run() for _ in range(runs)])


def speeds(runs: int) -> list[Speed]:
    """Measure `tiny`, one layer of Llama-2-7B's shape, and compiling Llama-2-7B."""
    tiny = ModelFolder(model_path("tiny"))
    assert tiny.tokenizer is not None
    text = (ZOO / "tiny" / "heldout.txt").read_text(encoding="ascii")[:EVALUATED]
    # One layer with its embedding and a small head; the context is that of the first token.
    shape = replace(model_shape("llama2-7b"), layers=1, vocab=256, context=256)
    layer = RandomCheckpoint(shape, named_policy("off"), seed=1)
    return [
        *_golden_speeds(tiny, tiny.tokenizer.encode(text), layer, runs),
        *_interpreter_speeds(tiny, tiny.tokenizer.encode(text), layer, runs),
        *_compiler_speeds(runs),
    ]


def _golden_speeds(
    tiny: ModelFolder, ids: list[int], layer: RandomCheckpoint, runs: int
) -> list[Speed]:
    golden, large = Golden(tiny, PRESETS["demo"]), Golden(layer, PRESETS["u280"])
    prompt = ids[:PROMPT]

    def generated() -> float:
        return GENERATED / seconds(lambda: generate(golden, prompt, GENERATED))

    def evaluated() -> float:
        return len(ids) / seconds(lambda: evaluate(GoldenWindows(golden), ids, batch=1))

    def one_token() -> float:
        return seconds(lambda: large.forward(np.array([1]), Sequence(layer.shape)))

    return [
        _measure("golden, tiny, generation", "tokens/s", 30, generated, runs),
        _measure("golden, tiny, evaluation", "tokens/s", 300, evaluated, runs),
        _measure("golden, one Llama-2-7B layer, one token", "s", 1.0, one_token, runs),
    ]


def _interpreter(checkpoint: Checkpoint, config: Config) -> Interpreter:
    program = compile_program(checkpoint.shape, checkpoint.policy, config, model=checkpoint.name)
    return Interpreter(program, build_image(program, checkpoint))


def _interpreter_speeds(
    tiny: ModelFolder, ids: list[int], layer: RandomCheckpoint, runs: int
) -> list[Speed]:
    small, large = _interpreter(tiny, PRESETS["demo"]), _interpreter(layer, PRESETS["u280"])
    prompt, window = ids[:PROMPT], ids[: tiny.shape.context - 1]

    def generated() -> float:
        return GENERATED / seconds(lambda: small.generate(prompt, GENERATED))

    def prefilled() -> float:
        return len(window) / seconds(lambda: small.generate(window, 1))

    def one_token() -> float:
        return seconds(lambda: large.generate([1], 1))

    return [
        _measure("interpreter, tiny, generation", "tokens/s", 20, generated, runs),
        _measure("interpreter, tiny, prefill of a whole context", "tokens/s", 200, prefilled, runs),
        _measure("interpreter, one Llama-2-7B layer, one token", "s", 1.5, one_token, runs),
    ]


def _compiler_speeds(runs: int) -> list[Speed]:
    shape, policy = model_shape("llama2-7b"), named_policy("skipgpt")

    def program() -> Program:
        return compile_program(shape, policy, PRESETS["u280"], model="llama2-7b")

    def megabytes() -> float:
        return len(program().words) / 1e6

    def compiling() -> float:
        return seconds(program)

    return [
        _measure("compiling Llama-2-7B for u280", "s", 10, compiling, runs),
        _measure("its instructions", "MB", 3, megabytes, 1),
    ]


@click.command()
@click.option("--runs", default=5, show_default=True, help="Runs of each figure.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write bench.md and bench.json into this folder.",
)
def main(runs: int, out: Path | None) -> None:
    """Measure speeds of golden model, interpreter and compiler."""
    found = speeds(runs)
    for speed in found:
        click.echo(speed)
    if out:
        command = f"python -m hwroute.models.bench --runs {runs} --out docs/results"
        write_speeds(found, out, name="bench", title="Speeds", command=command, runs=runs)


if __name__ == "__main__":
    main()
