"""The array as a SimPy process: matmul, scores, values."""

from collections import deque

import simpy

from hwroute import timing
from hwroute.config import Variant
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, LINE_ELEMENTS, Unit
from hwroute.isa.instruction import Instruction
from hwroute.rtl.matmul_layouts import JOBS
from hwroute.rtl.values_layouts import BANKS
from hwroute.sim.performance import costs, fusion
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.products import Product, Ring
from hwroute.sim.performance.result import Read
from hwroute.sim.performance.sweeps import Sweep, sweeps_of
from hwroute.sim.performance.unit_queue import Item, Process


class Array:
    """The instructions that are at work on the array.

    Parameters
    ----------
    parts
        Of the machine.

    Members
    -------
    end
        When the last one that was begun ends.
    """

    def __init__(self, parts: Parts):
        self.parts = parts
        self.end = 0.0
        self._open = 0
        self._changed = parts.env.event()

    def begin(self) -> None:
        """Count an instruction."""
        self._open += 1

    def retire(self, item: Item, end: float) -> None:
        """End an instruction at a time, which is not before that of the one ahead of it."""
        self.end = end
        self.parts.env.process(self._retire(item, end))

    def _retire(self, item: Item, end: float) -> Process:
        yield from self.parts.retire_at(item, end)
        self._open -= 1
        self._changed.succeed()
        self._changed = self.parts.env.event()

    def room(self, most: int) -> Process:
        """Wait until at most so many are at work."""
        while self._open > most:
            yield self._changed


def serve_array(parts: Parts) -> Process:
    """Matmuls follow each other, weights read ahead; attention has the array alone."""
    env, queue, array = parts.env, parts.queue(Unit.ARRAY), Array(parts)
    jobs = simpy.Store(env)
    env.process(_stream(parts, array, jobs))
    front, kind = 0.0, "matmul"
    while True:
        item = yield from queue.offered()
        name = item.one.name
        # No more jobs than the unit has room for; the other kinds wait for all.
        yield from array.room(JOBS - 1 if name == kind == "matmul" else 0)
        if name != kind:
            front = max(front, array.end + timing.NEXT_CYCLES + timing.ARRAY_SWITCH_CYCLES)
        elif name != "matmul":
            front = max(front, array.end + timing.NEXT_CYCLES)
        yield from parts.until(front)
        queue.take()
        array.begin()
        kind, rows = name, len(parts.rows(item))
        if name == "matmul":
            job = env.now + timing.matmul_front_cycles(rows)
            front = job + timing.NEXT_CYCLES
            jobs.put((item, rows, job))
        elif rows:
            array.retire(item, _attend(parts, item, rows))
        else:
            heads = costs.heads_counted(item.one, parts.reader.vector_lines if parts.reader else 0)
            array.retire(item, env.now + timing.attention_front_cycles(1, heads) + 1)


def _stream(parts: Parts, array: Array, jobs: simpy.Store) -> Process:
    """Run matmuls one behind the other."""
    ring = Ring(parts.memories, parts.free.mechanisms.ring_stripes)
    while True:
        item, rows, job = yield jobs.get()
        end = job + timing.MATMUL_END_CYCLES
        if rows:
            end = yield from _multiply(parts, ring, item, rows, job, array.end)
        array.retire(item, max(end, array.end + timing.MATMUL_END_CYCLES))


def _multiply(
    parts: Parts, ring: Ring, item: Item, rows: int, job: float, before: float
) -> Process:
    """Stream a product whose job is there at `job`; return its end."""
    env, product = parts.env, Product(parts.config, item.one, rows)
    # Input is read when what instructions before it write is written.
    asks = max(job + timing.MATMUL_REQUEST_CYCLES, before + timing.MATMUL_END_CYCLES)
    ready = asks + timing.SCRATCHPAD_READ_CYCLES + 1
    taken, weights, scales = ready, 0, 0
    for rest in product.stripes():
        weights += rest.beats
        scales += rest.scale_lines
        while rest.count:
            known = parts.ahead.knows(item, job)
            ring.asked = ring.asks(known)
            # Where nothing else happens until then, there is nothing to wait for.
            if ring.asked > env.peek():
                yield env.timeout(ring.asked - env.now)
            ring.take(rest.next(), ready)
            if rest.count and not parts.ahead.guessing:
                ring.pass_over(rest, known, env.peek())
        taken = ring.taken
    parts.count(item, "weights", weights * BEAT_BYTES * parts.config.kv.hbm_ports)
    parts.count(item, "scales", scales * LINE_BYTES)
    item.event.products = rows * item.one["lines"] * LINE_ELEMENTS * item.one["columns"]
    return taken + product.tail_cycles()


def _attend(parts: Parts, item: Item, rows: int) -> float:
    """Go through the sweeps of scores or values; return the end."""
    one, reader, config = item.one, parts.reader, parts.config
    assert reader is not None, "kv.map comes before attention"
    before, hits, handed = int(parts.memories.hbm.read.sum()), reader.hit_bytes, reader.handed_bytes
    fresh, parts.fresh[one.name] = parts.fresh[one.name], False
    front = timing.attention_front_cycles(rows, costs.heads_counted(one, reader.vector_lines))
    start = parts.env.now + front
    run = scores_end if one.name == "scores" else values_end
    sweeps = sweeps_of(one, rows, config)
    ahead = parts.ahead
    reader.early = ahead.early(item)
    end = run(parts, one, start, sweeps, [fresh, *[False] * (len(sweeps) - 1)])
    parts.reads.append(Read(*ahead.window(start, reader), reader.handed_bytes - handed))
    parts.count(item, "kv_read", int(parts.memories.hbm.read.sum()) - before)
    parts.count(item, "kv_hits", reader.hit_bytes - hits)
    pairs = parts.pairs(item) + rows * one["own"]
    item.event.products = pairs * one["heads"] * one["head_lines"] * LINE_ELEMENTS
    if one.name == "scores" and not parts.free.fused:
        end += fusion.softmax_cycles(one, rows, len(parts.order))
    return end


def scores_end(
    parts: Parts, one: Instruction, start: float, sweeps: list[Sweep], fresh: list[bool]
) -> float:
    """Run passes one after the other, `fresh` ones from the history buffer; return the end."""
    reader, config = parts.reader, parts.config
    assert reader
    way = timing.array_cycles(aligned=config.numerics.variant is Variant.ALIGNED)
    for sweep, buffered in zip(sweeps, fresh, strict=True):
        asked = start + timing.scores_sweep_cycles(sweep.rows)
        reader.begin(asked, sweep)
        first = asked + timing.scores_start_cycles(sweep.rows * one["heads"])
        taken = reader.sweep(sweep, parts.batches(buffered), one["head_lines"], first)
        if one["own"]:
            taken = reader.own(sweep, one["head_lines"])
        idle = taken - 1 + way + timing.SCORES_IDLE_CYCLES
        start = idle + timing.scores_end_cycles(sweep.rows, costs.row_words(one))
    return start + 1


def values_end(
    parts: Parts, one: Instruction, start: float, sweeps: list[Sweep], fresh: list[bool]
) -> float:
    """Run passes, each read ahead, `fresh` ones from the history buffer; return the end."""
    reader, config = parts.reader, parts.config
    assert reader
    way = timing.array_cycles(aligned=config.numerics.variant is Variant.ALIGNED)
    asked = start + 1 + 2 * sweeps[0].lines
    reader.begin(asked, sweeps[0])
    ends: deque[float] = deque([asked - timing.VALUES_BANK_CYCLES] * BANKS, maxlen=BANKS)
    for sweep, buffered in zip(sweeps, fresh, strict=True):
        # A pass needs a bank of units, of which the last but one has just got its last row.
        begin = ends[0] + timing.VALUES_BANK_CYCLES
        first = timing.values_start_cycles(sum(sweep.units)) + timing.VALUES_SCORES_CYCLES
        taken = reader.sweep(sweep, parts.batches(buffered), one["head_lines"], begin + first)
        if one["own"]:
            taken = reader.own(sweep, one["head_lines"])
        ends.append(taken - 1 + way)
    return taken - 1 + way + 1 + timing.VALUES_END_CYCLES
