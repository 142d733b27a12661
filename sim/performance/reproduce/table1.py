"""Table 1: error and logic of a column of 64 lanes."""

from hwroute.config import PRESETS
from hwroute.models.folder import ModelFolder
from hwroute.models.library import model_path
from hwroute.models.study.capture import capture
from hwroute.models.study.measure import Cell, Final, measure, spread
from hwroute.models.study.paper import TABLE1, printed
from hwroute.models.study.run import (
    SCORES,
    SEEDS,
    UNIFORM_FP16,
    UNIFORM_INT4,
    VALUES,
    WEIGHTS,
    draw,
)
from hwroute.models.study.variants import VARIANTS
from hwroute.sim.performance.reproduce.paper import load_paper
from hwroute.sim.performance.reproduce.resources import resource_rows
from hwroute.sim.performance.reproduce.rows import Row, Section, paragraphs

NAME = "table1"
MODEL, TEXT = "tiny", "heldout.txt"
WINDOWS, SAMPLES, SEED = 4, 300_000, 1
"""As in docs/results/numerics.md, so that the figures are the same."""
OURS = "aligned"
"""The machine's default column, which the paper does not have."""
CELLS = (UNIFORM_FP16, UNIFORM_INT4, SCORES, VALUES, WEIGHTS)


def table1(*, windows: int = WINDOWS, window: int | None = None, samples: int = SAMPLES) -> Section:
    """Measure the column variants on random and on captured operands.

    Parameters
    ----------
    windows, window
        Windows of text whose operands are captured, and tokens of each; by default the model's
        context.
    samples
        Dot products of each set of data, over all seeds.
    """
    model = ModelFolder(model_path(MODEL))
    assert model.tokenizer is not None, "the zoo's model has a tokeniser"
    window = window or model.shape.context
    ids = model.tokenizer.encode((model.path / TEXT).read_text(encoding="utf-8"))
    captured = capture(
        model, PRESETS["demo"], ids[: windows * window], windows=windows, window=window
    )
    seeds = tuple(range(SEED, SEED + SEEDS))
    chosen = [one for one in VARIANTS if one.key in (*TABLE1, OURS)]
    cells = [measure(name, draw(name, captured, seeds, samples // SEEDS), chosen) for name in CELLS]
    return Section(
        name=NAME,
        title="Table 1: error and logic of a column",
        about=paragraphs(
            f"""
            Mean relative error of a dot product of 64, result rounded toward zero, as the paper's
            figures suggest; {samples:,} dot products of each set of data, {SEEDS} seeds. Uniform:
            from -1 to 1; model: operands of the golden model of {MODEL} on {windows} windows of
            {window} tokens of {TEXT}.

            The paper's distributions are not published, and its model has other ones; sums that
            nearly cancel decide the mean. docs/numerics.md has the study.
            """
        ),
        rows=(
            *(
                _row(cell, variant.key, variant.label)
                for variant in chosen
                for cell in cells
                if cell.of(variant.key, Final.TOWARD_ZERO)
            ),
            *resource_rows(load_paper().resources(NAME)),
        ),
    )


def _row(cell: Cell, key: str, label: str) -> Row:
    """Return the error of a variant on a set of data."""
    totals = cell.of(key, Final.TOWARD_ZERO)
    error = spread(total.mean_relative_error_percent for total in totals)
    paper = printed(key, cell.name)
    whole = key == OURS and cell.name == VALUES
    return Row(
        what=f"{label}: {cell.name}",
        unit="%",
        ours=error["mean"],
        paper=paper,
        place="" if paper is None else "Table 1",
        note=f"seeds from {error['min']:.3f} to {error['max']:.3f}{_WHOLE_ROWS if whole else ''}",
        reason=_REASON,
    )


_WHOLE_ROWS = "; it rounds no blocks of 64 entries: docs/results/numerics.md has whole rows"
_REASON = "another distribution, and a mean that few sums near zero decide"
