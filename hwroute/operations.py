"""A model as a flat list of operations: what every executor runs, layer by layer, for a tile.

Each operation names its operator, the values and weights it reads, the values it writes, and the
bitmask plane that selects the tokens it runs for. The list is built once from shape and policy and
is the same for prefill and decode: skipping happens when it is executed.
"""

from dataclasses import dataclass
from enum import Enum

from hwroute.checkpoint import EMBEDDING, HEAD, NORM, ROUTER_PREFIX, layer_prefix
from hwroute.policy import RoutingPolicy
from hwroute.policy_parts import Site
from hwroute.policy_terms import Addend, Decide, KVRule, Source, Tie
from hwroute.shape import ModelShape


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


SUPPORTED = frozenset(
    {
        "scope:token", "scope:table", "site:attention", "site:ffn",
        "source:sub-layer-input", "source:layer-input", "pooling:none",
        "body:1-linear", "activation:none",
        "decision:argmax", "decision:table", "tie:execute", "tie:skip", "tie:lowest-index",
        "override:first-layers", "override:first-tokens",
        "base:residual", "addend:native", "addend:bypass", "gate:one", "repeat:0", "repeat:1",
        "kv:dense", "kv:reuse", "kv:evict",
    }
)  # fmt: skip
"""Primitives of policies that a list of operations can express."""


class _Builder:
    def __init__(self, shape: ModelShape, policy: RoutingPolicy):
        self.shape = shape
        self.policy = policy
        self.operations: list[Operation] = []

    def add(
        self,
        operator: Operator,
        name: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        *,
        weights: tuple[str, ...] = (),
        predicate: str | None = None,
        layer: int | None = None,
        decision: DecisionRule | None = None,
    ) -> None:
        self.operations.append(
            Operation(
                index=len(self.operations),
                operator=operator,
                name=name,
                inputs=inputs,
                outputs=outputs,
                weights=weights,
                predicate=predicate,
                layer=layer,
                decision=decision,
            )
        )

    def decide(self, layer: int, kind: str, x: str, layer_input: str) -> str | None:
        """Reduce the sub-layer's input, decide, and return the plane (None where all execute)."""
        site = self.policy.attention if kind == "attention" else self.policy.ffn
        name = f"layers.{layer}.{kind}"
        rule = _rule(site, layer)
        squares, logits = f"{name}.squares", f"{name}.logits"
        if rule is None or rule.forced is not None or site is None or site.router is None:
            self.add(Operator.REDUCE, f"{name}.reduce", (x,), (squares,), layer=layer)
        else:
            router = (f"{layer_prefix(layer)}{ROUTER_PREFIX[kind]}.weight",)
            early = site.router.source is Source.LAYER_INPUT and x != layer_input
            routed = layer_input if early else x
            if early:
                self.add(Operator.REDUCE, f"{name}.reduce", (x,), (squares,), layer=layer)
            unused = f"{name}.router.squares" if early else squares
            suffix = "route" if early else "reduce"
            self.add(
                Operator.REDUCE, f"{name}.{suffix}", (routed,), (unused, logits),
                weights=router, layer=layer,
            )  # fmt: skip
        if rule is None:
            return None
        inputs = (logits,) if rule.forced is None else ()
        self.add(
            Operator.DECIDE, f"{name}.decide", inputs, (f"{name}.plane",),
            layer=layer, decision=rule,
        )  # fmt: skip
        return f"{name}.plane"

    def attention(self, layer: int, x: str) -> str:
        """Append layer `layer`'s attention on the residual `x`; return the new residual."""
        name = f"layers.{layer}.attention"
        weights = f"{layer_prefix(layer)}self_attn"
        plane = self.decide(layer, "attention", x, x)
        dense = self.policy.kv is KVRule.DENSE
        every = None if dense else plane

        def matmul(letter: str, source: str, predicate: str | None) -> None:
            tensors = (f"{weights}.{letter}_proj.weight",)
            if self.shape.qkv_bias and letter != "o":
                tensors += (f"{weights}.{letter}_proj.bias",)
            self.add(
                Operator.MATMUL, f"{name}.{letter}", (source,), (f"{name}.{letter}",),
                weights=tensors, predicate=predicate, layer=layer,
            )  # fmt: skip

        self.add(
            Operator.NORMALISE, f"{name}.normalise", (x, f"{name}.squares"), (f"{name}.normed",),
            weights=(f"{layer_prefix(layer)}input_layernorm.weight",),
            predicate=every, layer=layer,
        )  # fmt: skip
        matmul("k", f"{name}.normed", every)
        matmul("v", f"{name}.normed", every)
        self.add(
            Operator.ROTATE, f"{name}.k.rotate", (f"{name}.k",), (f"{name}.k.rotated",),
            predicate=every, layer=layer,
        )  # fmt: skip
        self.add(
            Operator.KV_WRITE, f"{name}.kv.write", (f"{name}.k.rotated", f"{name}.v"),
            (f"{name}.kv.slots",),
            predicate=every, layer=layer,
        )  # fmt: skip
        matmul("q", f"{name}.normed", plane)
        self.add(
            Operator.ROTATE, f"{name}.q.rotate", (f"{name}.q",), (f"{name}.q.rotated",),
            predicate=plane, layer=layer,
        )  # fmt: skip
        self.add(
            Operator.KV_ORDER, f"{name}.kv.order", (), (f"{name}.kv.order",),
            predicate=plane, layer=layer,
        )  # fmt: skip
        self.add(
            Operator.SCORES, f"{name}.scores", (f"{name}.q.rotated",),
            (f"{name}.scores", f"{name}.maximum"), predicate=plane, layer=layer,
        )  # fmt: skip
        self.add(
            Operator.ATTEND, f"{name}.attend", (f"{name}.scores", f"{name}.maximum"),
            (f"{name}.probabilities", f"{name}.sum", f"{name}.mixed", f"{name}.heads"),
            predicate=plane, layer=layer,
        )  # fmt: skip
        matmul("o", f"{name}.heads", plane)
        return self.residual(layer, name, x, f"{name}.o", plane)

    def ffn(self, layer: int, x: str, layer_input: str) -> str:
        """Append layer `layer`'s FFN on the residual `x`; return the new residual."""
        name = f"layers.{layer}.ffn"
        prefix = layer_prefix(layer)
        plane = self.decide(layer, "ffn", x, layer_input)
        self.add(
            Operator.NORMALISE, f"{name}.normalise", (x, f"{name}.squares"), (f"{name}.normed",),
            weights=(f"{prefix}post_attention_layernorm.weight",),
            predicate=plane, layer=layer,
        )  # fmt: skip
        for part in ("gate", "up"):
            self.add(
                Operator.MATMUL, f"{name}.{part}", (f"{name}.normed",), (f"{name}.{part}",),
                weights=(f"{prefix}mlp.{part}_proj.weight",), predicate=plane, layer=layer,
            )  # fmt: skip
        self.add(
            Operator.SWIGLU, f"{name}.swiglu", (f"{name}.gate", f"{name}.up"), (f"{name}.hidden",),
            predicate=plane, layer=layer,
        )  # fmt: skip
        self.add(
            Operator.MATMUL, f"{name}.down", (f"{name}.hidden",), (f"{name}.down",),
            weights=(f"{prefix}mlp.down_proj.weight",), predicate=plane, layer=layer,
        )  # fmt: skip
        return self.residual(layer, name, x, f"{name}.down", plane)

    def residual(self, layer: int, name: str, x: str, addend: str, plane: str | None) -> str:
        """Append the addition to the residual stream; return its new name."""
        out = f"{name}.out"
        self.add(Operator.ADD, f"{name}.add", (x, addend), (out,), predicate=plane, layer=layer)
        return out


def _rule(site: Site | None, layer: int) -> DecisionRule | None:
    """Return how `site` decides at `layer`, None where every token executes without a plane."""
    if site is None or layer < site.overrides.first_layers:
        return None
    if site.decision.rule is Decide.TABLE:
        return DecisionRule(
            forced=layer not in site.decision.layers, first_tokens=site.overrides.first_tokens
        )
    native = [outcome.addend is Addend.NATIVE for outcome in site.outcomes]
    execute = native.index(True)
    tie = site.decision.tie
    return DecisionRule(
        execute=execute,
        tie_executes=tie is Tie.EXECUTE or (tie is Tie.LOWEST_INDEX and execute == 0),
        first_tokens=site.overrides.first_tokens,
    )


def build(shape: ModelShape, policy: RoutingPolicy) -> tuple[Operation, ...]:
    """Return the operations of one pass of a tile of tokens through the model.

    Raises
    ------
    InputError
        The policy needs a primitive that no list of operations expresses; it is named.
    """
    policy.require(SUPPORTED, "the golden model")
    builder = _Builder(shape, policy)
    x = "embedded"
    builder.add(Operator.EMBED, "embed", (), (x,), weights=(EMBEDDING,))
    for layer in range(shape.layers):
        middle = builder.attention(layer, x)
        x = builder.ffn(layer, middle, x)
    builder.add(Operator.REDUCE, "final.reduce", (x,), ("final.squares",))
    builder.add(
        Operator.NORMALISE, "final.normalise", (x, "final.squares"), ("final.normed",),
        weights=(NORM,),
    )  # fmt: skip
    builder.add(Operator.HEAD, "head", ("final.normed",), ("logits",), weights=(HEAD,))
    builder.add(Operator.ARGMAX, "argmax", ("logits",), ("token",))
    return tuple(builder.operations)
