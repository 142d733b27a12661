"""The words that routing policies are written in, one enumeration per primitive."""

from enum import Enum


class Scope(Enum):
    """What one decision covers."""

    TOKEN = "token"
    SEQUENCE = "sequence"
    """All tokens of a sequence; see `Latch`."""
    STEP = "step-table"
    """All tokens of a decode step, by the step's number."""
    TABLE = "table"
    """Every token of every run, by the layer's number."""
    GROUP = "group"
    """A group of heads or channels of one token, or of every token with a table."""
    EXPERTS = "expert-list"
    """The list of experts of one token."""


class Latch(Enum):
    """When a decision over a sequence is made."""

    PREFILL = "prefill"
    """Once, over the prompt; decode steps keep it."""
    CALL = "call"
    """At every call, prefill or decode step."""


class Source(Enum):
    """What a router reads."""

    LAYER_INPUT = "layer-input"
    """The residual before the layer's attention, for both sub-layers: FFN bits come early."""
    SUBLAYER_INPUT = "sub-layer-input"
    """The residual before the sub-layer's norm."""
    SUBLAYER_NORMED = "sub-layer-normed"
    """The output of the sub-layer's norm."""
    SCALARS = "scalars"
    """`Router.features` of the token."""


class Feature(Enum):
    """A scalar that a router reads (FTP, arXiv 2412.11494)."""

    POSITION = "position"
    ATTENTION_SCORE = "attention-score"
    SCORE_RANK = "score-rank"
    TARGET_SPARSITY = "target-sparsity"


class Pooling(Enum):
    """How the tokens of a sequence become one router input."""

    NONE = "none"
    MEAN = "mean"
    WINDOW_MEAN = "window-mean"
    """Means of `Router.windows` equal windows, the tail dropped; their logits are averaged."""


class Activation(Enum):
    """Between the linears of a router or a bottleneck."""

    NONE = "none"
    RELU = "relu"
    SILU = "silu"
    GELU_TANH = "gelu-tanh"


class Decide(Enum):
    """How router logits become a decision."""

    ARGMAX = "argmax"
    """The outcome with the largest logit; the order of `Site.outcomes` is the polarity."""
    THRESHOLD = "threshold"
    """The first outcome where the sigmoid of the one logit exceeds `Decision.threshold`."""
    TOP_K_TOKENS = "top-k-tokens"
    """The first outcome for a `Decision.share` of the sequence's tokens, by score."""
    TOP_K_EXPERTS = "top-k-experts"
    TOP_P_EXPERTS = "top-p-experts"
    TABLE = "table"
    """No router: the last outcome in `Decision.layers`, or off `Decision.period` in steps."""


class Tie(Enum):
    """Which outcome wins when the largest logits are equal."""

    EXECUTE = "execute"
    SKIP = "skip"
    LOWEST_INDEX = "lowest-index"


class Base(Enum):
    """What the addend is added to."""

    RESIDUAL = "residual"
    ANCHOR = "anchor"
    """The sub-layer's output saved at the last full step; the residual is not added."""


class Addend(Enum):
    """What a sub-layer adds."""

    NATIVE = "native"
    BYPASS = "bypass"
    BOTTLENECK = "bottleneck"
    """A small network D -> `Outcome.rank` -> activation -> D."""
    WEIGHT_SET = "weight-set"
    """The native function with other weights (a small FFN, an expert, fewer bits)."""


class Gate(Enum):
    """What the addend is multiplied by."""

    ONE = "one"
    SCORE = "score"
    COMPLEMENT = "complement"
    """One minus the router's score."""
    EXPERT_WEIGHT = "expert-weight"
    RENORMALISED = "renormalised"
    """Expert weights divided by their sum over the true experts chosen."""


class KVRule(Enum):
    """Keys and values of a token in a layer whose attention it skipped."""

    DENSE = "dense"
    """Computed for every token, from the normed input of this layer."""
    REUSE = "reuse"
    """Those of the last layer whose attention the token executed."""
    EVICT = "evict"
    """None: later queries of this layer do not see the token."""
    ABSENT = "absent"
    """None for any token: the layer is not in the sequence's cache."""
    DEFER = "defer"
    """Filled in later, from a saved hidden state."""


class RepeatKV(Enum):
    """K and V of the second execution of a repeated layer."""

    APPEND = "append"
    OVERWRITE = "overwrite"


class Over(Enum):
    """What a decision chooses among, inside a sub-layer."""

    HEADS = "heads"
    CHANNELS = "channels"
    EXPERTS = "experts"
    BITS = "bits"
    """Nested weights of several precisions."""
