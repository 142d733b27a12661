"""A model as a flat list of operations: what every executor runs, layer by layer, for a tile.

Each operation names its operator, the values and weights it reads, the values it writes, and the
bitmask plane that selects the tokens it runs for. The list is built once from shape and policy and
is the same for prefill and decode: skipping happens when it is executed.
"""

from dataclasses import dataclass
from enum import Enum


class Operator(Enum):
    """What an operation computes; `hwroute.models.ops` holds the bit-true functions."""

    EMBED = "embed"
    """Rows of the embedding table."""
    REDUCE = "reduce"
    """Sum of squares of each row and, where there is a router, its logits in the same pass."""
    DECIDE = "decide"
    """Logits to one bit per token: the bitmask plane."""
    NORMALISE = "normalise"
    """RMSNorm with the sum of squares at hand."""
    MATMUL = "matmul"
    """FP16 by INT4 matrix product, rounded to FP16."""
    ROTATE = "rotate"
    """Rotary embedding of even/odd pairs; on queries with log2(e)/sqrt(d) folded in."""
    KV_WRITE = "kv-write"
    """Append K and V of the selected tokens; the others follow the KV rule."""
    KV_ORDER = "kv-order"
    """The order in which entries are consumed: rounds over ports and history buffer."""
    SCORES = "scores"
    """Queries by keys, causal, with the row maximum in the same pass."""
    ATTEND = "attend"
    """exp2(score - maximum) by values, with the row sum in the same pass, and one division."""
    SWIGLU = "swiglu"
    """silu(gate) * up."""
    ADD = "add"
    """Residual: the selected rows get the addend."""
    HEAD = "head"
    """Vocabulary logits at partial-sum width."""
    ARGMAX = "argmax"
    """Largest logit of the last row; ties go to the lowest id."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One entry of the list.

    Parameters
    ----------
    index
        Its place in the list.
    operator
        What it computes.
    name
        What errors and traces call it, for instance ``layers.3.attention.q``.
    inputs, outputs
        Names of values.
    weights
        Names of tensors of the checkpoint.
    predicate
        Bitmask plane of the tokens it runs for; None for all.
    layer
        Number of its layer, or None outside the layers.
    decision
        How a DECIDE operation decides.
    """

    index: int
    operator: Operator
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...] = ()
    predicate: str | None = None
    layer: int | None = None
    decision: "DecisionRule | None" = None


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """How a bit is found.

    Parameters
    ----------
    forced
        The bit of every token, where neither router nor table matters; None to compare logits.
    execute
        Index of the logit that means execute.
    tie_executes
        Whether equal logits execute.
    first_tokens
        Tokens of the sequence that execute whatever the logits say.
    """

    forced: bool | None = None
    execute: int = 0
    tie_executes: bool = True
    first_tokens: int = 0
