"""Payloads of the vector unit: lines with what is done to them, and lines of results."""

from enum import Enum

from amaranth.lib import data

TOKEN_BITS = 18
"""Of a token id, as in the instruction set."""
FLOAT_WORDS = 2
"""FP16 lanes that an FP32 element takes."""


class VectorOperation(Enum):
    """What is done to a line; values are the low bits of the instructions' codes."""

    NORMALISE = 1
    """(x * r) * y with r = 1/sqrt(statistic * inverse + epsilon): y holds gains."""
    ROTATE = 2
    """Pairs (a, b) of x become (a*c - b*s, b*c + a*s): y holds pairs (c, s)."""
    SWIGLU = 3
    """Pairs (gate, up) of x become silu(gate) * up: two lines make one."""
    RESIDUAL = 4
    """x + y."""
    DIVIDE = 5
    """FP32 x times 1/statistic, packed without gaps."""
    ARGMAX = 6
    """Largest of FP32 x over all lines from the first to the last."""


def vector_layout(lanes: int) -> data.StructLayout:
    """Return the shape of a line of `lanes` FP16, or half as many FP32, and its operation.

    Fields, beside `x` and `y`, whose lanes are FP16 patterns (an FP32 element is two of them, low
    half first):

    - ``first``, ``last`` line of the row, from which on output lines are packed (SWIGLU, DIVIDE),
      or of the logits (ARGMAX); NORMALISE, ROTATE and RESIDUAL hand ``last`` on;
    - ``offset``: element of the row's first output line to begin at (SWIGLU, DIVIDE);
    - ``count``: elements of the line that count, from element 0 on, at least 1 (DIVIDE, ARGMAX);
    - ``statistic``: of the row, FP32 above 0: sum of squares (NORMALISE), of probabilities
      (DIVIDE);
    - ``inverse``, ``epsilon``: FP32 (NORMALISE);
    - ``base``: token id of element 0 (ARGMAX).
    """
    line = data.ArrayLayout(16, lanes)
    return data.StructLayout(
        {
            "operation": VectorOperation,
            "first": 1,
            "last": 1,
            "offset": range(lanes),
            "count": range(lanes // FLOAT_WORDS + 1),
            "statistic": 32,
            "inverse": 32,
            "epsilon": 32,
            "base": TOKEN_BITS,
            "x": line,
            "y": line,
        }
    )


HALF_RESULT = data.StructLayout({"bits": 16, "saturated": 1})
"""An FP16 result, and whether it is the largest value instead of a larger one."""


def line_layout(lanes: int) -> data.StructLayout:
    """Return the shape of an output line.

    Fields: lanes, FP16, 0 where no result is; start, the first lane that is to be written; last
    line of its row; saturated, whether any result of the line is.
    """
    return data.StructLayout(
        {
            "lanes": data.ArrayLayout(16, lanes),
            "start": range(lanes),
            "last": 1,
            "saturated": 1,
        }
    )
