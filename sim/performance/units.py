"""The units as SimPy processes: DMA, array, NPE, router, KV."""

from typing import Any

import numpy as np
import simpy

from hwroute import timing
from hwroute.config import Config
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, Unit
from hwroute.kv import ORDER_FIELDS
from hwroute.models.ops.kv import KVMemory
from hwroute.models.ops.kv_rounds import rounds_to_records
from hwroute.rtl.matmul_layouts import JOBS
from hwroute.sim.performance import costs
from hwroute.sim.performance.attention import Batches, Ints, Reader, batches_of, sweeps_of
from hwroute.sim.performance.memory import Memories
from hwroute.sim.performance.products import Product, Ring
from hwroute.sim.performance.result import Traffic
from hwroute.sim.performance.sequencer import Item, Process, Registers, Sequencer
from hwroute.sim.performance.workload import Workload


class Parts:
    """What the units share.

    Parameters
    ----------
    env, config, memories, sequencer, registers, workload, fifo_lines, history_buffer
        Of the machine.

    Members
    -------
    kv
        Directory and history buffer, in the order of the Program.
    reader
        Sources of K and V, once kv.map has said where they are.
    traffic
        Bytes by kind.
    """

    def __init__(
        self,
        env: simpy.Environment,
        config: Config,
        memories: Memories,
        sequencer: Sequencer,
        registers: Registers,
        workload: Workload,
        kv: KVMemory,
        traffic: Traffic,
        *,
        fifo_lines: int,
        history_buffer: bool = True,
    ):
        self.env = env
        self.config = config
        self.memories = memories
        self.sequencer = sequencer
        self.registers = registers
        self.workload = workload
        self.kv = kv
        self.traffic = traffic
        self.fifo_lines = fifo_lines
        self.history_buffer = history_buffer
        self.reader: Reader | None = None
        self.order: Ints = np.zeros((0, len(ORDER_FIELDS)), np.int64)
        self.fresh = {"scores": False, "values": False}
        """The first pass over an order goes through the history buffer."""
        self._cut: dict[bool, Batches] = {}

    def map(self, one: Any) -> None:
        """Take up where entries lie."""
        self.reader = Reader(
            config=self.config,
            memories=self.memories,
            vector=one["vector"],
            exponents=one["exponents"],
            fifo_lines=self.fifo_lines,
        )

    def batches(self, buffered: bool) -> Batches:
        """Return the batches of the order, through the history buffer or not."""
        if buffered not in self._cut:
            self._cut[buffered] = batches_of(self.order, self.config, buffered=buffered)
        return self._cut[buffered]

    def take_order(self, order: Ints) -> None:
        """Take up another order."""
        self.order = order
        self.fresh = {"scores": True, "values": True}
        self._cut = {}

    def rows(self, item: Item) -> Any:
        """Return the tokens of the tile that an instruction is for."""
        return self.registers.selected(item.one["plane"], item.event.rows)

    def inbox(self, unit: Unit) -> simpy.Store:
        """Return what a unit is given."""
        return self.sequencer.queues[unit].issued

    def until(self, time: float) -> Process:
        """Wait until a time, rounded up to a cycle."""
        now = self.env.now
        if time > now:
            yield self.env.timeout(int(np.ceil(time)) - now)

    def retire_at(self, item: Item, time: float) -> Process:
        """End an instruction at a time."""
        yield from self.until(time)
        self.sequencer.retire(item)


def serve_npe(parts: Parts) -> Process:
    """One instruction after the other."""
    while True:
        item = yield parts.inbox(Unit.NPE).get()
        rows = len(parts.rows(item))
        if rows:
            # argmax is of row 0 alone, the others of each row.
            yield parts.env.timeout(costs.npe_cycles(item.one, rows))
        else:
            yield parts.env.timeout(timing.ROW_LIST_CYCLES)
        parts.sequencer.retire(item)


def serve_router(parts: Parts) -> Process:
    """One instruction after the other; decisions are the workload's."""
    while True:
        item = yield parts.inbox(Unit.ROUTER).get()
        one, rows, start = item.one, item.event.rows, item.event.position
        yield parts.env.timeout(costs.router_cycles(one, rows))
        bits = np.arange(rows) == rows - 1
        if one.name == "decide":
            bits = decided(one, start, rows, parts.workload)
        parts.registers.planes[one["to"], :rows] = bits
        parts.sequencer.retire(item)


def decided(one: Any, start: int, rows: int, workload: Workload) -> Any:
    """Return the bits [rows] that a decide instruction writes."""
    if one.choice("mode") == "compare":
        bits = workload.executed[one["layer"], one["kind"], start : start + rows].copy()
    else:
        bits = np.full(rows, one.choice("mode") == "execute")
    bits[: max(0, one["first_tokens"] - start)] = True
    return bits


def serve_dma(parts: Parts) -> Process:
    """Run loads one behind the other, and stores; between the two everything before is done."""
    memories, env, count = parts.memories, parts.env, parts.traffic
    stores, end, free = False, 0.0, 0.0
    while True:
        item = yield parts.inbox(Unit.DMA).get()
        one = item.one
        per_row = one.name == "gather" or bool(one.values.get("per_row"))
        rows = len(parts.rows(item)) if per_row else 1
        writes = one.name in ("store", "put")
        # A put, and a change of direction, wait for all before; a gather reads its ids first.
        waits = end if writes != stores or one.name == "put" else 0.0
        yield from parts.until(max(free, waits))
        stores, start = writes, env.now
        if not len(parts.rows(item)):
            free, end = start + timing.DMA_INSTRUCTION_CYCLES, max(end, start + 1)
            env.process(parts.retire_at(item, end))
            continue
        lines = rows * one.values.get("lines", 1)
        way = timing.DMA_LIST_CYCLES if per_row else 0
        if one.name == "gather":
            way += memories.ddr_latency + timing.DMA_LOAD_CYCLES
        row = timing.DMA_GATHER_ROW_CYCLES if one.name == "gather" else timing.DMA_ROW_CYCLES
        first = start + way + memories.ddr_latency
        moved = memories.move_ddr(first, lines, write=writes)
        count.add("ddr_written" if writes else "ddr_read", lines * LINE_BYTES)
        fixed = timing.DMA_LOAD_CYCLES
        if writes:
            fixed = timing.DMA_STORE_CYCLES + timing.SCRATCHPAD_READ_CYCLES
        end = max(end, max(moved, first + rows * row) + fixed)
        free = max(start + max(timing.DMA_INSTRUCTION_CYCLES, rows * row), moved - first + start)
        env.process(parts.retire_at(item, end))


def serve_array(parts: Parts) -> Process:
    """Matmuls follow each other, weights read ahead; attention has the array alone."""
    ring, ends = Ring(parts.memories), [0.0] * JOBS
    front, was_matmul = 0.0, True
    while True:
        item = yield parts.inbox(Unit.ARRAY).get()
        rows = len(parts.rows(item))
        matmul = item.one.name == "matmul"
        # No more jobs than the unit has room for; the other kind waits for all.
        switches = matmul != was_matmul
        limit = ends[-1] + timing.ARRAY_SWITCH_CYCLES if switches else ends[-JOBS]
        yield from parts.until(max(front, limit if matmul or switches else ends[-1]))
        was_matmul = matmul
        if not rows:
            ends.append(max(ends[-1] + timing.MATMUL_END_CYCLES, parts.env.now + 1))
        elif matmul:
            front = parts.env.now + timing.matmul_front_cycles(rows)
            end = yield from _multiply(parts, ring, item, rows, ends[-1])
            ends.append(max(end, ends[-1] + timing.MATMUL_END_CYCLES))
        else:
            ends.append(_attend(parts, item, rows))
            front = ring.asked = ring.taken = ends[-1]
        del ends[0]
        parts.env.process(parts.retire_at(item, ends[-1]))


def _multiply(parts: Parts, ring: Ring, item: Item, rows: int, before: float) -> Process:
    """Stream a product; return its end."""
    env, product = parts.env, Product(parts.config, item.one, rows)
    job = env.now + timing.matmul_front_cycles(rows)
    # Input is read when what instructions before it write is written.
    asks = max(job + timing.MATMUL_REQUEST_CYCLES, before + timing.MATMUL_END_CYCLES)
    ready = asks + timing.SCRATCHPAD_READ_CYCLES + 1
    taken, weights, scales = ready, 0, 0
    for stripe, count in product.stripes():
        weights += count * stripe.beats
        scales += count * stripe.scale_lines
        left = count
        while left:
            ring.asked = ring.asks(job)
            # Where nothing else happens until then, there is nothing to wait for.
            if ring.asked > env.peek():
                yield env.timeout(ring.asked - env.now)
            taken = ring.take(stripe, ready)
            left -= 1
            if left and ring.bound(stripe):
                taken = ring.skip(stripe, left)
                left = 0
    parts.traffic.add("weights", weights * BEAT_BYTES * parts.config.kv.hbm_ports)
    parts.traffic.add("scales", scales * LINE_BYTES)
    return taken + product.tail_cycles()


def _attend(parts: Parts, item: Item, rows: int) -> float:
    """Go through the sweeps of scores or values; return the end."""
    one, reader, config = item.one, parts.reader, parts.config
    assert reader is not None, "kv.map comes before attention"
    heads, head_lines = one["heads"], one["head_lines"]
    scores = one.name == "scores"
    before, hits = int(parts.memories.hbm.read.sum()), reader.hit_bytes
    fresh, parts.fresh[one.name] = parts.fresh[one.name], False
    sweeps = sweeps_of(one, rows, config)
    start = taken = parts.env.now + costs.attention_front_cycles(one, rows)
    if not scores:
        taken += costs.values_head_cycles(sum(sweeps[0].units))
    reader.begin(start, sweeps[0])
    for number, sweep in enumerate(sweeps):
        taken = reader.sweep(sweep, parts.batches(fresh and not number), head_lines, taken)
        if one["own"]:
            taken = reader.own(sweep, head_lines, taken)
    parts.traffic.add("kv_read", int(parts.memories.hbm.read.sum()) - before)
    parts.traffic.add("kv_hits", reader.hit_bytes - hits)
    if scores:
        tail = costs.scores_tail_cycles(config, rows=rows, heads=heads, head_lines=head_lines)
        return taken + tail
    return taken + costs.values_tail_cycles(config)


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
            yield from _write(parts, one, start, selected)
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
    ahead = bool(one["ahead"]) and parts.history_buffer
    rounds = parts.kv.attend(one["layer"], count, ahead)
    parts.take_order(rounds_to_records(rounds))
    if valid:
        return timing.kv_queued_cycles(len(parts.order), len(rounds))
    return timing.kv_walked_cycles(count, len(rounds))


def _write(parts: Parts, one: Any, start: int, selected: Any) -> Process:
    """Write the entries of tokens, row after row, and wait for the memory's answers."""
    reader = parts.reader
    assert reader is not None, "kv.map comes before kv.write"
    first = timing.SCRATCHPAD_READ_CYCLES + timing.MEMORY_STORE_CYCLES
    end = begin = parts.env.now + first
    for row in selected.tolist():
        entry = parts.kv.directory.entry(one["layer"], start + row)
        end = max(end, reader.write_entry(begin, entry.port))
        begin += reader.slot_cycles
        parts.traffic.add("kv_written", reader.slot_bytes)
    answer = parts.memories.rates.latency + timing.MEMORY_ANSWER_CYCLES
    yield from parts.until(end + answer)


def start_units(parts: Parts) -> None:
    """Start the processes of all units."""
    for serve in (serve_dma, serve_array, serve_npe, serve_router, serve_kv):
        parts.env.process(serve(parts))
