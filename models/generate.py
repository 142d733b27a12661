"""Greedy generation on the golden model, and its trace."""

import hashlib
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwroute.checkpoint import Checkpoint
from hwroute.config import Config, to_dict
from hwroute.errors import InputError
from hwroute.models.golden import Golden
from hwroute.models.ops.kv import KVMemory
from hwroute.models.prompt import check_memory, check_prompt
from hwroute.models.sequence import Sequence
from hwroute.models.tile import Tile, Values
from hwroute.operations import Operation
from hwroute.policy import RoutingPolicy
from hwroute.policy_terms import KVRule
from hwroute.trace import Record, Trace


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Tokens that a model produced, and what it skipped for them.

    Parameters
    ----------
    prompt_ids, token_ids
        Given and generated.
    executed
        bool [layers, 2 (attention, FFN), tokens processed]: prompt and all generated tokens but
        the last, which is never fed back.
    """

    prompt_ids: list[int]
    token_ids: list[int]
    executed: NDArray[np.bool_]


def generate(
    golden: Golden,
    prompt: Ordered[int],
    count: int,
    *,
    memory: KVMemory | None = None,
    tile: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Generation:
    """Continue `prompt` by `count` tokens, each the one with the largest logit.

    Parameters
    ----------
    golden
        The model.
    prompt
        Token ids.
    count
        Tokens to generate.
    memory
        Where the order of KV entries is wanted; see `Sequence`.
    tile
        Most tokens of the prompt that are taken at a time; all by default. It changes no bit, but
        the order of KV entries.
    progress
        Called with 1 after each generated token.

    Raises
    ------
    InputError
        The prompt is empty, too long, or has a token outside the vocabulary; or the memory is too
        small.
    """
    check_prompt(golden.shape, prompt, count)
    if memory:
        check_memory(golden.shape, memory.config, len(prompt) + count)
    sequence = Sequence(golden.shape, memory)
    ids, size = np.array(prompt, np.int64), tile or len(prompt)
    for start in range(0, len(ids), size):
        done = golden.forward(ids[start : start + size], sequence)
    tokens = [int(done.values["token"][-1])]
    progress(1)
    while len(tokens) < count:
        done = golden.forward(np.array(tokens[-1:], np.int64), sequence, decode=True)
        tokens.append(int(done.values["token"][0]))
        progress(1)
    return Generation(
        prompt_ids=list(prompt),
        token_ids=tokens,
        executed=sequence.executed[..., : sequence.position],
    )


class Tracer:
    """An observer that keeps a trace."""

    def __init__(self, checkpoint: Checkpoint, config: Config):
        self._identity = (checkpoint.hash, repr(to_dict(config.numerics)), repr(config.kv))
        self.trace = Trace(program="")

    def __call__(self, golden: Golden, operation: Operation, tile: Tile, written: Values) -> None:
        """Append what an operation wrote."""
        if not self.trace.program:
            text = repr((self._identity, golden.policy.kv, golden.operations))
            self.trace.program = hashlib.sha256(text.encode()).hexdigest()
        self.trace.records.append(
            Record(
                id=len(self.trace.records),
                operation=operation.name,
                operator=operation.operator.value,
                position=tile.start,
                rows=tile.selected(operation.predicate),
                outputs={_short(name): value for name, value in written.items()},
            )
        )


def _short(name: str) -> str:
    """Return the last part of a value's name."""
    return name.rpartition(".")[2]


class GoldenWindows:
    """The golden model as `hwroute.models.evaluate` takes it: windows that each start fresh."""

    def __init__(self, golden: Golden):
        self._golden = golden
        self.shape = golden.shape
        self.decisions: NDArray[np.bool_] = np.ones((golden.shape.layers, 2, 0, 0), np.bool_)

    def forward(self, ids: NDArray[Any]) -> NDArray[np.float32]:
        """Return logits [windows, tokens, vocab] of `ids` [windows, tokens]."""
        logits, executed = [], []
        for window in ids:
            sequence = Sequence(self.shape)
            logits.append(self._golden.forward(window, sequence).values["logits"])
            executed.append(sequence.executed[..., : sequence.position])
        self.decisions = np.stack(executed, axis=2)
        return np.stack(logits)


def adjusted_policy(checkpoint: Checkpoint, *, routing: bool, kv: KVRule | None) -> RoutingPolicy:
    """Return the checkpoint's policy as `with_rule` changes it."""
    return with_rule(checkpoint.policy, routing=routing, kv=kv)


def with_rule(policy: RoutingPolicy, *, routing: bool, kv: KVRule | None) -> RoutingPolicy:
    """Return a policy without routing, or with another KV rule.

    Raises
    ------
    InputError
        The rule does not fit the policy.
    """
    if not routing:
        policy = replace(
            policy, attention=None, ffn=None, layer=None, kv=KVRule.DENSE, repeat_kv=None
        )
    if kv is None:
        return policy
    try:
        return replace(policy, kv=kv)
    except ValueError as error:
        raise InputError(f"policy {policy.name!r}: {error}") from error
