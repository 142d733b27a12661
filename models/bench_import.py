"""Speed and memory of an import: ``python -m hwroute.models.bench_import --layers 32``.

A Hugging Face checkpoint of Llama-2-7B's shape is made on the spot and imported, rounded to
nearest, by a process of its own, whose peak memory is what the operating system saw.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np

from hwroute import provenance
from hwroute.checkpoint import matrix_shapes, vector_shapes
from hwroute.hf_config import shape_to_hf
from hwroute.models.folder_config import CONFIG
from hwroute.models.folder_writer import write_master
from hwroute.models.importing.convert import Import
from hwroute.models.library import model_shape
from hwroute.models.tensor_file import row_blocks
from hwroute.shape import ModelShape

KIB, GIB = 1 << 10, 1 << 30


PAGE = """# Importing a model of Llama-2-7B's shape

Written by `python -m hwroute.models.bench_import --layers {layers} --out docs/results`. A Hugging
Face checkpoint with random float16 weights, {layers} layers, becomes a model folder with float16
and INT4 weights (rounded to nearest), in one process.

{line}.
"""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Result of `measure`.

    Parameters
    ----------
    weights
        Of the checkpoint.
    source_bytes, result_bytes
        Sizes of the two folders.
    seconds, cpu_seconds
        Wall and processor time of the import.
    peak_bytes
        Largest resident memory of the process, interpreter and libraries included.
    """

    weights: int
    source_bytes: int
    result_bytes: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def write_checkpoint(folder: Path, shape: ModelShape) -> int:
    """Write a Hugging Face folder of a shape and return its number of weights.

    Weights are normal with the variance of a trained model's; every tensor repeats one block.
    """
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(shape_to_hf(shape)), encoding="utf-8")
    shapes: dict[str, tuple[int, ...]] = {**vector_shapes(shape), **matrix_shapes(shape)}
    noise = 0.02 * np.random.default_rng(1).standard_normal(1 << 23, dtype=np.float32)

    def blocks() -> Iterator[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
        for name, size in shapes.items():
            for start, stop in row_blocks(size):
                rows = (stop - start, *size[1:])
                yield name, noise[: int(np.prod(rows))].reshape(rows)

    write_master(folder, shapes, blocks())
    return sum(int(np.prod(size)) for size in shapes.values())


def measure(shape: ModelShape, folder: Path) -> Imported:
    """Import a checkpoint of a shape in a process of its own.

    Parameters
    ----------
    shape
        Of the model.
    folder
        Where source and result go; it must be empty.
    """
    source, result = folder / "source", folder / "result"
    weights = write_checkpoint(source, shape)
    command = [sys.executable, "-m", "hwroute.models.bench_import", "--child", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, cpu_seconds, peak_bytes = json.loads(done.stdout)
    return Imported(
        weights=weights,
        source_bytes=sum(path.stat().st_size for path in source.iterdir()),
        result_bytes=sum(path.stat().st_size for path in result.iterdir()),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_bytes=peak_bytes,
    )


def _import_and_report(folder: Path) -> None:
    start, start_cpu = time.perf_counter(), time.process_time()
    Import(folder / "source").write(folder / "result", name=None, progress=lambda _steps: None)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    click.echo(json.dumps([seconds, cpu_seconds, peak_bytes]))


@click.command()
@click.option("--layers", default=1, show_default=True, help="Layers of Llama-2-7B's shape.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where the checkpoint is made, and deleted again.  [default: the system's]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write import.md and import.json into this folder.",
)
@click.option("--child", type=click.Path(path_type=Path), hidden=True)
def main(layers: int, folder: Path | None, out: Path | None, child: Path | None) -> None:
    """Import a random checkpoint and print its size, time and peak memory."""
    if child is not None:
        _import_and_report(child)
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        found = measure(replace(model_shape("llama2-7b"), layers=layers), Path(scratch))
    line = (
        f"{found.weights / 1e9:.2f} G weights, {found.source_bytes / GIB:.2f} GiB to "
        f"{found.result_bytes / GIB:.2f} GiB: {found.seconds:.0f} s "
        f"({found.cpu_seconds:.0f} s of one processor), peak memory "
        f"{found.peak_bytes / GIB:.2f} GiB"
    )
    click.echo(line)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        record = asdict(found) | {"provenance": provenance.collect(command=sys.argv, seed=1)}
        (out / "import.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (out / "import.md").write_text(PAGE.format(layers=layers, line=line), encoding="utf-8")


if __name__ == "__main__":
    main()
