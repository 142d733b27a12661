"""Latencies and rates of the units, in clock cycles: the RTL cites them, its tests measure them.

The performance model takes its delays from here and from nowhere else. A latency counts clock
edges between the cycle in which an operand is accepted and the cycle in which the result can leave,
with nothing stalled.
"""

# Float building blocks: hwroute.rtl.float32, hwroute.rtl.float_convert. One operation a cycle.

FLOAT_ADD_CYCLES = 5
FLOAT_MULTIPLY_CYCLES = 4
FIXED_TO_FLOAT_CYCLES = 4
FLOAT_TO_HALF_CYCLES = 2
FLOAT_COMPARE_CYCLES = 1


# Router and bitmask unit: hwroute.rtl.router.

ROUTER_START_CYCLES = 2
"""From a command to its first token."""
ROUTER_TOKEN_CYCLES = 2
"""From a token's logits to its place in the list."""
ROUTER_QUERY_CYCLES = 1
"""From the address of a plane's word to its bits."""


def router_cycles(tokens: int) -> int:
    """Return the cycles from a command for `tokens` tokens to its summary, logits waiting.

    The next command is accepted in the cycle after the summary has left.
    """
    if tokens == 0:
        return 2
    return ROUTER_START_CYCLES + tokens + ROUTER_TOKEN_CYCLES
