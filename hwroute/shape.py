"""Dimensions and constants of a Llama-family model."""

from dataclasses import dataclass, fields


def _count(value: object, name: str) -> None:
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be positive, not {value!r}")


def _number(value: object, name: str, above: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not above < value < float("inf"):
        raise ValueError(f"{name} must be finite and above {above:g}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Llama 3's stretching of the slow rotary frequencies (Hugging Face `rope_type` "llama3").

    Parameters
    ----------
    factor
        What frequencies below the band are divided by.
    low_freq_factor, high_freq_factor
        The band: wavelengths from `original_context` / high to `original_context` / low tokens are
        blended, shorter ones kept, longer ones divided.
    original_context
        Context of the pretraining, in tokens.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int

    def __post_init__(self) -> None:
        _number(self.factor, "rope_scaling.factor", 0.0)
        _number(self.low_freq_factor, "rope_scaling.low_freq_factor", 0.0)
        _number(self.high_freq_factor, "rope_scaling.high_freq_factor", self.low_freq_factor)
        _count(self.original_context, "rope_scaling.original_context")


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What fixes the size of every tensor of a model, and the constants of its operators.

    Parameters
    ----------
    dim, ffn_dim
        Widths of the residual stream and of the SwiGLU network.
    layers, heads, kv_heads, head_dim
        Depth, query heads, key/value heads, and elements of one head.
    vocab, context
        Token ids, and the longest sequence in tokens.
    norm_eps, rope_theta
        What RMSNorm adds to the mean square, and the base of the rotary frequencies.
    rope_scaling
        Llama 3's scaling of the frequencies, or None.
    qkv_bias
        Whether Q, K and V have biases (Qwen2).
    tied
        Whether the head is the embedding.

    Raises
    ------
    TypeError, ValueError
        A field has the wrong type or is out of range; the message names it.
    """

    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_dim: int
    vocab: int
    context: int
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: Llama3Scaling | None = None
    qkv_bias: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.type is int:
                _count(getattr(self, item.name), item.name)
            elif item.type is bool and type(getattr(self, item.name)) is not bool:
                raise TypeError(f"{item.name} must be a bool, not {getattr(self, item.name)!r}")
        _number(self.norm_eps, "norm_eps", 0.0)
        _number(self.rope_theta, "rope_theta", 1.0)
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads must be a multiple of kv_heads ({self.kv_heads}), not {self.heads!r}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even, not {self.head_dim!r}")
        if self.rope_scaling is not None and not isinstance(self.rope_scaling, Llama3Scaling):
            raise TypeError(
                f"rope_scaling must be a Llama3Scaling or None, not {self.rope_scaling!r}"
            )

    @property
    def q_dim(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key (or value) heads together: one cached vector of one layer."""
        return self.kv_heads * self.head_dim

    @property
    def queries_per_kv(self) -> int:
        """Query heads that share a key/value head."""
        return self.heads // self.kv_heads

    @property
    def sublayers(self) -> int:
        """Attention and FFN sub-layers."""
        return 2 * self.layers

    @property
    def attention_weights(self) -> int:
        """Elements of one layer's Q, K, V and O matrices."""
        return 2 * self.dim * (self.q_dim + self.kv_dim)

    @property
    def ffn_weights(self) -> int:
        """Elements of one layer's gate, up and down matrices."""
        return 3 * self.dim * self.ffn_dim
