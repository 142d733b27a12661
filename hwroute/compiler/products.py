"""Lower products with matrices: column ranges, and the norm that runs beside the first of them."""

from dataclasses import dataclass

from hwroute.compiler.context import Body, Target
from hwroute.compiler.draft import At, Buffer, Matrix, Span, Value
from hwroute.isa.fields import LINE_ELEMENTS, lines_of
from hwroute.isa.instruction import fp32_pattern
from hwroute.matrix_layout import MatrixLayout, matrix_layout

NORM_PARTS = 4
"""Parts of a row that the norm hands to the first column block one by one: a quarter of the norm
is left in front of it, and each part is long enough to hide what an instruction costs."""


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A norm that has yet to be written.

    Parameters
    ----------
    x, out, gain
        Input, output and gains.
    squares
        Sums of squares.
    operation
        Name of the operation.
    """

    x: Matrix
    out: Matrix
    gain: Matrix
    squares: Buffer
    operation: str


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product with a matrix.

    Parameters
    ----------
    x
        Input.
    size
        Layout of the matrix.
    weights, scales
        First beat and first DDR line.
    bias
        Of all outputs, or None.
    number_format
        ``fp16`` or ``fp32``.
    """

    x: Matrix
    size: MatrixLayout
    weights: int
    scales: int
    bias: Matrix | None = None
    number_format: str = "fp16"

    @property
    def line_elements(self) -> int:
        """Outputs of a line."""
        return LINE_ELEMENTS // (2 if self.number_format == "fp32" else 1)


def product_of(
    target: Target, name: str, x: Matrix, bias: Matrix | None = None, *, number_format: str = "fp16"
) -> Product:
    """Return the product with the matrix in region `name`."""
    region = target.memory.region(name)
    return Product(
        x=x,
        size=matrix_layout(target.shape, target.config, region.tensors, region.arrangement),
        weights=region.address,
        scales=target.memory.region(f"{name}.scales").address,
        bias=bias,
        number_format=number_format,
    )


def write_columns(
    body: Body,
    product: Product,
    columns: range,
    out: Matrix,
    *,
    first: int = 0,
    lines: range | None = None,
) -> None:
    """Write the instruction for a range of columns.

    Parameters
    ----------
    columns
        Outputs; begins at a column block.
    out
        Where they go.
    first
        Output that `out` begins with.
    lines
        Part of the reduction, for one column block; all of it by default.
    """
    size = product.size
    part = lines or range(size.reduction)
    start, offset = divmod(columns.start - first, product.line_elements)
    stop = start + -(-(offset + len(columns)) // product.line_elements)
    last = part.stop == size.reduction
    values: dict[str, Value] = {
        **product.x.fields("x", part.start),
        **out.fields("out", start),
        "lines": len(part),
        "columns": len(columns),
        "weights": product.weights + size.weights_at(columns.start, part.start),
        "scales": product.scales + size.scales_at(columns.start, part.start),
        "first": int(part.start == 0),
        "last": int(last),
        "format": product.number_format,
        "offset": offset,
    }
    reads = [product.x.span(part.start, part.stop)]
    if product.bias is not None and last:
        line = columns.start // LINE_ELEMENTS
        values |= {"bias": At(product.bias.buffer, line), "biased": 1}
        reads.append(product.bias.span())
    note = f"columns {columns.start} to {columns.stop - 1}"
    if lines is not None:
        note += f", lines {part.start} to {part.stop - 1}"
    writes = (out.span(start, stop),) if last else ()
    body.emit("matmul", values, reads=tuple(reads), writes=writes, note=note)


def write_norm(body: Body, target: Target, norm: Norm, lines: range) -> None:
    """Write the norm of a part of each row."""
    before, body.operation = body.operation, norm.operation
    body.emit(
        "normalise",
        {
            **norm.x.fields("x", lines.start),
            **norm.out.fields("out", lines.start),
            "lines": len(lines),
            "gain": At(norm.gain.buffer, lines.start),
            "squares": At(norm.squares),
            "inverse": fp32_pattern(1 / target.shape.dim),
            "epsilon": fp32_pattern(target.shape.norm_eps),
        },
        reads=(norm.x.span(lines.start, lines.stop), norm.gain.span(), Span(norm.squares)),
        writes=(norm.out.span(lines.start, lines.stop),),
        note=f"lines {lines.start} to {lines.stop - 1}",
    )
    body.operation = before


def write_product(
    body: Body,
    target: Target,
    product: Product,
    columns: range,
    out: Matrix,
    *,
    first: int = 0,
    norm: Norm | None = None,
) -> None:
    """Write a product, and in front of it the norm that makes its input, if that is yet to come.

    Fused, the norm of a row of several parts hands them over one by one, and the first column
    block takes each up as it comes; the columns behind read the finished row.
    """
    parts = norm_parts(product.size) if body.plan.fused else []
    if norm is not None and len(parts) > 1:
        block = range(columns.start, min(columns.start + product.size.columns, columns.stop))
        for part in parts:
            write_norm(body, target, norm, part)
            write_columns(body, product, block, out, first=first, lines=part)
        columns = range(block.stop, columns.stop)
    elif norm is not None:
        write_norm(body, target, norm, range(norm.out.lines))
    if columns:
        write_columns(body, product, columns, out, first=first)


def norm_parts(size: MatrixLayout) -> list[range]:
    """Return the parts of a reduction: about NORM_PARTS, each on a boundary of `part_lines`."""
    step = -(-size.reduction // (NORM_PARTS * size.part_lines)) * size.part_lines
    return [
        range(start, min(start + step, size.reduction)) for start in range(0, size.reduction, step)
    ]


def output_lines(product: Product, columns: int) -> int:
    """Return the lines that a row of `columns` outputs takes."""
    return lines_of(columns * LINE_ELEMENTS // product.line_elements)
