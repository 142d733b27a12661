"""The state of a sequence after many tokens, without the work of those tokens.

K and V of earlier tokens lie in the memory image; the machine is only told who has slots where.
"""

from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from hwroute.compiler.context import Target
from hwroute.compiler.dependences import synchronise
from hwroute.compiler.draft import At, Buffer, Draft, Span, Store, Value
from hwroute.compiler.kv_lowering import DIRECTORY
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, QUEUED
from hwroute.kv_layout import KVLayout
from hwroute.models.image import Image
from hwroute.models.ops.column_base import blocks_of
from hwroute.numerics import decode_fp16

Bits = NDArray[np.bool_]
Values = dict[str, Value]


def history(target: Target, executed: Bits, tile: int) -> list[Draft]:
    """Return instructions that give tokens their slots in two layers, as a prefill does.

    Layer 0 has an entry of every token. ``decide`` needs no logits: in a tile of tokens that
    execute, followed by tokens that skip, the position alone tells them apart.

    Parameters
    ----------
    target
        Model and overlay.
    executed
        bool [tokens]: who executes the attention of layer 1.
    tile
        Most tokens of a tile.
    """
    drafts = [Draft(name="set", values={"d": "position", "value": 0})]
    start = 0
    for rows in _tiles(executed, tile):
        executing = int(executed[start : start + rows].sum())
        drafts += _tile(target, rows, start + executing)
        start += rows
    drafts.append(Draft(name="sync", values={}, wait=set(QUEUED)))
    synchronise(drafts)
    return drafts


def _tiles(executed: Bits, tile: int) -> list[int]:
    """Cut where a token that executes follows one that skips; no more than `tile` together."""
    begins = executed[1:] & ~executed[:-1]
    numbers = np.concatenate([[0], begins.cumsum()]).tolist()
    runs = [len(list(run)) for _, run in groupby(numbers)]
    return [min(tile, run - done) for run in runs for done in range(0, run, tile)]


def _tile(target: Target, rows: int, first_skipping: int) -> list[Draft]:
    """Return the instructions of a tile; tokens from `first_skipping` on skip layer 1."""
    plane = Buffer(name="history", store=Store.PLANE, size=1, address=1)
    decide: Values = {
        "to": At(plane),
        "pitch": 1,
        "mode": "skip",
        "first_tokens": first_skipping,
        "layer": 1,
        "kind": "attention",
    }
    deal: Values = {"layer": 1, "plane": At(plane), "rule": target.rule.value}
    written = (Span(DIRECTORY),)
    return [
        Draft(name="set", values={"d": "rows", "value": rows}),
        Draft(name="kv.deal", values={"layer": 0}, writes=written),
        Draft(name="decide", values=decide, writes=(Span(plane),)),
        Draft(name="kv.deal", values=deal, reads=(Span(plane),), writes=written),
        Draft(name="add", values={"d": "position", "a": "position", "b": "rows"}),
    ]


def with_entries(image: Image, base: int, entry: KVLayout, slots: int, seed: int) -> Image:
    """Return an image whose slots hold K and V from a normal distribution.

    Parameters
    ----------
    image
        What HBM and DDR hold.
    base
        First beat of slot 0.
    entry, slots
        Layout of a slot; slots of a port.
    seed
        Of K and V.
    """
    random = np.random.default_rng(seed)
    hbm = image.hbm.copy()
    shape = (len(hbm) * slots, entry.vector_beats * BEAT_BYTES // 2)
    keys, values = (random.standard_normal(shape).astype(np.float16) for _ in range(2))
    vector, lines = entry.vector_beats * BEAT_BYTES, entry.vector_lines
    assert lines * LINE_BYTES == vector
    data = np.zeros((len(keys), entry.slot_bytes), np.uint8)
    data[:, :vector] = keys.view(np.uint8)
    exponents = decode_fp16(blocks_of(values.view(np.uint16)))[1].max(axis=-1)
    data[:, vector : vector + lines] = exponents
    data[:, -vector:] = values.view(np.uint8)
    size = slots * entry.slot_beats
    hbm[:, base : base + size] = data.reshape(len(hbm), size, BEAT_BYTES)
    return replace(image, hbm=hbm)
