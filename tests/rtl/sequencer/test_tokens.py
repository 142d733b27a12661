# amaranth: UnusedElaboratable=no
"""Counters of tokens against a count of them."""

from random import Random
from typing import Any

from amaranth.sim import Simulator

from hwroute.isa.fields import QUEUED
from hwroute.rtl.token_counters import TokenCounters

BITS = 2
UNITS = len(QUEUED)
PAIRS = [(giver, taker) for giver in range(UNITS) for taker in range(UNITS)]


def test_tokens_are_counted_up_to_what_a_counter_holds() -> None:
    """Also where one is given and one taken in a cycle, none and all being there."""
    dut: Any = TokenCounters(bits=BITS)
    random = Random(8)
    seen: set[tuple[int, bool, bool]] = set()

    async def bench(context: Any) -> None:
        counts = dict.fromkeys(PAIRS, 0)
        for _ in range(400):
            available = [context.get(dut.available[taker]) for taker in range(UNITS)]
            assert available == [
                sum(bool(counts[giver, taker]) << giver for giver in range(UNITS))
                for taker in range(UNITS)
            ]
            give = [random.getrandbits(UNITS) for _ in range(UNITS)]
            take = [random.getrandbits(UNITS) & available[taker] for taker in range(UNITS)]
            context.set(dut.give, give)
            context.set(dut.take, take)
            lost = [context.get(dut.overflow[giver]) for giver in range(UNITS)]
            for giver, taker in PAIRS:
                given, taken = give[giver] >> taker & 1, take[taker] >> giver & 1
                count = counts[giver, taker]
                seen.add((count, bool(given), bool(taken)))
                most = (1 << BITS) - 1
                full = count + given - taken > most
                assert lost[giver] >> taker & 1 == full
                counts[giver, taker] = min(count + given - taken, most)
            await context.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(seen) == 2 * 2 * (1 << BITS) - 2, "all but taking what is not there"
