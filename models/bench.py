"""Speeds of the golden model: ``python -m hwroute.models.bench``; nothing passes or fails.

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
from hwroute.config import PRESETS
from hwroute.models.evaluate import evaluate
from hwroute.models.folder import ModelFolder
from hwroute.models.generate import GoldenWindows, generate
from hwroute.models.golden import Golden
from hwroute.models.library import ZOO, model_path, model_shape, named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.sequence import Sequence

PROMPT = "First Citizen:"
GENERATED, EVALUATED = 128, 4 * 256


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
    """Measure generation and evaluation of `tiny`, and one layer of Llama-2-7B's shape."""
    tiny = ModelFolder(model_path("tiny"))
    golden = Golden(tiny, PRESETS["demo"])
    ids = tiny.tokenizer.encode(PROMPT) if tiny.tokenizer else []
    text = (ZOO / "tiny" / "heldout.txt").read_text(encoding="ascii")[:EVALUATED]
    scored = tiny.tokenizer.encode(text) if tiny.tokenizer else []

    def generated() -> float:
        return GENERATED / _seconds(lambda: generate(golden, ids, GENERATED))

    def evaluated() -> float:
        return len(scored) / _seconds(lambda: evaluate(GoldenWindows(golden), scored, batch=1))

    # One layer with its embedding and a small head; the context is that of the first token.
    shape = replace(model_shape("llama2-7b"), layers=1, vocab=256, context=256)
    large = Golden(
        RandomCheckpoint(shape, named_policy("off"), seed=1),
        PRESETS["u280"],
    )

    def layer() -> float:
        return _seconds(lambda: large.forward(np.array([1]), Sequence(shape)))

    return [
        _measure("tiny, generation", "tokens/s", 30, generated, runs),
        _measure("tiny, evaluation", "tokens/s", 300, evaluated, runs),
        _measure("one Llama-2-7B layer, one token", "s", 1.0, layer, runs),
    ]


@click.command()
@click.option("--runs", default=5, show_default=True, help="Runs of each figure.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write them as JSON."
)
def main(runs: int, out: Path | None) -> None:
    """Measure the golden model's speeds."""
    found = speeds(runs)
    for speed in found:
        click.echo(
            f"{speed.name:<34} {speed.median:8.2f} {speed.unit:<9} "
            f"({speed.smallest:.2f} to {speed.largest:.2f}, asked {speed.asked:g})"
        )
    if out:
        record = {
            "speeds": [asdict(speed) for speed in found],
            "provenance": provenance.collect(command=sys.argv, seed=1),
        }
        out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
