"""Lay out HBM and DDR for a model: weights and K/V in HBM, everything else in DDR."""

from hwroute.checkpoint import EMBEDDING
from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, LINE_ELEMENTS
from hwroute.kv_layout import kv_layout, port_slots
from hwroute.memory_map import Arrangement, Content, MemoryMap, Region, Space
from hwroute.operations import Operation, Operator
from hwroute.shape import ModelShape

HEAD_PARTS = ("q", "k", "v")
"""Last parts of the names of projections whose heads are padded."""


def lines_of(elements: int) -> int:
    """Return the lines that FP16 elements take."""
    return -(-elements // LINE_ELEMENTS)


def outputs_of(shape: ModelShape, name: str) -> int:
    """Return the outputs of a matrix as the machine has them, heads padded."""
    padded = kv_layout_head(shape) * LINE_ELEMENTS
    part = name.rpartition(".")[0].rpartition(".")[2]
    return {
        "q_proj": shape.heads * padded,
        "k_proj": shape.kv_heads * padded,
        "v_proj": shape.kv_heads * padded,
        "o_proj": shape.dim,
        "gate_proj": shape.ffn_dim,
        "up_proj": shape.ffn_dim,
        "down_proj": shape.dim,
        "lm_head": shape.vocab,
    }[part]


def kv_layout_head(shape: ModelShape) -> int:
    """Return the lines of a head."""
    return lines_of(shape.head_dim)


def reduction_of(shape: ModelShape, name: str) -> int:
    """Return the inputs of a matrix."""
    part = name.rpartition(".")[0].rpartition(".")[2]
    return {"o_proj": shape.q_dim, "down_proj": shape.ffn_dim}.get(part, shape.dim)


class Layout:
    """The growing memory map.

    Parameters
    ----------
    shape, config
        Of the model and of the overlay.
    context
        Tokens to make room for.
    """

    def __init__(self, shape: ModelShape, config: Config, context: int):
        self.shape = shape
        self.config = config
        self.context = context
        self._regions: list[Region] = []
        self._end = {Space.HBM: 0, Space.DDR: 0}

    def build(self, operations: tuple[Operation, ...]) -> MemoryMap:
        """Return the map for a list of operations.

        Raises
        ------
        InputError
            A memory is too small: what, how much, how much there is.
        """
        self._ddr("ids", Content.IDS, -(-4 * self.context // LINE_BYTES))
        rows = self.shape.vocab * lines_of(self.shape.dim)
        self._ddr("embedding", Content.EMBEDDING, rows, (EMBEDDING,))
        table = 2 * kv_layout_head(self.shape) * self.context
        self._ddr("rotary", Content.ROTARY, table)
        paired = paired_operations(operations)
        for operation in operations:
            if operation.operator in (Operator.MATMUL, Operator.HEAD):
                self._matrix(operation, paired)
            elif operation.operator in (Operator.REDUCE, Operator.NORMALISE):
                for name in operation.weights:
                    rows = 2 if operation.operator is Operator.REDUCE else 1
                    self._ddr(name, Content.VECTOR, rows * lines_of(self.shape.dim), (name,))
        entry = kv_layout(self.shape, self.config.numerics.kv_format)
        slots = port_slots(self.shape, self.context, self.config.kv.hbm_ports)
        self._add("kv", Space.HBM, Content.KV, slots * entry.slot_beats)
        self._check()
        return MemoryMap(regions=tuple(self._regions), context=self.context)

    def _matrix(self, operation: Operation, paired: dict[int, int]) -> None:
        """Place weights, scales and bias of a product; of a pair, when its first one comes."""
        weight, *bias = operation.weights
        tensors: tuple[str, ...] = (weight,)
        arrangement = Arrangement.PLAIN
        if operation.index in paired.values():
            return
        outputs = outputs_of(self.shape, weight)
        if operation.index in paired:
            up = weight.replace("gate_proj", "up_proj")
            tensors, arrangement, outputs = (weight, up), Arrangement.PAIRED, 2 * outputs
        elif operation.name.rpartition(".")[2] in HEAD_PARTS:
            arrangement = Arrangement.HEADS
        columns = self.config.array.columns
        blocks = -(-outputs // columns)
        reduction = lines_of(reduction_of(self.shape, weight))
        beats = -(-blocks * reduction * columns // self.config.kv.hbm_ports)
        self._add(weight, Space.HBM, Content.MATRIX, beats, tensors, arrangement)
        groups = -(-reduction * LINE_ELEMENTS // self.config.numerics.group)
        lines = -(-blocks * groups * columns // LINE_ELEMENTS)
        self._ddr(f"{weight}.scales", Content.SCALES, lines, tensors, arrangement)
        for name in bias:
            self._ddr(name, Content.VECTOR, lines_of(outputs), (name,), arrangement)

    def _ddr(
        self,
        name: str,
        content: Content,
        lines: int,
        tensors: tuple[str, ...] = (),
        arrangement: Arrangement = Arrangement.PLAIN,
    ) -> None:
        self._add(name, Space.DDR, content, lines, tensors, arrangement)

    def _add(
        self,
        name: str,
        space: Space,
        content: Content,
        size: int,
        tensors: tuple[str, ...] = (),
        arrangement: Arrangement = Arrangement.PLAIN,
    ) -> None:
        region = Region(
            name=name,
            space=space,
            address=self._end[space],
            size=size,
            content=content,
            tensors=tensors,
            arrangement=arrangement,
        )
        self._regions.append(region)
        self._end[space] = region.end

    def _check(self) -> None:
        memory = self.config.memory
        for space, unit, room, field, what in (
            (Space.HBM, BEAT_BYTES, memory.hbm_port_bytes, "hbm_port_bytes", "weights, K and V"),
            (Space.DDR, LINE_BYTES, memory.ddr_bytes, "ddr_bytes", "embedding, scales and tables"),
        ):
            needed = self._end[space] * unit
            if needed > room:
                raise InputError(
                    f"memory.{field} must be at least {needed} bytes ({what} for a context of "
                    f"{self.context} tokens), not {room}"
                )


def paired_operations(operations: tuple[Operation, ...]) -> dict[int, int]:
    """Return index of gate -> index of up, of the products that only a SwiGLU reads."""
    writer = {output: one.index for one in operations for output in one.outputs}
    return {
        writer[one.inputs[0]]: writer[one.inputs[1]]
        for one in operations
        if one.operator is Operator.SWIGLU
    }
