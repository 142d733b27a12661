"""The KV unit as a SimPy process: slots, entries, orders."""

from typing import Any

import numpy as np

from hwroute import timing
from hwroute.isa.fields import Unit
from hwroute.models.ops.kv import KVMemory
from hwroute.models.ops.kv_rounds import rounds_to_records
from hwroute.rtl.async_stream import CROSSING_DEPTH
from hwroute.sim.performance.batches import FIELD
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.result import Attention
from hwroute.sim.performance.unit_queue import Item, Process


def serve_kv(parts: Parts) -> Process:
    """One instruction after the other."""
    queue, scanned = parts.queue(Unit.KV), None
    while True:
        item = yield from queue.offered()
        queue.take()
        one, start, rows = item.one, item.event.position, item.event.rows
        selected = parts.rows(item)
        cycles: float = timing.KV_DEAL_CYCLES
        if one.name == "kv.map":
            kv = parts.config.kv
            parts.kv.reset()
            parts.map(one)
            cycles = timing.KV_MAP_CYCLES + timing.kv_reset_cycles(kv.max_layers, kv.hbm_ports)
        elif one.name == "kv.deal":
            cycles += deal(parts.kv, one, start, rows, selected)
        elif not len(selected):
            cycles += 1
        elif one.name == "kv.write":
            cycles = _write_cycles(parts, item, selected)
        else:
            count = start if one.choice("entries") == "earlier" else start + rows
            wanted = one["layer"], count, one["ahead"]
            valid = parts.kv.buffer.valid_for(one["layer"], count)
            # What kv.prepare has sorted need not be sorted again.
            scan = timing.kv_scan_cycles(count) if valid and scanned != wanted else 0
            cycles = timing.KV_ORDER_CYCLES + len(selected) + scan
            if one.name == "kv.prepare":
                cycles += 1 - timing.KV_PREPARE_LESS_CYCLES
                scanned = wanted if valid else None
            else:
                scanned = None
                cycles += _order(parts, one, count, valid=valid)
        yield parts.env.timeout(int(np.ceil(cycles)))
        if one.name == "kv.order":
            parts.ahead.ordered = float(parts.env.now)
        parts.sequencer.retire(item)
        yield parts.env.timeout(timing.NEXT_CYCLES)


def deal(kv: KVMemory, one: Any, start: int, rows: int, selected: Any) -> int:
    """Give slots to the tokens of a tile, and return the cycles."""
    own, layer, cycles = set(selected.tolist()), one["layer"], 0
    for row in range(rows):
        if row in own:
            kv.write(layer, start + row)
            cycles += timing.KV_WRITE_CYCLES
        elif one.choice("rule") == "reuse":
            kv.skip(layer, start + row)
            cycles += timing.KV_SKIP_CYCLES
        else:
            kv.evict(layer, start + row)
            cycles += timing.KV_EVICT_CYCLES
    if not own:
        kv.invalidate()
        cycles += timing.KV_INVALIDATE_CYCLES
    return cycles


def _order(parts: Parts, one: Any, count: int, *, valid: bool) -> int:
    """Order the entries, and return the cycles, scan excluded."""
    ahead = bool(one["ahead"]) and parts.free.history_buffer
    rounds = parts.kv.attend(one["layer"], count, ahead)
    parts.take_order(rounds_to_records(rounds))
    order = parts.order
    parts.attentions.append(
        Attention(
            layer=one["layer"],
            tokens=count,
            entries=len(order),
            hits=int(order[:, FIELD["hit"]].sum()),
            held=len(parts.kv.buffer.held),
        )
    )
    if valid:
        return timing.kv_queued_cycles(len(parts.order), len(rounds))
    return timing.kv_walked_cycles(count, len(rounds))


def _write_cycles(parts: Parts, item: Item, selected: Any) -> float:
    """Write the entries of tokens, row after row; return the cycles to the memory's last answer.

    The writer goes on to the next token when the port has taken the beats, of which
    `CROSSING_DEPTH` may wait there.
    """
    reader, one, start = parts.reader, item.one, item.event.position
    assert reader is not None, "kv.map comes before kv.write"
    rates = parts.memories.rates
    way = timing.KV_TOKEN_CYCLES + timing.SCRATCHPAD_READ_CYCLES
    begin = parts.env.now + timing.KV_DEAL_CYCLES + timing.KV_PLACE_CYCLES
    end: float = begin
    for row in selected.tolist():
        entry = parts.kv.directory.entry(one["layer"], start + row)
        sent = begin + way + reader.store_beats
        moved = reader.write_entry(begin + way, entry.port)
        end = max(end, sent, moved)
        begin = max(sent, moved - CROSSING_DEPTH * rates.beat_cycles)
        parts.count(item, "kv_written", reader.slot_bytes)
    return float(end + rates.answer_cycles - parts.env.now)
