"""What a routing policy is made of: router, decision, outcomes, overrides, groups."""

from dataclasses import dataclass, field

from hwroute.policy_terms import (
    Activation,
    Addend,
    Base,
    Decide,
    Feature,
    Gate,
    Latch,
    Over,
    Pooling,
    Scope,
    Source,
    Tie,
)

TABLES = (Scope.TABLE, Scope.STEP)
"""Scopes of decisions that no token changes."""


@dataclass(frozen=True, kw_only=True)
class Router:
    """The function from a token (or its pool) to logits.

    Parameters
    ----------
    source, pooling, windows
        What it reads; `windows` is the largest number of windows of `Pooling.WINDOW_MEAN`.
    linears
        1 or 2 matrices; the width between two is read from the weights.
    bias, rmsnorm, activation
        Biases on every linear; RMSNorm, then the activation, between the two.
    features
        Scalars, for `Source.SCALARS`.
    """

    source: Source = Source.SUBLAYER_INPUT
    pooling: Pooling = Pooling.NONE
    windows: int = 0
    linears: int = 1
    bias: bool = False
    rmsnorm: bool = False
    activation: Activation = Activation.NONE
    features: tuple[Feature, ...] = ()

    def __post_init__(self) -> None:
        if self.linears not in (1, 2):
            raise ValueError(f"linears must be 1 or 2, not {self.linears!r}")
        if self.linears == 1 and (self.rmsnorm or self.activation is not Activation.NONE):
            raise ValueError("linears must be 2 where rmsnorm or activation is given, not 1")
        if (self.pooling is Pooling.WINDOW_MEAN) != (self.windows > 0):
            raise ValueError(
                f"windows must be positive exactly with window-mean pooling, not {self.windows!r}"
            )
        if (self.source is Source.SCALARS) != bool(self.features):
            raise ValueError("features must be given exactly with source scalars")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How logits, or a table, become the index of an outcome.

    Parameters
    ----------
    rule, tie
        The rule; the tie matters to argmax alone.
    threshold
        Score above which a token executes.
    share
        Share of the tokens (top-k tokens) or of the probability (top-p experts).
    count
        Experts of top-k experts.
    layers, period
        Tables: layers that take the last outcome, or the steps from one full step to the next.
    """

    rule: Decide
    tie: Tie = Tie.EXECUTE
    threshold: float = 0.5
    share: float = 0.0
    count: int = 0
    layers: tuple[int, ...] = ()
    period: int = 0


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Decisions that the router does not make.

    Parameters
    ----------
    first_layers, first_tokens
        Layers, and tokens of a sequence, that always execute: they take the first native outcome.
    padding_mask
        Padding tokens never execute.
    logit_bias
        Added to the logits, one per outcome.
    """

    first_layers: int = 0
    first_tokens: int = 0
    padding_mask: bool = False
    logit_bias: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happens for one index of the decision.

    Parameters
    ----------
    addend, base, gate, repeat
        ``base + gate * addend``, done `repeat` (1 or 2) times; a bypass adds nothing.
    rank, activation
        Of a bottleneck; rank 0 is read from the weights.
    """

    addend: Addend
    base: Base = Base.RESIDUAL
    gate: Gate = Gate.ONE
    repeat: int = 1
    rank: int = 0
    activation: Activation = Activation.NONE

    def __post_init__(self) -> None:
        if self.repeat not in (1, 2):
            raise ValueError(f"repeat must be 1 or 2, not {self.repeat!r}")


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Parts of a sub-layer that a decision chooses among.

    Parameters
    ----------
    over, count
        Their kind and number; 0 is read from the weights.
    null_experts
        Experts that compute nothing (AdaMoE).
    """

    over: Over
    count: int = 0
    null_experts: int = 0


@dataclass(frozen=True, kw_only=True)
class Site:
    """Routing of one kind of sub-layer, or of whole layers.

    Parameters
    ----------
    scope, latch
        What a decision covers; `latch` matters to sequences alone.
    router
        None with a table.
    decision
        How an outcome is chosen.
    outcomes
        In the order of the router's logits. With one logit the first is taken above the
        threshold; with a table the last in the layers that it lists, the first in all others.
    overrides
        Decisions taken from the router.
    groups
        Parts chosen among, or None for the whole sub-layer.
    """

    scope: Scope
    decision: Decision
    outcomes: tuple[Outcome, ...]
    latch: Latch = Latch.PREFILL
    router: Router | None = None
    overrides: Overrides = field(default_factory=Overrides)
    groups: Groups | None = None

    def __post_init__(self) -> None:
        if not self.outcomes:
            raise ValueError("outcomes must have at least one entry")
        if (self.decision.rule is Decide.TABLE) != (self.router is None):
            raise ValueError("router must be given exactly where decision.rule is not 'table'")
        self._check_scope()
        if self.router is None and self.overrides != Overrides():
            raise ValueError("overrides must be absent where decision.rule is 'table'")
        bias = self.overrides.logit_bias
        if bias and len(bias) != len(self.outcomes):
            raise ValueError(
                f"overrides.logit_bias must have {len(self.outcomes)} entries, not {len(bias)}"
            )

    def _check_scope(self) -> None:
        """Refuse a table that would differ by token, and a scope of tables without one."""
        table = self.decision.rule is Decide.TABLE
        if table and self.scope not in (*TABLES, Scope.GROUP):
            raise ValueError(
                "scope must be table, step-table or group where decision.rule is 'table', "
                f"not {self.scope.value!r}"
            )
        if not table and self.scope in TABLES:
            raise ValueError(
                f"decision.rule must be 'table' where scope is {self.scope.value!r}, "
                f"not {self.decision.rule.value!r}"
            )

    def table_outcome(self, layer: int) -> Outcome:
        """Return what a decision by table takes at a layer."""
        return self.outcomes[-1 if layer in self.decision.layers else 0]

    @property
    def logits(self) -> int:
        """Outputs of the router: one per outcome, or one score."""
        return len(self.outcomes) if self.decision.rule is Decide.ARGMAX else 1
