"""What commands say about a model folder, and about a shape."""

from collections.abc import Mapping

from hwroute.models.folder import ModelFolder
from hwroute.shape import ModelShape


def summary(model: ModelFolder) -> dict[str, object]:
    """Return name, shape, routing and size of a model as plain values."""
    return {
        **shape_summary(model.name, model.shape),
        "routers": model.routers,
        "policy": model.policy.name,
        "bytes": model.size_bytes,
        "path": str(model.path),
    }


def shape_summary(name: str, shape: ModelShape) -> dict[str, object]:
    """Return name and shape of a model as plain values."""
    return {
        "name": name,
        "layers": shape.layers,
        "dims": {
            "dim": shape.dim,
            "heads": shape.heads,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "ffn_dim": shape.ffn_dim,
            "vocab": shape.vocab,
            "context": shape.context,
        },
    }


def lines(fields: Mapping[str, object]) -> str:
    """Return `summary` as text, a value a line."""
    shown = []
    for key, value in fields.items():
        pairs = value.items() if isinstance(value, dict) else [(key, value)]
        shown += [f"{label:<9} {content}" for label, content in pairs]
    return "\n".join(shown)
