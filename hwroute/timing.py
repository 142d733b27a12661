"""Latencies and rates of the units, in clock cycles: the RTL cites them, its tests measure them.

The performance model takes its delays from here, and from `hwroute.memory_timing` for what lies
between units and memories, and from nowhere else. A latency counts clock
edges between the cycle in which an operand is accepted and the cycle in which the result can leave,
with nothing stalled.
"""

# Float building blocks: hwroute.rtl.float32, hwroute.rtl.float_convert. One operation a cycle.

FLOAT_ADD_CYCLES = 5
FLOAT_MULTIPLY_CYCLES = 4
FIXED_TO_FLOAT_CYCLES = 4
FLOAT_TO_HALF_CYCLES = 2
FLOAT_COMPARE_CYCLES = 1


# Instruction decoder: hwroute.rtl.decoder. One word a cycle.

DECODER_CYCLES = 1


# Scratchpad: hwroute.rtl.scratchpad. One line a cycle and port.

SCRATCHPAD_BANK_CYCLES = 2
"""From a request to its line at the bank: the register of the request, the memory."""
SCRATCHPAD_READ_CYCLES = SCRATCHPAD_BANK_CYCLES + 2
"""From the acceptance of a request to its line at the port, through the port's queue."""
SCRATCHPAD_QUEUE_LINES = 8
"""Reads of a port under way or waiting: enough to cover the latency and the return of the place."""


# Statistics memory: hwroute.rtl.statistics_memory. One word a cycle and port; one write a cycle.

STATISTICS_READ_CYCLES = 2
"""From the request for a row's values to the first of them."""


# Sequencer: hwroute.rtl.sequencer and what it is made of. An instruction of a unit takes a cycle of
# it, a control instruction `CONTROL_CYCLES`.

FETCH_CYCLES = 1 + DECODER_CYCLES
"""From the arrival of a word to the cycle in which its instruction is run or handed on."""
CONTROL_CYCLES = 2
"""Of a control instruction: read registers, then work; the next instruction begins behind it."""
NEXT_CYCLES = 1
"""From the end of an instruction to where a unit that runs one at a time takes the next."""
UNIT_QUEUE_CYCLES = 2
"""From the cycle in which an instruction is handed on to its offer to the unit."""
TOKEN_CYCLES = 2
"""From the end of an instruction to the offer of one that waited for its token."""
DRAIN_CYCLES = 1
"""From the end of the last instruction to the start of a control instruction that waits for it."""
DEADLOCK_CYCLES = 3
"""From the end of the last instruction to the end of the run."""
CSR_WRITE_CYCLES = 1
CSR_READ_CYCLES = 2


def sequencer_branch_cycles(memory: int) -> int:
    """Return the cycles from the start of a taken branch to the start of the one it leads to.

    `memory` is the latency of the instruction memory.
    """
    return CONTROL_CYCLES + memory + FETCH_CYCLES


def sequencer_prefetch(memory: int) -> int:
    """Return the smallest `SequencerConfig.prefetch` for a word a cycle."""
    return memory + 3


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


# Router unit of the machine: hwroute.rtl.tile_router.

ROW_LIST_CYCLES = 2
"""From the request for the rows of a plane to the first of them; then one a cycle."""


def tile_router_cycles(rows: int, *, compares: bool) -> int:
    """Return the cycles from the acceptance of a decide or select to its end.

    compares: it reads the logits of its rows.
    """
    return 3 + (STATISTICS_READ_CYCLES + 2 * rows if compares else rows)


# PE array: hwroute.rtl.array and what it is made of.

DSP_CYCLES = 3
"""Pre-adder, multiplier and ALU register of a DSP48E2."""
CASCADE_LANES = 16
"""DSP48E2 in one PCIN cascade; lane i works i cycles after lane 0."""
ALIGNER_CYCLES = 4
"""Largest exponent in two steps, shift, round."""


# Exponentials: hwroute.rtl.exp2. One a cycle and lane.

SEGMENT_CYCLES = 3
"""A piecewise linear table: read, multiply, add."""
EXP2_CYCLES = 1 + SEGMENT_CYCLES
PROBABILITY_CYCLES = 3 + EXP2_CYCLES + FLOAT_TO_HALF_CYCLES

# Element-wise operations: hwroute.rtl.npe and what it is made of. One line of 64 a cycle.

RECIPROCAL_CYCLES = SEGMENT_CYCLES
"""1/y or 1/sqrt(y)."""
ROW_SCALE_CYCLES = FLOAT_MULTIPLY_CYCLES + FLOAT_ADD_CYCLES + RECIPROCAL_CYCLES
SILU_FACTORS_CYCLES = 3 + EXP2_CYCLES + 2 + RECIPROCAL_CYCLES
VECTOR_FACTORS_CYCLES = max(ROW_SCALE_CYCLES, SILU_FACTORS_CYCLES)
"""From a line to the factors that multiply it."""
VECTOR_PAIR_CYCLES = (
    VECTOR_FACTORS_CYCLES + 3 * FLOAT_MULTIPLY_CYCLES + FLOAT_ADD_CYCLES + FLOAT_TO_HALF_CYCLES
)
LINE_PACKER_CYCLES = 3
"""Rotation in two steps, the register of the output."""
VECTOR_CYCLES = VECTOR_PAIR_CYCLES + LINE_PACKER_CYCLES
"""From a line to its results, whatever the operation; SWIGLU and DIVIDE: from the line that fills
the output line or ends the row."""
LINE_SPILL_CYCLES = 1
"""Beyond one a line: a row of SWIGLU or DIVIDE whose last line fills one output line and begins
another."""
ARGMAX_CYCLES = 5

# Row reductions: hwroute.rtl.reduction and hwroute.rtl.fused_reduction. One tile of 64 a cycle.

BLOCK_DOT_CYCLES = 2 + 3 + FIXED_TO_FLOAT_CYCLES
"""Products, tree of adders, one rounding to FP32."""
ROW_SLOTS = 8
"""Rows whose blocks may be interleaved in an accumulation."""
ROW_PERIOD_CYCLES = FLOAT_ADD_CYCLES
"""Between two blocks of one row: the second addition waits for the first."""
SQUARES_CYCLES = BLOCK_DOT_CYCLES + FLOAT_ADD_CYCLES
FUSED_CYCLES = ALIGNER_CYCLES + SQUARES_CYCLES
MAXIMUM_CYCLES = 7
EXPONENTIALS_CYCLES = PROBABILITY_CYCLES + 5 + FIXED_TO_FLOAT_CYCLES
"""From a row's last tile of scores to its sum; the tile of probabilities leaves earlier, after
`PROBABILITY_CYCLES`."""
ALIGNED_COLUMN_CYCLES = CASCADE_LANES - 1 + DSP_CYCLES + 1
"""From lane 0 of a cascade to the sum: the cascade, then the adder of four cascades."""
OVERPACKED_COLUMN_CYCLES = DSP_CYCLES + 1 + 1 + 3
"""Products, magnitudes, alignment, and an adder tree of 64."""
ARRAY_INTEGER_CYCLES = 1
"""Integer accumulation of probabilities times values, before the conversion."""
ARRAY_BEAT_DISTANCE = FLOAT_ADD_CYCLES + 1
"""Cycles from one beat to the next that adds to the same accumulator row."""
ARRAY_OUTPUT_CYCLES = 2
"""The queue of finished rows."""


def array_column_cycles(*, aligned: bool) -> int:
    """Return the cycles from accepting a beat to its sums of 64 lanes."""
    if aligned:
        return ALIGNER_CYCLES + ALIGNED_COLUMN_CYCLES
    return 1 + OVERPACKED_COLUMN_CYCLES


def array_cycles(*, aligned: bool) -> int:
    """Return the cycles from accepting a row's last beat to sending the row."""
    convert = ARRAY_INTEGER_CYCLES + FIXED_TO_FLOAT_CYCLES
    accumulate = FLOAT_MULTIPLY_CYCLES + FLOAT_ADD_CYCLES
    return array_column_cycles(aligned=aligned) + convert + accumulate + ARRAY_OUTPUT_CYCLES


def kernel_cycles(parts: int, *, aligned: bool) -> int:
    """Return the cycles from accepting a tile's last beat of K or V to the first beat of x.

    `parts` of a beat of V are written one by one, of K there is one.
    """
    return (ALIGNER_CYCLES if aligned else 0) + 2 + parts - 1


# NPE of the machine: hwroute.rtl.npe_unit. One instruction after the other.

NPE_CONTROL_CYCLES = 15
"""Of an instruction besides its lines and their way: rows, places, the last write."""
NPE_EMPTY_CYCLES = 10
"""Of an instruction without rows."""


def npe_cycles(lines: int) -> int:
    """Return the cycles from an instruction to its end, for `lines` lines of x in all its rows.

    One more where operands begin in the same bank of the scratchpad; for ``rotate``, which reads
    the same line of the table for every head, one more each time that x passes its bank.
    """
    return NPE_CONTROL_CYCLES + lines + SCRATCHPAD_READ_CYCLES + VECTOR_CYCLES


def npe_argmax_cycles(lines: int) -> int:
    """Return the cycles from an argmax to its end, for `lines` lines of logits.

    It writes a register, which takes a cycle less than the scratchpad.
    """
    return NPE_CONTROL_CYCLES - 1 + lines + SCRATCHPAD_READ_CYCLES + ARGMAX_CYCLES


def npe_reduce_cycles(rows: int, lines: int, values: int) -> int:
    """Return the cycles from a reduction to its end: `lines` of a row, `values` sums of a row.

    Rows run in groups of ROW_SLOTS, which have more lines than sums. With a router up to two more
    for each of its lines and group, where a bank of the scratchpad is wanted twice.
    """
    groups = (rows - 1) // ROW_SLOTS
    last = rows - ROW_SLOTS * groups
    gathered = min(rows, ROW_SLOTS) - 1
    tiles = ROW_SLOTS * groups * lines + (lines - 1) * max(last, ROW_PERIOD_CYCLES) + 1
    # While a row's sums are written no other row's come out.
    written = ROW_SLOTS * groups * values + last * (values + 1)
    way = NPE_CONTROL_CYCLES - 2 + SCRATCHPAD_READ_CYCLES + FUSED_CYCLES
    return way + gathered + tiles + written


# matmul on the array: hwroute.rtl.matmul.

MATMUL_REQUEST_CYCLES = 4
"""From a job to the requests for its first weights, scales and line of input."""
MATMUL_TILE_CYCLES = 4
"""From a tile's last beats to the tile, where its scales came before its first."""
MATMUL_SEGMENT_CYCLES = 3 + FLOAT_ADD_CYCLES + FLOAT_TO_HALF_CYCLES + 2
"""Outputs of a row: biases to their places, addition, conversion, results to theirs."""
MATMUL_END_CYCLES = 2
"""From the last write to the end of the instruction, and from there to that of one that is waiting
and has no rows."""


def matmul_front_cycles(rows: int) -> int:
    """Return the cycles from a matmul instruction for `rows` rows to its job, no other waiting."""
    return 1 + ROW_LIST_CYCLES + rows + 2


# Attention on the array: hwroute.rtl.attention_front.


def attention_front_cycles(rows: int, heads: int) -> int:
    """Return the cycles from a scores or values instruction to the start of its job.

    heads: KV heads of a vector, or before the instruction's last one, whichever are more.
    """
    return 6 + ROW_LIST_CYCLES + rows + heads


# scores on the array: hwroute.rtl.scores. In passes over all entries, each of some rows, one after
# the other.


def scores_sweep_cycles(rows: int) -> int:
    """Return the cycles from the start of a job, or the end of a pass, to a pass's sweep."""
    return rows + 2


def scores_start_cycles(pairs: int) -> int:
    """Return the cycles from a pass's sweep to its first beat, for `pairs` of row and head."""
    return pairs + 6 + SCRATCHPAD_READ_CYCLES


SCORES_IDLE_CYCLES = 10
"""From a pass's last row of the array to where its maxima are known."""


def scores_end_cycles(rows: int, words: int) -> int:
    """Return the cycles from there to the end of the pass, `words` statistics in each row."""
    return rows * (1 + words)


# values on the array: hwroute.rtl.values. In passes over all entries, each of units: a row, a query
# head and a line of V. A unit of a batch takes a beat for each part of the dimensions, and another
# cycle where its scores straddle two lines and there is only one part.

VALUES_UNIT_CYCLES = 2
"""Of a unit before its pass begins: maximum and reference. Hidden by the pass before, if any."""
VALUES_BANK_CYCLES = 3
"""From the last row of a pass to what is the sweep for the first: the next but one may look up its
units. Measured of passes of one batch."""
VALUES_SCORES_CYCLES = SCRATCHPAD_READ_CYCLES + 2 + PROBABILITY_CYCLES
"""From the request for scores to their beat."""
VALUES_END_CYCLES = 2
"""From the last write to the end of the instruction."""


def values_sweep_cycles(rows: int, heads: int, lines: int) -> int:
    """Return the cycles from an instruction to its first sweep, of `lines` lines of V.

    heads: KV heads of a vector, or before the instruction's last one, whichever are more.
    """
    return attention_front_cycles(rows, heads) + 1 + 2 * lines


def values_start_cycles(units: int) -> int:
    """Return the cycles from the first sweep to the first request for scores, of so many units."""
    return 10 + VALUES_UNIT_CYCLES * units


# KV scheduler and history buffer: hwroute.rtl.kv_scheduler, hwroute.rtl.kv_buffer. A request's
# cycles run from the acceptance of the one before to its own.

KV_WRITE_CYCLES = 1
KV_SKIP_CYCLES = 2
KV_EVICT_CYCLES = 1
KV_INVALIDATE_CYCLES = 1
KV_PORT_CYCLES = 1
"""From a beat of an HBM port to the same beat on its way to the array."""
KV_READ_AHEAD_ENTRIES = 16
"""Entries that wait at a port or bank: how far it may run ahead of the slowest."""


def kv_reset_cycles(layers: int, ports: int) -> int:
    """Return the cycles of RESET for a directory of `layers` and `ports`."""
    return max(layers, ports)


def kv_scan_cycles(tokens: int) -> int:
    """Return what sorting `tokens` tokens into queues takes: PREPARE, or an ATTEND without one.

    Only where the buffer is valid; PREPARE takes 1 cycle otherwise.
    """
    return tokens + 1


def kv_queued_cycles(entries: int, rounds: int) -> int:
    """Return the cycles of an ATTEND over a valid buffer, scan excluded."""
    return 2 * entries + rounds + 3


def kv_walked_cycles(tokens: int, rounds: int) -> int:
    """Return the cycles of an ATTEND over an invalid buffer; `tokens` without entry included."""
    return 2 * tokens + 2 * rounds + 2


# Sweeps over an order: hwroute.rtl.kv_sweep. An entry a cycle, a beat a cycle and source.

KV_REQUEST_CYCLES = 8
"""From a sweep to its first request."""
KV_SWEEP_CYCLES = 5
"""Of a sweep besides its entries; hidden where a port takes longer for its entry of a round than
there are entries in the round."""
KV_BATCH_CYCLES = 4
"""From the last line that is taken of a batch to the first request for an entry of the one for
which it made room (`hwroute.rtl.kv_batches.DEPTH` batches wait, and one is being collected)."""
KV_LINE_CYCLES = 4
"""From the last beat of a line, at an HBM port, to the line."""
KV_EXPONENT_CYCLES = 5
"""From a beat of exponents, at an HBM port, to the first of them; then one a cycle."""


# KV unit: hwroute.rtl.kv_unit. One instruction after the other.

KV_MAP_CYCLES = 3
"""Of kv.map besides the reset of the directory."""
KV_DEAL_CYCLES = 2 + ROW_LIST_CYCLES
"""Of kv.deal besides its requests to the scheduler: one for each row of the tile, and where none is
listed one that invalidates the buffer."""
KV_ORDER_CYCLES = KV_DEAL_CYCLES + 2
"""Of kv.order besides its request, and a cycle for each row of the plane."""
KV_PREPARE_LESS_CYCLES = 2
"""What kv.prepare takes less: nothing is to be stored."""
KV_PLACE_CYCLES = 4
"""Of kv.write until its first token is with the writer."""
KV_TOKEN_CYCLES = 2
"""Of a token that is written, besides its beats and the latency of the scratchpad."""


def kv_write_cycles(tokens: int, beats: int, memory: int) -> int:
    """Return the cycles of kv.write, `beats` of the core's side for each of its tokens.

    `memory` is the latency of HBM, from the last beat of a request to its answer.
    """
    each = KV_TOKEN_CYCLES + SCRATCHPAD_READ_CYCLES + beats
    return KV_DEAL_CYCLES + KV_PLACE_CYCLES + tokens * each + memory


# Array unit: hwroute.rtl.array_unit.

ARRAY_SWITCH_CYCLES = 1
"""What an instruction waits for that is of another kind than the last one, when that has ended."""
