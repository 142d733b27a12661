"""How the INT4 weights and the scales of a matrix lie in HBM and DDR: the one place that says it.

A *column block* is as many outputs as the array has columns. Weights: by column block and line of
the reduction, a beat of 64 INT4 for each column; beats go to the ports in turn, and a column block
begins on a whole row of beats. Scales: by column block and group, an FP16 for each column; each
group of a block begins on a DDR line.
"""

import math
from dataclasses import dataclass

from hwroute.checkpoint import matrix_shapes
from hwroute.config import Config
from hwroute.isa.fields import LINE_ELEMENTS, lines_of
from hwroute.memory_map import Arrangement
from hwroute.shape import ModelShape


@dataclass(frozen=True, kw_only=True)
class MatrixLayout:
    """Sizes of a matrix in memory.

    Parameters
    ----------
    outputs
        Columns, padding included.
    reduction
        Length of the reduction, in lines of 64.
    columns, ports
        Of the array, and of HBM.
    group_lines
        Lines that share a scale.
    """

    outputs: int
    reduction: int
    columns: int
    ports: int
    group_lines: int

    @property
    def blocks(self) -> int:
        """Column blocks."""
        return -(-self.outputs // self.columns)

    @property
    def block_beats(self) -> int:
        """Beats of a column block in each port."""
        return -(-self.reduction * self.columns // self.ports)

    @property
    def beats(self) -> int:
        """Beats of the matrix in each port."""
        return self.blocks * self.block_beats

    @property
    def groups(self) -> int:
        """Groups along the reduction."""
        return -(-self.reduction // self.group_lines)

    @property
    def scale_lines(self) -> int:
        """DDR lines of one group of a column block."""
        return lines_of(self.columns)

    @property
    def scales(self) -> int:
        """DDR lines of all scales."""
        return self.blocks * self.groups * self.scale_lines

    @property
    def part_lines(self) -> int:
        """Lines at whose multiples a part of a block may begin: on a group and a row of beats."""
        return math.lcm(self.group_lines, self.ports // math.gcd(self.ports, self.columns))

    def weights_at(self, column: int, line: int) -> int:
        """Return the beat in each port, from the matrix's first, of a block's column and line."""
        return column // self.columns * self.block_beats + line * self.columns // self.ports

    def scales_at(self, column: int, line: int) -> int:
        """Return the DDR line, from the scales' first, of a block's column and line."""
        group = column // self.columns * self.groups + line // self.group_lines
        return group * self.scale_lines


def matrix_layout(
    shape: ModelShape, config: Config, tensors: tuple[str, ...], arrangement: Arrangement
) -> MatrixLayout:
    """Return the layout of the matrix that is made of `tensors`; outputs padded as arranged."""
    shapes = matrix_shapes(shape)
    outputs = sum(shapes[name][0] for name in tensors)
    if arrangement is Arrangement.HEADS:
        outputs = outputs // shape.head_dim * lines_of(shape.head_dim) * LINE_ELEMENTS
    elif arrangement is Arrangement.PAIRED:
        outputs = lines_of(outputs // 2) * 2 * LINE_ELEMENTS
    return MatrixLayout(
        outputs=outputs,
        reduction=lines_of(shapes[tensors[0]][1]),
        columns=config.array.columns,
        ports=config.kv.hbm_ports,
        group_lines=config.numerics.group // LINE_ELEMENTS,
    )
