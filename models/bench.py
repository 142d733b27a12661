"""Speeds of golden model, compiler and interpreter: ``python -m hwroute.models.bench``.

Nothing passes or fails. The interpreter is to be within 1.5 times of what is asked of the golden
model, which has neither memories nor an order of KV entries to keep.

Each figure is the median of several runs with its smallest and largest value.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np

from hwroute import provenance
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

PROMPT, GENERATED, EVALUATED = 14, 128, 4 * 256
"""Tokens."""
PAGE = """# Speeds

Written by `python -m hwroute.models.bench --runs {runs} --out docs/results`; nothing passes or
fails. Median, smallest and largest of {runs} runs; of rates more is asked, of times less.

| what | unit | median | smallest | largest | asked |
| --- | --- | ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One figure.

    Parameters
    ----------
    name, unit
        What is measured.
    asked
        The bar, in `unit`; a rate is to be above it, a time below.
    median, smallest, largest
        Of the runs.
    """

    name: str
    unit: str
    asked: float
    median: float
    smallest: float
    largest: float


def _measure(name: str, unit: str, asked: float, run: Callable[[], float], runs: int) -> Speed:
    run()  # lays out the weights
    figures = [run() for _ in range(runs)]
    return Speed(
        name=name,
        unit=unit,
        asked=asked,
        median=statistics.median(figures),
        smallest=min(figures),
        largest=max(figures),
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


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
        return GENERATED / _seconds(lambda: generate(golden, prompt, GENERATED))

    def evaluated() -> float:
        return len(ids) / _seconds(lambda: evaluate(GoldenWindows(golden), ids, batch=1))

    def one_token() -> float:
        return _seconds(lambda: large.forward(np.array([1]), Sequence(layer.shape)))

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
        return GENERATED / _seconds(lambda: small.generate(prompt, GENERATED))

    def prefilled() -> float:
        return len(window) / _seconds(lambda: small.generate(window, 1))

    def one_token() -> float:
        return _seconds(lambda: large.generate([1], 1))

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

    def seconds() -> float:
        return _seconds(program)

    return [
        _measure("compiling Llama-2-7B for u280", "s", 10, seconds, runs),
        _measure("its instructions", "MB", 3, megabytes, 1),
    ]


def _table(found: list[Speed], runs: int) -> str:
    rows = [
        f"| {speed.name} | {speed.unit} | {speed.median:.2f} | {speed.smallest:.2f} | "
        f"{speed.largest:.2f} | {speed.asked:g} |"
        for speed in found
    ]
    return PAGE.format(runs=runs) + "\n".join(rows) + "\n"


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
        click.echo(
            f"{speed.name:<46} {speed.median:8.2f} {speed.unit:<9} "
            f"({speed.smallest:.2f} to {speed.largest:.2f}, asked {speed.asked:g})"
        )
    if out:
        record = {
            "speeds": [asdict(speed) for speed in found],
            "provenance": provenance.collect(command=sys.argv, seed=1),
        }
        out.mkdir(parents=True, exist_ok=True)
        (out / "bench.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (out / "bench.md").write_text(_table(found, runs), encoding="utf-8")


if __name__ == "__main__":
    main()
