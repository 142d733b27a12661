"""The array as a SimPy process: matmul, scores, values."""

from hwroute import timing
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, LINE_ELEMENTS, Unit
from hwroute.rtl.matmul_layouts import JOBS
from hwroute.sim.performance import costs, fusion
from hwroute.sim.performance.attention import sweeps_of
from hwroute.sim.performance.parts import Parts
from hwroute.sim.performance.products import Product, Ring
from hwroute.sim.performance.result import Read
from hwroute.sim.performance.unit_queue import Item, Process


def serve_array(parts: Parts) -> Process:
    """Matmuls follow each other, weights read ahead; attention has the array alone."""
    ring, ends = Ring(parts.memories), [0.0] * JOBS
    front, was_matmul, queue = 0.0, True, parts.queue(Unit.ARRAY)
    while True:
        item = yield from queue.offered()
        rows = len(parts.rows(item))
        matmul = item.one.name == "matmul"
        switches = matmul != was_matmul
        if switches or not matmul:
            # Nothing else is under way.
            room = ends[-1] + timing.NEXT_CYCLES + switches * timing.ARRAY_SWITCH_CYCLES
        else:
            room = ends[-JOBS]
        yield from parts.until(max(front, room))
        queue.take()
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
    parts.count(item, "weights", weights * BEAT_BYTES * parts.config.kv.hbm_ports)
    parts.count(item, "scales", scales * LINE_BYTES)
    item.event.products = rows * item.one["lines"] * LINE_ELEMENTS * item.one["columns"]
    return taken + product.tail_cycles()


def _attend(parts: Parts, item: Item, rows: int) -> float:
    """Go through the sweeps of scores or values; return the end."""
    one, reader, config = item.one, parts.reader, parts.config
    assert reader is not None, "kv.map comes before attention"
    heads, head_lines = one["heads"], one["head_lines"]
    scores = one.name == "scores"
    before, hits, handed = int(parts.memories.hbm.read.sum()), reader.hit_bytes, reader.handed_bytes
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
    parts.reads.append(Read(start, reader.done, reader.handed_bytes - handed))
    parts.count(item, "kv_read", int(parts.memories.hbm.read.sum()) - before)
    parts.count(item, "kv_hits", reader.hit_bytes - hits)
    pairs = parts.pairs(item) + rows * one["own"]
    item.event.products = pairs * heads * head_lines * LINE_ELEMENTS
    if scores:
        if not parts.free.fused:
            taken += fusion.softmax_cycles(one, rows, len(parts.order))
        tail = costs.scores_tail_cycles(config, rows=rows, heads=heads, head_lines=head_lines)
        return float(taken + tail)
    return float(taken) + costs.values_tail_cycles(config)
