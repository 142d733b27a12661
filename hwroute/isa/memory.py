"""Instructions that move data: DMA between DDR and scratchpad, and the KV memory system."""

from hwroute.isa.fields import Opcode, Unit
from hwroute.isa.parts import (
    COUNT,
    IDS,
    INDEXED,
    LAYER,
    choice,
    ddr,
    hbm,
    lines,
    matrix,
    register,
    unsigned,
)

DMA = (
    Opcode(
        name="load",
        code=0x10,
        unit=Unit.DMA,
        fields=(
            *matrix("to", "destination"),
            ddr("address", "source"),
            *INDEXED,
        ),
        doc="DDR to scratchpad. Row r comes from address + stride * (index + r).",
        writes="scratchpad",
    ),
    Opcode(
        name="store",
        code=0x11,
        unit=Unit.DMA,
        fields=(
            *matrix("from", "source"),
            ddr("address", "destination"),
            *INDEXED,
        ),
        doc="Scratchpad to DDR. Row r goes to address + stride * (index + r).",
        writes="DDR",
    ),
    Opcode(
        name="gather",
        code=0x12,
        unit=Unit.DMA,
        fields=(
            *matrix("to", "destination"),
            ddr("table", "row 0 of the table"),
            IDS,
            unsigned("vocabulary", 18, "rows of the table; another id is an error", least=1),
            lines(),
        ),
        doc="Rows of a table in DDR by token id. Row r is that of the id at position + r.",
        writes="scratchpad",
    ),
    Opcode(
        name="put",
        code=0x13,
        unit=Unit.DMA,
        fields=(
            IDS,
            register("value", "what is written"),
        ),
        doc="Write a register to DDR as the token id at position.",
        writes="DDR",
    ),
)
KV = (
    Opcode(
        name="kv.map",
        code=0x50,
        unit=Unit.KV,
        fields=(
            hbm("base", "slot 0: beat in every port"),
            unsigned("vector", 16, "beats of a K (or V) vector", least=1),
            unsigned("exponents", 8, "beats of the exponents, between K and V", least=1),
            choice("mapping", ("token", "interleaved"), "a slot in one port, or over all ports"),
        ),
        doc="Begin a sequence: forget all entries, and say where slots are.",
        writes="directory",
    ),
    Opcode(
        name="kv.deal",
        code=0x51,
        unit=Unit.KV,
        fields=(LAYER, choice("rule", ("reuse", "evict"), "for tokens outside the plane")),
        doc="Give each token of the plane a slot of its own at the layer; the others follow the "
        "rule. If no token is in the plane, the history buffer is invalidated.",
        writes="directory",
    ),
    Opcode(
        name="kv.write",
        code=0x52,
        unit=Unit.KV,
        fields=(
            *matrix("k", "FP16 keys"),
            *matrix("v", "FP16 values"),
            lines("length of a vector, heads padded to lines"),
            LAYER,
        ),
        doc="Write K, V and V's exponents to the slots that kv.deal gave. Done when the memory "
        "has answered.",
        writes="HBM",
    ),
    Opcode(
        name="kv.prepare",
        code=0x53,
        unit=Unit.KV,
        fields=(LAYER, *COUNT),
        doc="Start on a kv.order that may follow; changes no result.",
    ),
    Opcode(
        name="kv.order",
        code=0x54,
        unit=Unit.KV,
        fields=(LAYER, *COUNT),
        doc="Order the entries of an attention into rounds over ports and history buffer. The "
        "order serves every scores and values instruction up to the next kv.order.",
        writes="order",
    ),
)
