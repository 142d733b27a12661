"""The Programs, and their memories, on which the performance model is held to the RTL."""

from dataclasses import dataclass, replace

from hwroute.checkpoint import Checkpoint
from hwroute.models.folder import ModelFolder
from hwroute.models.generate import with_rule
from hwroute.models.library import model_path
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.policy_parts import Overrides
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape

TINY = "tiny"
RANDOM = "random"
"""The weights of `tiny`'s shape by chance: its routers skip about half."""
WIDE = "wide"
"""A shape whose heads have two lines, so that scores add up line by line; weights by chance."""
WIDE_SHAPE = ModelShape(
    dim=256, layers=2, heads=2, kv_heads=1, head_dim=128, ffn_dim=704, vocab=256, context=256
)
TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n"
"""From which prompts are taken, from its beginning."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memories behind the machine's ports, as `hwroute.sim.machine.run.run_machine` takes them.

    Parameters
    ----------
    latency
        Cycles of the memory's clock from an address to the first answer.
    stall
        Chance that a channel is not ready, or offers nothing new, in a cycle.
    half_periods
        Of the clocks of the machine and of HBM.
    seed
        Of the stalls.
    """

    latency: int = 16
    stall: float = 0.0
    half_periods: tuple[int, int] = (1, 1)
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Case:
    """A Program and what it runs on.

    Parameters
    ----------
    name
        Of the row in tables.
    prompt, generate
        Tokens.
    model
        `TINY`, `RANDOM` or `WIDE`.
    rule
        What happens to K and V of tokens that skip; None with routing off.
    forced_layers
        Layers, from the first, whose attention and FFN always execute.
    memory
        Behind its ports.
    """

    name: str
    prompt: int
    generate: int
    model: str = TINY
    rule: KVRule | None = KVRule.REUSE
    forced_layers: int = 1
    memory: Memory = Memory()

    def checkpoint(self) -> Checkpoint:
        """Return the model with its policy."""
        tiny = ModelFolder(model_path(TINY))
        policy = with_rule(tiny.policy, routing=self.rule is not None, kv=self.rule)
        if self.rule is not None and self.forced_layers > 1:
            assert policy.attention
            assert policy.ffn
            forced = Overrides(first_layers=self.forced_layers)
            policy = replace(
                policy,
                attention=replace(policy.attention, overrides=forced),
                ffn=replace(policy.ffn, overrides=forced),
            )
        if self.model == TINY:
            return ModelFolder(model_path(TINY), policy=policy)
        shape = WIDE_SHAPE if self.model == WIDE else tiny.shape
        return RandomCheckpoint(shape, policy, seed=1)

    def prompt_ids(self) -> list[int]:
        """Return the tokens of the prompt."""
        tokenizer = ModelFolder(model_path(TINY)).tokenizer
        assert tokenizer
        ids = tokenizer.encode(TEXT * (1 + self.prompt // len(TEXT)))
        return list(ids[: self.prompt])


FAST = Memory(half_periods=(2, 1))
"""HBM at twice the machine's clock, as on a U280."""
CASES = (
    Case(name="reuse", prompt=18, generate=4),
    Case(name="dense K/V", prompt=12, generate=4, rule=KVRule.DENSE, memory=FAST),
    Case(name="evict", prompt=9, generate=5, rule=KVRule.EVICT),
    Case(name="routing off", prompt=8, generate=4, rule=None, memory=FAST),
    Case(name="random, reuse", prompt=16, generate=4, model=RANDOM, memory=FAST),
    Case(
        name="random, dense K/V",
        prompt=20,
        generate=3,
        model=RANDOM,
        rule=KVRule.DENSE,
        memory=Memory(latency=40),
    ),
    Case(name="random, evict", prompt=12, generate=5, model=RANDOM, rule=KVRule.EVICT),
    Case(
        name="three layers forced",
        prompt=10,
        generate=4,
        model=RANDOM,
        forced_layers=3,
        memory=Memory(latency=3, half_periods=(7, 3)),
    ),
    Case(name="prefill", prompt=34, generate=1, memory=FAST),
    Case(name="decode", prompt=1, generate=11, memory=FAST),
    Case(name="far memory", prompt=40, generate=2, memory=Memory(latency=60)),
    Case(name="stalls", prompt=12, generate=4, memory=Memory(latency=8, stall=0.3)),
    Case(
        name="stalls, fast HBM",
        prompt=8,
        generate=5,
        rule=KVRule.DENSE,
        memory=Memory(latency=20, stall=0.15, half_periods=(2, 1), seed=7),
    ),
    Case(name="wide heads", prompt=18, generate=4, model=WIDE, memory=FAST),
    Case(name="wide heads, routing off", prompt=9, generate=6, model=WIDE, rule=None),
)
