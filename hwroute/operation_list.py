"""Build the list of operations of a model from its shape and its routing policy."""

from hwroute.checkpoint import EMBEDDING, HEAD, NORM, ROUTER_PREFIX, layer_prefix
from hwroute.errors import InputError
from hwroute.operations import DecisionRule, Operation, Operator
from hwroute.policy import RoutingPolicy
from hwroute.policy_parts import Site
from hwroute.policy_terms import Addend, Decide, KVRule, Source, Tie
from hwroute.shape import ModelShape

SUPPORTED = frozenset(
    f"{kind}:{value}"
    for kind, values in {
        "scope": ("token", "table"),
        "site": ("attention", "ffn"),
        "source": ("sub-layer-input", "layer-input"),
        "pooling": ("none",),
        "body": ("1-linear",),
        "activation": ("none",),
        "decision": ("argmax", "table"),
        "tie": ("execute", "skip", "lowest-index"),
        "override": ("first-layers", "first-tokens"),
        "base": ("residual",),
        "addend": ("native", "bypass"),
        "gate": ("one",),
        "repeat": ("0", "1"),
        "kv": ("dense", "reuse", "evict"),
    }.items()
    for value in values
)
"""Primitives of policies that a list of operations can express."""


def build(shape: ModelShape, policy: RoutingPolicy) -> tuple[Operation, ...]:
    """Return the operations of one pass of a tile of tokens through the model.

    Raises
    ------
    InputError
        The policy needs a primitive that no list of operations expresses, chooses among other
        outcomes than to execute and to bypass, or names a layer that the model does not have.
    """
    policy.require(SUPPORTED, "the golden model")
    policy.check_layers(shape.layers)
    for name, site in policy.sites():
        addends = [outcome.addend for outcome in site.outcomes]
        if sorted(addend.value for addend in addends) != ["bypass", "native"]:
            raise InputError(
                f"policy {policy.name!r}: {name}.outcomes must be one native and one bypass for "
                f"the golden model, not {', '.join(addend.value for addend in addends)}"
            )
    operations = _Appender()
    x = "embedded"
    operations.add(Operator.EMBED, "embed", (), (x,), weights=(EMBEDDING,))
    for layer in range(shape.layers):
        middle = _Attention(operations, layer, shape, policy).append(x)
        x = _Ffn(operations, layer, policy).append(middle, x)
    operations.add(Operator.REDUCE, "final.reduce", (x,), ("final.squares",))
    operations.add(
        Operator.NORMALISE,
        "final.normalise",
        (x, "final.squares"),
        ("final.normed",),
        weights=(NORM,),
    )
    operations.add(Operator.HEAD, "head", ("final.normed",), ("logits",), weights=(HEAD,))
    operations.add(Operator.ARGMAX, "argmax", ("logits",), ("token",))
    return tuple(operations.list)


class _Appender:
    """The growing list."""

    def __init__(self) -> None:
        self.list: list[Operation] = []

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
        self.list.append(
            Operation(
                index=len(self.list),
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


class _SubLayer:
    """Operations of one sub-layer; their names begin with the sub-layer's."""

    kind: str

    def __init__(self, operations: _Appender, layer: int, site: Site | None):
        self.operations = operations
        self.layer = layer
        self.site = site
        self.prefix = layer_prefix(layer)

    def name(self, part: str) -> str:
        """Return the full name of a value or operation of this sub-layer."""
        return f"layers.{self.layer}.{self.kind}.{part}"

    def add(
        self,
        operator: Operator,
        part: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        *,
        weights: tuple[str, ...] = (),
        predicate: str | None = None,
        decision: DecisionRule | None = None,
    ) -> None:
        """Append an operation; `part` and `outputs` without the sub-layer's name."""
        self.operations.add(
            operator,
            self.name(part),
            inputs,
            tuple(self.name(output) for output in outputs),
            weights=tuple(self.prefix + weight for weight in weights),
            predicate=predicate,
            layer=self.layer,
            decision=decision,
        )

    def decide(self, x: str, layer_input: str) -> str | None:
        """Reduce the input and decide; return the plane, None where every token executes."""
        rule = _rule(self.site, self.layer)
        routed = rule is not None and rule.forced is None
        early = routed and _source(self.site) is Source.LAYER_INPUT and x != layer_input
        router = (f"{ROUTER_PREFIX[self.kind]}.weight",)
        if early:
            self.add(Operator.REDUCE, "reduce", (x,), ("squares",))
            self.add(Operator.REDUCE, "route", (layer_input,), ("routed", "logits"), weights=router)
        elif routed:
            self.add(Operator.REDUCE, "reduce", (x,), ("squares", "logits"), weights=router)
        else:
            self.add(Operator.REDUCE, "reduce", (x,), ("squares",))
        if rule is None:
            return None
        inputs = (self.name("logits"),) if routed else ()
        self.add(Operator.DECIDE, "decide", inputs, ("plane",), decision=rule)
        return self.name("plane")

    def normalise(self, x: str, gain: str, predicate: str | None) -> str:
        """Append the norm; return the name of its result."""
        inputs = (x, self.name("squares"))
        self.add(
            Operator.NORMALISE,
            "normalise",
            inputs,
            ("normed",),
            weights=(gain,),
            predicate=predicate,
        )
        return self.name("normed")

    def matmul(self, part: str, x: str, weights: tuple[str, ...], predicate: str | None) -> str:
        """Append a product with a matrix and perhaps a bias; return the name of its result."""
        self.add(Operator.MATMUL, part, (x,), (part,), weights=weights, predicate=predicate)
        return self.name(part)

    def residual(self, x: str, addend: str, predicate: str | None) -> str:
        """Append the addition to the residual stream; return its new name."""
        self.add(Operator.ADD, "add", (x, addend), ("out",), predicate=predicate)
        return self.name("out")


class _Attention(_SubLayer):
    kind = "attention"

    def __init__(self, operations: _Appender, layer: int, shape: ModelShape, policy: RoutingPolicy):
        super().__init__(operations, layer, policy.attention)
        self.bias = shape.qkv_bias
        self.dense = policy.kv is KVRule.DENSE

    def append(self, x: str) -> str:
        """Append attention on the residual `x`; return the new residual."""
        plane = self.decide(x, x)
        # With dense K/V every token computes them, whether it executes or not.
        every = None if self.dense else plane
        normed = self.normalise(x, "input_layernorm.weight", every)
        k = self.rotate(self.project("k", normed, every), every)
        v = self.project("v", normed, every)
        self.add(Operator.KV_WRITE, "kv.write", (k, v), ("kv.slots",), predicate=every)
        q = self.rotate(self.project("q", normed, plane), plane)
        self.add(Operator.KV_ORDER, "kv.order", (), ("kv.order",), predicate=plane)
        self.add(Operator.SCORES, "scores", (q,), ("scores", "visible", "maximum"), predicate=plane)
        self.add(
            Operator.ATTEND,
            "attend",
            tuple(self.name(part) for part in ("scores", "visible", "maximum")),
            ("probabilities", "sum", "mixed", "heads"),
            predicate=plane,
        )
        o = self.matmul("o", self.name("heads"), ("self_attn.o_proj.weight",), plane)
        return self.residual(x, o, plane)

    def project(self, letter: str, normed: str, predicate: str | None) -> str:
        """Append the projection to queries, keys or values."""
        parts = ("weight", "bias") if self.bias else ("weight",)
        weights = tuple(f"self_attn.{letter}_proj.{part}" for part in parts)
        return self.matmul(letter, normed, weights, predicate)

    def rotate(self, vectors: str, predicate: str | None) -> str:
        """Append the rotary embedding; return the name of its result."""
        part = vectors.rpartition(".")[2]
        self.add(
            Operator.ROTATE, f"{part}.rotate", (vectors,), (f"{part}.rotated",), predicate=predicate
        )
        return self.name(f"{part}.rotated")


class _Ffn(_SubLayer):
    kind = "ffn"

    def __init__(self, operations: _Appender, layer: int, policy: RoutingPolicy):
        super().__init__(operations, layer, policy.ffn)

    def append(self, x: str, layer_input: str) -> str:
        """Append SwiGLU on the residual `x`; return the new residual."""
        plane = self.decide(x, layer_input)
        normed = self.normalise(x, "post_attention_layernorm.weight", plane)
        gate = self.matmul("gate", normed, ("mlp.gate_proj.weight",), plane)
        up = self.matmul("up", normed, ("mlp.up_proj.weight",), plane)
        self.add(Operator.SWIGLU, "swiglu", (gate, up), ("hidden",), predicate=plane)
        down = self.matmul("down", self.name("hidden"), ("mlp.down_proj.weight",), plane)
        return self.residual(x, down, plane)


def _source(site: Site | None) -> Source | None:
    return site.router.source if site and site.router else None


def _rule(site: Site | None, layer: int) -> DecisionRule | None:
    """Return how `site` decides at `layer`, None where every token executes without a plane."""
    if site is None or layer < site.overrides.first_layers:
        return None
    if site.decision.rule is Decide.TABLE:
        return DecisionRule(forced=site.table_outcome(layer).addend is Addend.NATIVE)
    execute = [outcome.addend is Addend.NATIVE for outcome in site.outcomes].index(True)
    tie = site.decision.tie
    return DecisionRule(
        execute=execute,
        tie_executes=tie is Tie.EXECUTE or (tie is Tie.LOWEST_INDEX and execute == 0),
        first_tokens=site.overrides.first_tokens,
    )
