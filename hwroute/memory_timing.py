"""Latencies and rates of what lies between units and memories; see `hwroute.timing`."""

from hwroute.timing import ROW_LIST_CYCLES

# Memory ports: hwroute.rtl.memory_reader, hwroute.rtl.memory_writer. One beat a cycle.

BURST_CYCLES = 3
"""From a request to its first burst; one burst a cycle."""
MEMORY_REQUEST_CYCLES = BURST_CYCLES + 1
"""From a request to its first address on AR or AW."""
MEMORY_BEAT_CYCLES = 2
"""From a beat on R to the same beat on its way out."""
MEMORY_STORE_CYCLES = BURST_CYCLES + 2
"""From a request to write to its first beat of data, which is on W a cycle later."""
MEMORY_ANSWER_CYCLES = 1
"""From the last answer on B to the request's."""
READ_SHARE_CYCLES = 1
"""What sharing a port adds to a request, and to a beat."""
DDR_READ_CYCLES = MEMORY_REQUEST_CYCLES + MEMORY_BEAT_CYCLES + 2 * READ_SHARE_CYCLES
"""From a request of a unit to its first beat at the shared port of DDR, besides the memory's
latency."""
HBM_READ_CYCLES = 2
"""Of an HBM port, from a request to its first beat: cycles of the machine, besides those of the
memory's clock and the memory's latency; two synchronisers."""
HBM_READ_MEMORY_CYCLES = 10
"""The same, cycles of the memory's clock: two synchronisers and both engines."""
HBM_PAIR_CYCLES = 2
"""Cycles of the memory's clock more, where two of its beats make one."""


def hbm_read_cycles(clock: float, *, paired: bool) -> float:
    """Return the cycles from a request to its first beat, besides the memory's latency.

    `clock` is how many cycles of the machine one of the memory takes. Clocks whose edges do not
    coincide move it by up to a cycle of either.
    """
    pair = HBM_PAIR_CYCLES if paired else 0
    return HBM_READ_CYCLES + clock * (HBM_READ_MEMORY_CYCLES + pair)


HBM_ANSWER_CYCLES = 2
"""Of an HBM port, from the last beat of a request to write to its answer: cycles of the machine,
besides those of the memory's clock and the memory's latency."""
HBM_ANSWER_MEMORY_CYCLES = 6
"""The same, cycles of the memory's clock."""


def hbm_answer_cycles(clock: float) -> float:
    """Return the cycles from the last beat of a request to write to its answer.

    `clock` as `hbm_read_cycles` has it; the request itself came long before.
    """
    return HBM_ANSWER_CYCLES + clock * HBM_ANSWER_MEMORY_CYCLES


# DMA unit: hwroute.rtl.dma.

DMA_INSTRUCTION_CYCLES = 5
"""From an instruction to the next of the same direction, where its rows do not take longer."""
DMA_ROW_START_CYCLES = 2
"""From an instruction to its first row, where no list is asked for and nothing is in the way."""
DMA_REQUEST_CYCLES = 4
"""From a row to its request to DDR: `DMA_PLACE_CYCLES` and the register of the request."""
DMA_SETTLE_CYCLES = 4
"""From an instruction's last row to where the next one's first may follow a cycle later."""
DMA_END_CYCLES = 1
"""From behind an instruction's last beat of DDR to its end."""
DMA_ID_CYCLES = 5
"""From the first beat of the line of a gathered row's id to the row."""
DMA_PUT_CYCLES = 14
"""Of a put besides the latency of DDR."""
DMA_ROW_CYCLES = 2
"""From row to row, where its lines do not take longer."""
DMA_GATHER_ROW_CYCLES = 5
DMA_PLACE_CYCLES = 3
"""From a row to its addresses, checked."""
DMA_LINE_PERIOD_CYCLES = 2
"""A line is two beats of DDR."""
DMA_LOAD_CYCLES = 13
"""Of a load besides its lines and the latency of DDR."""
DMA_STORE_CYCLES = 10
"""Of a store besides its lines and the latencies of scratchpad and DDR."""
DMA_LIST_CYCLES = 1 + ROW_LIST_CYCLES
"""What an instruction takes longer that is for each row, or has a plane."""


def dma_load_cycles(lines: int, ddr: int, *, per_row: bool) -> int:
    """Return the cycles from a load to its end, `lines` in all its rows, with DDR's latency."""
    listing = DMA_LIST_CYCLES if per_row else 0
    return listing + DMA_LOAD_CYCLES + DMA_LINE_PERIOD_CYCLES * lines + ddr


def dma_store_cycles(lines: int, scratchpad: int, ddr: int, *, per_row: bool) -> int:
    """Return the cycles from a store to its end, with the latencies of both memories."""
    listing = DMA_LIST_CYCLES if per_row else 0
    return listing + DMA_STORE_CYCLES + DMA_LINE_PERIOD_CYCLES * lines + scratchpad + ddr


# Instruction memory in DDR: hwroute.rtl.instruction_reader. One word a cycle.

INSTRUCTION_READ_CYCLES = 2
"""What it adds to the latency of its port, from the request for a word to the word."""
