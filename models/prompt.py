"""What a model and a KV memory can be asked to generate, for every executor."""

from collections.abc import Sequence

from hwroute.config import KVConfig
from hwroute.errors import InputError
from hwroute.shape import ModelShape


def check_prompt(shape: ModelShape, prompt: Sequence[int], count: int) -> None:
    """Raise InputError unless a model can continue `prompt` by `count` tokens."""
    if count < 1:
        raise InputError(f"tokens to generate must be at least 1, not {count}")
    if not prompt:
        raise InputError("the prompt must have at least one token, not none")
    for index, token in enumerate(prompt):
        if not 0 <= token < shape.vocab:
            raise InputError(
                f"token {index} of the prompt must be from 0 to {shape.vocab - 1} (the model's "
                f"vocabulary), not {token}"
            )
    if len(prompt) + count > shape.context:
        raise InputError(
            f"prompt and generated tokens must fit the model's context of {shape.context}, "
            f"not {len(prompt)} + {count}"
        )


def check_memory(shape: ModelShape, config: KVConfig, tokens: int) -> None:
    """Raise InputError unless a KV memory has room for `tokens` tokens of a model."""
    for name, needed, what in (
        ("max_layers", shape.layers, "the layers of the model"),
        ("max_tokens", tokens, "prompt and generated tokens"),
    ):
        room = getattr(config, name)
        if needed > room:
            raise InputError(f"kv.{name} must be at least {needed} ({what}), not {room}")
