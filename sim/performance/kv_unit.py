"""The KV unit as a SimPy process: slots, entries, orders."""

from typing import Any

import numpy as np

from hwroute import timing
from hwroute.isa.fields import Unit
from hwroute.models.ops.kv import KVMemory
from hwroute.models.ops.kv_rounds import rounds_to_records
from hwroute.sim.performance.attention import FIELD
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.result import Attention
from hwroute.sim.performance.unit_queue import Item, Process


def serve_kv(parts: Parts) -> Process:
    """One instruction after the other; a scan that was prepared goes on meanwhile."""
    scanned: tuple[int, int, float] | None = None
    while True:
        item = yield parts.inbox(Unit.KV).get()
        one, start, rows = item.one, item.event.position, item.event.rows
        selected = parts.rows(item)
        cycles = float(timing.KV_WRITE_CYCLES)
        if one.name == "kv.map":
            kv = parts.config.kv
            parts.kv.reset()
            parts.map(one)
            cycles = timing.kv_reset_cycles(kv.max_layers, kv.hbm_ports)
        elif one.name == "kv.deal":
            cycles = timing.ROW_LIST_CYCLES + deal(parts.kv, one, start, rows, selected)
        elif len(selected) and one.name == "kv.write":
            yield from _write(parts, item, selected)
        elif len(selected):
            count = start if one.choice("entries") == "earlier" else start + rows
            valid = parts.kv.buffer.valid_for(one["layer"], count)
            scan = timing.kv_scan_cycles(count) if valid else 0
            if one.name == "kv.prepare":
                scanned = one["layer"], count, parts.env.now + scan
            else:
                done = parts.env.now + scan
                if scanned is not None and scanned[:2] == (one["layer"], count) and valid:
                    done = max(parts.env.now, scanned[2])
                scanned = None
                cycles = done - parts.env.now + _order(parts, one, count, valid=valid)
        yield parts.env.timeout(int(np.ceil(cycles)))
        parts.sequencer.retire(item)


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


def _write(parts: Parts, item: Item, selected: Any) -> Process:
    """Write the entries of tokens, row after row, and wait for the memory's answers."""
    reader, one, start = parts.reader, item.one, item.event.position
    assert reader is not None, "kv.map comes before kv.write"
    first = timing.SCRATCHPAD_READ_CYCLES + timing.MEMORY_STORE_CYCLES
    end = begin = parts.env.now + first
    for row in selected.tolist():
        entry = parts.kv.directory.entry(one["layer"], start + row)
        end = max(end, reader.write_entry(begin, entry.port))
        begin += reader.slot_cycles
        parts.count(item, "kv_written", reader.slot_bytes)
    answer = parts.memories.rates.latency + timing.MEMORY_ANSWER_CYCLES
    yield from parts.until(end + answer)
