"""The study as a whole: same inputs for all variants, stated maxima, and what is written."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from hwroute.config import PRESETS
from hwroute.errors import InputError
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.study import elementary, variants
from hwroute.models.study.__main__ import main
from hwroute.models.study.capture import Capture, capture
from hwroute.models.study.dots import Format, outliers, uniform
from hwroute.models.study.measure import CHUNK, Final, Total, measure
from hwroute.models.study.paper import TABLE1
from hwroute.models.study.run import run
from hwroute.models.study.variants import VARIANTS, Operands


@pytest.fixture(scope="module")
def captured(random_model: RandomCheckpoint) -> Capture:
    """Return what the random model multiplies in two windows."""
    ids = np.random.default_rng(1).integers(0, 128, 64).tolist()
    return capture(random_model, PRESETS["demo"], ids, windows=2, window=32)


@pytest.fixture(scope="module")
def sweeps() -> list[elementary.Sweep]:
    return elementary.sweep_all()


def test_total_divides_sums_and_leaves_exact_zeros_out_of_the_relative_error() -> None:
    total = Total()
    total.add(np.array([1.5, -4.0, 0.25]), np.array([1.0, -5.0, 0.0]))
    total.add(np.array([4.0]), np.array([4.0]))
    assert total.sum_error_percent == pytest.approx(100 * 1.75 / 10)
    assert total.mean_relative_error_percent == pytest.approx(100 * (0.5 + 0.2 + 0.0) / 3)
    assert (total.count, total.zeros) == (4, 1)


def test_all_variants_are_given_the_same_dot_products() -> None:
    seen: dict[str, list[bytes]] = {}

    def spy(variant: variants.Variant) -> variants.Variant:
        def compute(operands: Operands) -> variants.Floats:
            dots = operands.dots
            seen.setdefault(variant.key, []).append(dots.x.tobytes() + dots.y.tobytes())
            return variant.compute(operands)

        return variants.Variant(
            key=variant.key, label=variant.label, formats=variant.formats, compute=compute
        )

    n = CHUNK + 100
    drawn = [(seed, outliers(Format.INT4, np.random.default_rng(seed), n)) for seed in (1, 2)]
    cell = measure("outliers", drawn, map(spy, VARIANTS))
    reference = seen["exact"]
    assert len(set(reference)) == 4
    assert b"".join(chunk for chunk in reference[:2]).startswith(drawn[0][1].x[:CHUNK].tobytes())
    assert set(seen) == {v.key for v in VARIANTS if Format.INT4 in v.formats}
    assert all(chunks == reference for chunks in seen.values())
    assert {(total.count, total.zeros) for total in cell.totals.values()} == {(n, 0)}
    sums = {(seed, total.exact) for (_, _, seed), total in cell.totals.items()}
    assert len(sums) == 2


def test_a_final_conversion_never_changes_what_a_cascade_holds() -> None:
    cell = measure("uniform", [(1, uniform(Format.FP16, np.random.default_rng(1), 300))])
    for key in ("cascaded-macs", "cascaded-overpacked"):
        assert len({cell.of(key, final)[0].error for final in Final}) == 1
    assert len({cell.of("tree-15", final)[0].error for final in Final}) == 3


@pytest.mark.parametrize("samples", [0, 7])
def test_samples_that_seeds_cannot_share_are_refused(captured: Capture, samples: int) -> None:
    with pytest.raises(
        ValueError, match=f"Samples must be a positive multiple of 5, not {samples}"
    ):
        run(captured, seed=1, samples=samples)


def test_the_default_beats_variant_2_everywhere_and_one_cascade_does_not(
    captured: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/numerics.md decides by, at a small size."""
    monkeypatch.setattr("hwroute.models.study.run.sweep_all", list)
    study = run(captured, seed=11, samples=5_000)

    def error(cell: Any, key: str) -> float:
        totals = cell.of(key, Final.NONE)
        return sum(t.error for t in totals) / sum(t.exact for t in totals)

    for cell in (*study.cells, study.rows):
        assert error(cell, "aligned") < error(cell, "tree-15"), cell.name
    int4 = [cell for cell in study.cells if cell.format == Format.INT4.value]
    assert len(int4) == 3
    assert any(error(cell, "aligned-one-cascade") > error(cell, "tree-15") for cell in int4)


def test_functions_keep_the_stated_maxima_over_every_fp16(
    sweeps: list[elementary.Sweep],
) -> None:
    assert len(elementary.finite_fp16()) == 63_488
    for sweep in sweeps:
        assert sweep.relative <= elementary.STATED_RELATIVE[sweep.function], sweep
        assert sweep.ulp is None or sweep.ulp <= elementary.STATED_ULP[sweep.function], sweep


def test_stated_maxima_are_no_looser_than_they_need_be(sweeps: list[elementary.Sweep]) -> None:
    for name, stated in elementary.STATED_RELATIVE.items():
        found = [sweep for sweep in sweeps if sweep.function == name]
        assert stated < 1.1 * max(sweep.relative for sweep in found)
        measured = max(sweep.ulp for sweep in found if sweep.ulp is not None)
        assert elementary.STATED_ULP[name] < measured + 0.001


def test_the_contract_states_the_maxima_that_the_sweep_holds(root: Path) -> None:
    text = (root / "docs" / "numerics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` .*\| ([\d.e-]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    stated = {name: (float(relative), float(ulp)) for name, relative, ulp in rows}
    assert stated == {
        name: (elementary.STATED_RELATIVE[name], ulp) for name, ulp in elementary.STATED_ULP.items()
    }


def test_the_contract_quotes_the_committed_figures(root: Path) -> None:
    text = (root / "docs" / "numerics.md").read_text(encoding="utf-8")
    values = json.loads((root / "docs" / "results" / "numerics.json").read_text(encoding="utf-8"))
    keys = (
        "aligned", "tree-15", "aligned-one-cascade", "aligned-24-kv", "aligned-24-qp", "tree-22",
    )  # fmt: skip
    for cell in (*values["cells"], values["whole_rows"]):
        found = {
            row["variant"]: f"{row['sum_error_percent']['mean']:.5f}"
            for row in cell["results"]
            if row["final"] == "none"
        }
        quoted = " | ".join(found.get(key, "") for key in keys)
        assert f"| {cell['data']} | {quoted} |" in text


def study_command(folder: Path, out: Path, *more: str) -> Any:
    arguments = ["--out", str(out), "--model", str(folder), "--windows", "1", "--samples", "100"]
    return CliRunner().invoke(main, [*arguments, *more])


def test_the_command_writes_figures_with_their_provenance(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwroute.models.study.run.sweep_all", list)
    (folder / "heldout.txt").write_text("the quick brown fox jumps over the lazy dog" * 2)
    out = tmp_path / "out"
    done = study_command(folder, out, "--seed", "3")
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {
        f"numerics.{suffix}" for suffix in ("json", "md", "png", "svg")
    }
    values = json.loads((out / "numerics.json").read_text())
    assert values["provenance"]["seed"] == 3
    assert values["provenance"]["command"][:3] == ["python", "-m", "hwroute.models.study"]
    assert values["provenance"]["model_hash"]
    assert (values["dot_products"], values["seeds"]) == (700, [3, 4, 5, 6, 7])
    for cell in values["cells"]:
        assert {row["dot_products"] for row in cell["results"]} == {100}
    text = (out / "numerics.md").read_text()
    for figure in TABLE1["tree-15"]:
        assert f"| {figure:.3f} |" in text
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert study_command(folder, out, "--seed", "3").exit_code == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_the_command_refuses_what_it_cannot_run(folder: Path, tmp_path: Path) -> None:
    missing = study_command(folder, tmp_path / "out")
    assert (missing.exit_code, "heldout.txt must be a readable text" in missing.output) == (2, True)
    (folder / "heldout.txt").write_text("short")
    short = study_command(folder, tmp_path / "out")
    assert "heldout.txt must have at least 32 tokens, not 5" in short.output
    odd = study_command(folder, tmp_path / "out", "--samples", "7")
    assert "--samples must be a multiple of 5, not 7" in odd.output
    assert odd.exit_code == InputError.exit_code
