"""What rounding costs: ``python -m hwroute.models.importing.results --out docs/results``."""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from hwroute import provenance
from hwroute.models.evaluate import evaluate
from hwroute.models.folder import ModelFolder
from hwroute.models.importing.convert import Import
from hwroute.models.importing.rotate import rotate
from hwroute.models.library import ZOO, model_path
from hwroute.models.reference import Reference

TEXT = ZOO / "tiny" / "heldout.txt"
SHOWN_TEXT = "models/zoo/tiny/heldout.txt"
MODELS, ROTATED = ("tiny", "tiny-dense"), "tiny-rotated"
SCORED, CALIBRATION = 32_768, 65_536
"""Bytes from the start of the text, and from its end: they do not overlap."""


KINDS = {"none": "float", "rtn": "INT4, rounded to nearest", "gptq": "INT4, GPTQ"}
PAGE = f"""# What rounding to INT4 costs

Written by `python -m hwroute.models.importing.results --out docs/results`; each line is what its
command prints: nats per byte on the first {SCORED:,} bytes of the held-out text. GPTQ is calibrated
on the last {CALIBRATION:,}, which do not overlap them.

Both models were trained with their matrices rounded to nearest in half of the steps, so that they
fit that rounding: `tiny` so well that GPTQ only disturbs it. `tiny-rotated` is `tiny` in a random
basis. It computes the same, but was trained for no grid, like most checkpoints that come in.

```sh
tail -c {CALIBRATION} {SHOWN_TEXT} > build/calibration.txt
python -m hwroute.models.importing.rotate tiny build/tiny-rotated
for model in models/zoo/tiny models/zoo/tiny-dense build/tiny-rotated; do
  name=build/$(basename $model)
  hwroute models import $model -o $name-rtn
  hwroute models import $model -o $name-gptq --quantize gptq --calibration build/calibration.txt
done
```

| model | weights | nats per byte | above float | command |
| --- | --- | ---: | ---: | --- |
"""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    Parameters
    ----------
    model, method
        Folder's name; "none" stands for the float weights.
    nats_per_token
        Loss.
    command
        What prints it.
    """

    model: str
    method: Literal["none", "rtn", "gptq"]
    nats_per_token: float
    command: str


def _loss(model: ModelFolder, weights: Literal["float", "int4"], text: str) -> float:
    assert model.tokenizer is not None
    ids = model.tokenizer.encode(text[:SCORED])
    return evaluate(Reference(model, weights=weights), ids).nats_per_token


def measure(model: ModelFolder, shown: str, text: str, scratch: Path) -> list[Line]:
    """Import a model with both roundings and score it.

    Parameters
    ----------
    model
        The model.
    shown
        How commands call it.
    text
        Held-out text.
    scratch
        A folder in which nothing is called like the model.
    """
    score = f"hwroute evaluate --text {SHOWN_TEXT} --limit {SCORED} -m "
    name = model.path.name
    lines = [
        Line(
            model=name,
            method="none",
            nats_per_token=_loss(model, "float", text),
            command=score + shown,
        )
    ]
    calibration = scratch / "calibration.txt"
    calibration.write_text(text[-CALIBRATION:], encoding="ascii")
    methods: dict[Literal["rtn", "gptq"], Path | None] = {"rtn": None, "gptq": calibration}
    for method, given in methods.items():
        job = Import(model.path, quantize=method, calibration=given)
        made = job.write(scratch / f"{name}-{method}", name=None, progress=lambda _steps: None)
        lines.append(
            Line(
                model=name,
                method=method,
                nats_per_token=_loss(made, "int4", text),
                command=f"{score}build/{name}-{method} --weights int4",
            )
        )
    return lines


def _table(lines: list[Line]) -> str:
    floats = {line.model: line.nats_per_token for line in lines if line.method == "none"}
    shown = [
        f"| `{line.model}` | {KINDS[line.method]} | {line.nats_per_token:.4f} | "
        f"{line.nats_per_token - floats[line.model]:.4f} | `{line.command}` |"
        for line in lines
    ]
    return PAGE + "\n".join(shown) + "\n"


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
def main(out: Path) -> None:
    """Measure every line and write quantization.json and quantization.md into OUT."""
    text = TEXT.read_text(encoding="ascii")
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in MODELS:
            lines += measure(ModelFolder(model_path(name)), name, text, Path(scratch))
        rotated = rotate(ModelFolder(model_path("tiny")), Path(scratch) / ROTATED, seed=0)
        lines += measure(rotated, f"build/{ROTATED}", text, Path(scratch))
    record = {
        "lines": [vars(line) for line in lines],
        "provenance": provenance.collect(command=sys.argv, seed=0),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "quantization.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (out / "quantization.md").write_text(_table(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
