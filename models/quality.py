"""The zoo's quality table: ``python -m hwroute.models.quality --out docs/results``.

Every line is what one `hwroute evaluate` command prints, on the held-out text that ships.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np
from numpy.typing import NDArray

from hwroute import provenance
from hwroute.config import PRESETS
from hwroute.models.evaluate import Evaluation, evaluate, negative_log_likelihood
from hwroute.models.folder import ModelFolder
from hwroute.models.generate import GoldenWindows
from hwroute.models.golden import Golden
from hwroute.models.library import ZOO, model_path
from hwroute.models.reference import Reference

TEXT = ZOO / "tiny" / "heldout.txt"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    Parameters
    ----------
    label, model
        What it is called, and the model of the zoo.
    on, weights
        As `hwroute evaluate` takes them.
    """

    label: str
    model: str
    on: Literal["reference", "golden"] = "reference"
    weights: Literal["float", "int4"] = "float"

    @property
    def command(self) -> str:
        """The command that prints the line."""
        words = ["hwroute", "evaluate", "-m", self.model, "--text", "models/zoo/tiny/heldout.txt"]
        if self.on == "golden":
            words += ["--on", "golden"]
        if self.weights == "int4":
            words += ["--weights", "int4"]
        return shlex.join(words)


LINES = (
    Line(label="(a) dense", model="tiny-dense"),
    Line(label="(b) routed, K/V reuse", model="tiny"),
    Line(label="(c) routed, dense K/V, trained so", model="tiny-dense-kv"),
    Line(label="(d) as (b), INT4 weights in float arithmetic", model="tiny", weights="int4"),
    Line(label="(e) as (b), bit-true golden model", model="tiny", on="golden"),
)


def measure(line: Line, text: str) -> Evaluation:
    """Return what `Line.command` measures."""
    folder = ModelFolder(model_path(line.model))
    assert folder.tokenizer is not None
    ids = folder.tokenizer.encode(text)
    if line.on == "golden":
        return evaluate(GoldenWindows(Golden(folder, PRESETS["demo"])), ids, batch=1)
    return evaluate(Reference(folder, weights=line.weights), ids)


def permutation_cost(name: str, text: str, *, seed: int) -> tuple[float, NDArray[np.float64]]:
    """Return what routing by token is worth, and the skip rates [layers, 2].

    The decisions of each sub-layer are permuted among all tokens of the whole windows and forced
    in a second pass. The cost is the difference of the two losses, in nats per token.
    """
    folder = ModelFolder(model_path(name))
    assert folder.tokenizer is not None
    context = folder.shape.context
    ids = np.array(folder.tokenizer.encode(text))
    windows = ids[: len(ids) // context * context].reshape(-1, context)
    model = Reference(folder)
    random = np.random.default_rng(seed)
    batches = np.array_split(windows, -(-len(windows) // 8))
    plain, decisions = 0.0, []
    for batch in batches:
        plain += float(negative_log_likelihood(model.forward(batch), batch).sum())
        decisions.append(model.decisions)
    executed = np.concatenate(decisions, axis=2)
    permuted = executed.reshape(*executed.shape[:2], -1)
    permuted = random.permuted(permuted, axis=-1).reshape(executed.shape)
    moved, start = 0.0, 0
    for batch in batches:
        force = permuted[:, :, start : start + len(batch)]
        start += len(batch)
        moved += float(negative_log_likelihood(model.forward(batch, force=force), batch).sum())
    scored = windows[:, 1:].size
    rates: NDArray[np.float64] = 1 - executed.mean(axis=(2, 3))
    return (moved - plain) / scored, rates


def _table(rows: list[dict[str, object]], cost: float, rates: NDArray[np.float64]) -> str:
    lines = [
        "# Quality of the zoo's models",
        "",
        "Written by `python -m hwroute.models.quality --out docs/results`; each line is what its",
        "command prints. Nats per token on the held-out tenth of tinyshakespeare (bytes).",
        "",
        "| model | nats per token | attention skipped | FFN skipped | command |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {row['label']} | {row['nats_per_token']:.4f} | {row['attention']:.1%} | "
        f"{row['ffn']:.1%} | `{row['command']}` |"
        for row in rows
    ]
    lines += [
        "",
        f"Permuting the decisions of (b) among the tokens of each sub-layer costs {cost:.4f} nats",
        "(float, whole windows, seed 0): the routers decide by token.",
        "",
        "| skipped in (b), layer | " + " | ".join(map(str, range(len(rates)))) + " |",
        "| --- |" + " ---: |" * len(rates),
    ]
    for kind, column in zip(("attention", "FFN"), rates.T, strict=True):
        lines.append(f"| {kind} | " + " | ".join(f"{rate:.1%}" for rate in column) + " |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
def main(out: Path) -> None:
    """Measure every line of the table and write quality.json and quality.md into OUT."""
    text = TEXT.read_text(encoding="ascii")
    rows: list[dict[str, object]] = []
    for line in LINES:
        result = measure(line, text)
        rows.append(
            {
                "label": line.label,
                "command": line.command,
                "nats_per_token": result.nats_per_token,
                "attention": result.attention_skip,
                "ffn": result.ffn_skip,
                "tokens": result.tokens,
            }
        )
    cost, rates = permutation_cost("tiny", text, seed=0)
    record = {
        "lines": rows,
        "permutation_cost_nats": cost,
        "skip_by_layer": {"attention": rates[:, 0].tolist(), "ffn": rates[:, 1].tolist()},
        "provenance": provenance.collect(command=sys.argv, seed=0),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "quality.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (out / "quality.md").write_text(_table(rows, cost, rates), encoding="utf-8")


if __name__ == "__main__":
    main()
