"""Instructions that compute: PE array, NPE and router."""

from hwroute.isa.fields import Field, Kind, Opcode, Unit
from hwroute.isa.parts import (
    HEADS,
    LAYER,
    OWN,
    PITCH,
    TO_PLANE,
    choice,
    ddr,
    flag,
    hbm,
    lines,
    matrix,
    row,
    statistic,
    unsigned,
)

ARRAY = (
    Opcode(
        name="matmul",
        code=0x20,
        unit=Unit.ARRAY,
        fields=(
            *matrix("x", "FP16 input"),
            *matrix("out", "output"),
            lines("length of the reduction, in lines"),
            unsigned("columns", 18, "outputs", least=1),
            hbm("weights", "INT4 weights: beat in every port"),
            ddr("scales", "FP16 scales of the groups"),
            row("bias", "FP16 biases, where ``biased``"),
            flag("biased", "whether a bias is added to the last partial sum"),
            flag("first", "whether partial sums start from zero, not from those left there"),
            flag("last", "whether the result is written, not left as partial sums"),
            choice("format", ("fp16", "fp32"), "of the output; fp32 has 32 elements a line"),
            unsigned("offset", 6, "element of the first line of ``out`` and bias to begin at"),
        ),
        doc="FP16 by INT4 matrix product. Column blocks as wide as the array in order, and in each "
        "the lines of the reduction in order; a block begins on a whole row of port beats, each of "
        "its groups of scales on a line. Without ``first`` and ``last`` it has one column block, "
        "whose partial sums last until an instruction with both. The rest of the last line of "
        "``out`` becomes zero; ``out`` is neither input nor bias.",
        writes="scratchpad",
    ),
    Opcode(
        name="scores",
        code=0x21,
        unit=Unit.ARRAY,
        fields=(
            *matrix("q", "FP16 queries, heads padded to lines, beginning at head ``first``"),
            *matrix("k", "FP16 keys of the tile (``own``), beginning at KV head 0"),
            row("out", "FP16 scores"),
            unsigned("out_pitch", 16, "lines from one head of a row to the next", least=1),
            *HEADS,
            OWN,
            statistic("maximum", "row maximum, then a reference exponent for each line of a head"),
            PITCH,
        ),
        doc="Queries by keys in the order of entries that kv.order left, the own entry last. "
        "Scores of (row, head) begin at out + (row * heads + head - first) * out_pitch. In the "
        "same pass, over the entries that a row attends to: the largest score rounded up to an "
        "integer, and for each 64 dimensions of a head the largest exponent of a value from HBM or "
        "history buffer. Head h of the pass has 1 + head_lines values of a row, h after h.",
        writes="scratchpad, statistics",
    ),
    Opcode(
        name="values",
        code=0x22,
        unit=Unit.ARRAY,
        fields=(
            row("scores", "FP16 scores, as the instruction of that name leaves them"),
            unsigned("scores_pitch", 16, "lines from one head of a row to the next", least=1),
            *matrix("v", "FP16 values of the tile (``own``), beginning at KV head 0"),
            *matrix("out", "FP32 sums, heads padded to lines, beginning at head ``first``"),
            *HEADS,
            OWN,
            statistic("maximum", "row maximum, then reference exponents"),
            statistic("sum", "sum of the probabilities"),
            PITCH,
        ),
        doc="Probabilities by values. 2**(score - maximum) of the entries that a row attends to, "
        "by their values in the order of the scores; in the same pass, the row's sum. Exponents of "
        "the own value join the reference. A head's sums begin 2 * head_lines behind the last's.",
        writes="scratchpad, statistics",
    ),
)
NPE = (
    Opcode(
        name="reduce",
        code=0x30,
        unit=Unit.NPE,
        fields=(
            *matrix("x", "FP16 input"),
            lines(),
            row("router", "two FP16 rows of router weights, one after the other"),
            flag("routed", "whether there is a router"),
            statistic("to", "sum of squares, then the two logits"),
            PITCH,
        ),
        doc="Sum of squares of each row, and in the same pass the router's two logits.",
        writes="statistics",
    ),
    Opcode(
        name="normalise",
        code=0x31,
        unit=Unit.NPE,
        fields=(
            *matrix("x", "FP16 input"),
            *matrix("out", "FP16 output"),
            lines("part of the row, in lines"),
            row("gain", "FP16 gains of that part"),
            statistic("squares", "sum of squares of the whole row"),
            Field(name="inverse", bits=32, kind=Kind.FLOAT32, doc="1 / elements of the whole row"),
            Field(name="epsilon", bits=32, kind=Kind.FLOAT32, doc="added to the mean square"),
        ),
        doc="RMSNorm of a part of each row.",
        writes="scratchpad",
    ),
    Opcode(
        name="rotate",
        code=0x32,
        unit=Unit.NPE,
        fields=(
            *matrix("x", "FP16 heads, each padded to lines; in place"),
            *matrix("table", "FP16 cosines and sines, alternating, as long as a head"),
            unsigned("heads", 8, "heads of a row", least=1),
            unsigned("head_lines", 4, "length of a head, in lines", least=1),
        ),
        doc="Rotary embedding of even/odd pairs, in place. Row r has row r of the table.",
        writes="scratchpad",
    ),
    Opcode(
        name="swiglu",
        code=0x33,
        unit=Unit.NPE,
        fields=(
            *matrix("x", "FP16 gates and ups, alternating"),
            *matrix("out", "FP16 output, half as long"),
            lines("length of an output row, in lines"),
        ),
        doc="silu(gate) * up.",
        writes="scratchpad",
    ),
    Opcode(
        name="residual",
        code=0x34,
        unit=Unit.NPE,
        fields=(*matrix("x", "FP16 residual, in place"), *matrix("y", "FP16 addend"), lines()),
        doc="x = x + y. Rows outside the plane stay as they are.",
        writes="scratchpad",
    ),
    Opcode(
        name="divide",
        code=0x35,
        unit=Unit.NPE,
        fields=(
            *matrix("x", "FP32 sums, heads padded to lines of FP16"),
            *matrix("out", "FP16 output, heads without padding"),
            unsigned("offset", 6, "element of the first line of ``out`` to begin at"),
            unsigned("heads", 8, "heads of a row", least=1),
            unsigned("head_lines", 4, "length of a padded head, in lines of FP16", least=1),
            unsigned("elements", 10, "length of a head, in elements", least=1),
            statistic("sum", "sum of the probabilities"),
            PITCH,
        ),
        doc="Multiply each head by the reciprocal of its sum, and pack the heads.",
        writes="scratchpad",
    ),
    Opcode(
        name="argmax",
        code=0x36,
        unit=Unit.NPE,
        fields=(
            row("x", "FP32 logits of row 0 of a block of one row"),
            unsigned("count", 18, "logits of this part", least=1),
            unsigned("base", 18, "token id of the first of them"),
            flag("first", "whether this part is the first"),
            flag("last", "whether the register ``token`` is written"),
        ),
        doc="Largest logit so far. A tie goes to the lowest id.",
        writes="register",
    ),
)
ROUTER = (
    Opcode(
        name="decide",
        code=0x40,
        unit=Unit.ROUTER,
        fields=(
            TO_PLANE,
            statistic("logits", "first of the two logits"),
            PITCH,
            choice("mode", ("compare", "execute", "skip"), "compare logits, or one bit for all"),
            unsigned("execute", 1, "index of the logit that means execute"),
            flag("tie", "whether equal logits execute"),
            unsigned("first_tokens", 16, "positions below this execute whatever the logits"),
            LAYER,
            choice("kind", ("attention", "ffn"), "sub-layer, for the counters"),
        ),
        doc="Write a bitmask plane: the tokens that execute a sub-layer.",
        writes="plane",
    ),
    Opcode(
        name="select",
        code=0x41,
        unit=Unit.ROUTER,
        fields=(TO_PLANE,),
        doc="Write a bitmask plane that holds only the last token of the tile.",
        writes="plane",
    ),
)
