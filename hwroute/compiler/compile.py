"""Shapes, policy and configuration to a Program."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hwroute.compiler.allocate import ShortageError, allocate
from hwroute.compiler.assemble import assemble
from hwroute.compiler.bodies import Bodies, lower_head, lower_layers
from hwroute.compiler.context import Plan, Target
from hwroute.compiler.dependences import synchronise
from hwroute.compiler.draft import Buffer, Draft, Matrix, Store
from hwroute.compiler.frame import frame
from hwroute.compiler.layout import Layout, with_program
from hwroute.config import Config, KVConfig
from hwroute.errors import InputError
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, lines_of
from hwroute.kv_layout import KVLayout
from hwroute.operation_list import build
from hwroute.operations import Operation
from hwroute.policy import RoutingPolicy
from hwroute.program import Program
from hwroute.shape import ModelShape

PREFILL_HEADS = 2
"""Query heads of a pass in prefill: SkipOPU packs two (arXiv 2603.14785, section on attention)."""


def compile_program(
    shape: ModelShape,
    policy: RoutingPolicy,
    config: Config,
    *,
    model: str,
    context: int | None = None,
    fused: bool = True,
) -> Program:
    """Return the Program of a model: prefill in tiles, then greedy decode.

    Parameters
    ----------
    shape, policy, config
        What it is compiled for.
    model
        Name of the model.
    context
        Tokens to make room for; by default the model's context, or what the overlay's directory
        is sized for where that is less.
    fused
        False runs every norm in front of its product, and SwiGLU behind its own.

    Raises
    ------
    InputError
        The policy needs what is not there, or a memory or the directory is too small: what, how
        much, how much there is.
    """
    lowered = lower(shape, policy, config, context=context, fused=fused)
    drafts = frame(lowered.target, lowered.bodies, lowered.tile)
    memory = with_program(lowered.target.memory, config, len(drafts))
    target = replace(lowered.target, memory=memory)
    return assemble(drafts, target, lowered.tile, model=model, policy=policy.name)


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """A Program before its instructions are words.

    Parameters
    ----------
    target
        Model and overlay.
    tile
        Most tokens of a tile of the prompt.
    bodies
        Instructions, with addresses and tokens.
    """

    target: Target
    tile: int
    bodies: Bodies


def lower(
    shape: ModelShape,
    policy: RoutingPolicy,
    config: Config,
    *,
    context: int | None = None,
    fused: bool = True,
) -> Lowered:
    """Return the bodies of a Program; parameters and errors are those of `compile_program`."""
    operations = build(shape, policy)
    context = _context(shape, config, context)
    layout = Layout(shape, config, context)
    _check_entry(layout.entry, config.kv)
    target = Target(
        shape=shape,
        config=config,
        memory=layout.build(operations),
        entry=layout.entry,
        rule=policy.kv,
    )
    tile, bodies = _fit(target, operations, fused)
    return Lowered(target=target, tile=tile, bodies=bodies)


def _context(shape: ModelShape, config: Config, asked: int | None) -> int:
    """Return the tokens to make room for."""
    context = min(shape.context, config.kv.max_tokens) if asked is None else asked
    for name, needed, room in (
        ("context", context, shape.context),
        ("kv.max_tokens", context, config.kv.max_tokens),
        ("kv.max_layers", shape.layers, config.kv.max_layers),
    ):
        if not 1 <= needed <= room:
            what = "from 1 to the model's" if name == "context" else "at least"
            value, limit = (needed, room) if name == "context" else (room, needed)
            raise InputError(f"{name} must be {what} {limit}, not {value}")
    return context


def _check_entry(entry: KVLayout, kv: KVConfig) -> None:
    """Raise InputError where a K vector is longer than an entry of the history buffer."""
    needed = -(-entry.vector_beats * BEAT_BYTES * 8 // kv.beat_bits)
    if needed > kv.entry_beats:
        raise InputError(
            f"kv.entry_beats must be at least {needed} (K or V of a token), not {kv.entry_beats}"
        )


def _fit(target: Target, operations: tuple[Operation, ...], fused: bool) -> tuple[int, Bodies]:
    """Return the largest tile that fits, and the bodies with addresses and tokens.

    A tile has at most as many tokens as the array has rows of partial sums.
    """
    shortage: ShortageError | None = None
    for tile in _halves(min(target.config.array.accumulator_rows, target.memory.context)):
        try:
            return tile, _bodies(target, operations, tile, fused)
        except ShortageError as error:
            shortage = error
    assert shortage is not None
    raise InputError(_explain(shortage)) from shortage


def _bodies(target: Target, operations: tuple[Operation, ...], tile: int, fused: bool) -> Bodies:
    lines = lines_of(target.shape.dim)
    buffer = Buffer(name="x", store=Store.SCRATCHPAD, size=tile * lines, address=0)
    x = Matrix(buffer=buffer, lines=lines, pitch=lines)
    pair = min(PREFILL_HEADS, target.shape.heads)
    plan = Plan(name="prefill", rows=tile, words=tile, decode=False, heads=pair, fused=fused)
    prefill = _placed(lower_layers(plan, target, operations, x), x, target)
    plan = replace(plan, name="head", rows=1)
    head = _placed(lower_head(plan, target, operations, x), x, target)
    shortage: ShortageError | None = None
    # A pass has whole groups of heads that share K and V, so that it alone reads their entries.
    for groups in _halves(target.shape.kv_heads):
        heads = groups * target.shape.queries_per_kv
        plan = replace(plan, name="decode", words=1, decode=True, heads=heads)
        try:
            decode = _placed(lower_layers(plan, target, operations, x), x, target)
        except ShortageError as error:
            shortage = error
            continue
        return Bodies(prefill=prefill, head=head, decode=decode)
    assert shortage is not None
    raise shortage


def _placed(drafts: list[Draft], x: Matrix, target: Target) -> list[Draft]:
    """Give a body its addresses and tokens."""
    memory = target.config.memory
    room = {
        Store.SCRATCHPAD: memory.scratchpad_bytes // LINE_BYTES,
        Store.STATISTICS: memory.statistics,
        Store.PLANE: memory.planes,
    }
    allocate(drafts, [x.buffer], room)
    synchronise(drafts)
    return drafts


def _halves(largest: int) -> Iterator[int]:
    """Yield a number, its half and so on down to 1, rounded up."""
    while largest > 1:
        yield largest
        largest = -(-largest // 2)
    yield 1


def _explain(shortage: ShortageError) -> str:
    unit = LINE_BYTES if shortage.store is Store.SCRATCHPAD else 1
    field, what = {
        Store.SCRATCHPAD: ("scratchpad_bytes", "bytes for a tile of one token"),
        Store.STATISTICS: ("statistics", "words for a tile of one token"),
        Store.PLANE: ("planes", "for the policy"),
    }[shortage.store]
    return (
        f"memory.{field} must be at least {shortage.needed * unit} {what}, "
        f"not {shortage.room * unit}"
    )
