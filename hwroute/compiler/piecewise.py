"""Lower products in pieces, whose results the NPE takes up while the next piece is computed."""

from collections.abc import Callable

from hwroute.compiler.context import Body, Target
from hwroute.compiler.draft import At, Matrix
from hwroute.compiler.products import Norm, Product, output_lines, write_product
from hwroute.isa.fields import LINE_ELEMENTS

PIECES = 8
"""Most pieces of a product."""
LEAST_PIECE = 512
"""Shortest piece, in columns: a shorter one costs more as an instruction than it hides."""

TakeUp = Callable[[Matrix, range], None]


def write_gated(
    body: Body,
    target: Target,
    product: Product,
    *,
    hidden: Matrix,
    norm: Norm | None,
    operation: str,
) -> None:
    """Write gate and up, whose outputs alternate, and SwiGLU a piece behind them.

    Parameters
    ----------
    hidden
        Where SwiGLU writes.
    operation
        Name of the SwiGLU.
    """

    def swiglu(pairs: Matrix, part: range) -> None:
        start, stop = (end // (2 * LINE_ELEMENTS) for end in (part.start, part.stop))
        body.emit(
            "swiglu",
            {**pairs.fields("x"), **hidden.fields("out", start), "lines": stop - start},
            reads=(pairs.span(),),
            writes=(hidden.span(start, stop),),
            note=f"lines {start} to {stop - 1}",
        )

    outputs = product.size.outputs
    parts = pieces(outputs, 2 * LINE_ELEMENTS) if body.plan.fused else [range(outputs)]
    _write_pieces(body, target, product, parts, norm, swiglu, operation)


def write_head(body: Body, target: Target, product: Product, norm: Norm | None) -> None:
    """Write the head and the argmax a piece behind it."""
    outputs = product.size.outputs

    def argmax(logits: Matrix, part: range) -> None:
        body.emit(
            "argmax",
            {
                "x": At(logits.buffer),
                "count": len(part),
                "base": part.start,
                "first": int(part.start == 0),
                "last": int(part.stop == outputs),
            },
            reads=(logits.span(),),
            note=f"tokens {part.start} to {part.stop - 1}",
        )

    parts = pieces(outputs, max(product.size.columns, LINE_ELEMENTS))
    _write_pieces(body, target, product, parts, norm, argmax, "argmax")


def _write_pieces(
    body: Body,
    target: Target,
    product: Product,
    parts: list[range],
    norm: Norm | None,
    take_up: TakeUp,
    operation: str,
) -> None:
    """Write a product piece by piece, and what takes a piece up behind the next one."""
    multiplies = body.operation
    waiting: list[tuple[Matrix, range]] = []
    for part in [*parts, None]:
        if part is not None:
            out = body.matrix(f"{multiplies}.{part.start}", output_lines(product, len(part)))
            write_product(body, target, product, part, out, first=part.start, norm=norm)
            norm = None
            waiting.append((out, part))
        if len(waiting) > 1 or part is None:
            body.operation = operation
            take_up(*waiting.pop(0))
            body.operation = multiplies


def pieces(columns: int, multiple: int) -> list[range]:
    """Return at most PIECES ranges that cover `columns`, each but the last a multiple long."""
    step = -(-max(-(-columns // PIECES), LEAST_PIECE) // multiple) * multiple
    return [range(start, min(start + step, columns)) for start in range(0, columns, step)]
