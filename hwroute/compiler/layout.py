"""Lay out HBM and DDR for a model: weights and K/V in HBM, everything else in DDR."""

from dataclasses import replace

from hwroute.checkpoint import EMBEDDING
from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, lines_of
from hwroute.kv_layout import kv_layout
from hwroute.matrix_layout import matrix_layout
from hwroute.memory_map import Arrangement, Content, MemoryMap, Region, Space, program_lines
from hwroute.operations import Operation, Operator
from hwroute.shape import ModelShape

HEAD_PROJECTIONS = ("q_proj.weight", "k_proj.weight", "v_proj.weight")
"""Ends of the names of matrices whose outputs are heads, which are padded."""


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
        self.entry = kv_layout(shape, config.numerics.kv_format)
        self._regions: list[Region] = []
        self._end = {Space.HBM: 0, Space.DDR: 0}

    def build(self, operations: tuple[Operation, ...]) -> MemoryMap:
        """Return the map for a list of operations.

        Raises
        ------
        InputError
            A memory is too small: what, how much, how much there is.
        """
        row = lines_of(self.shape.dim)
        self._add("ids", Content.IDS, -(-4 * self.context // LINE_BYTES))
        self._add("embedding", Content.EMBEDDING, self.shape.vocab * row, (EMBEDDING,))
        self._add("rotary", Content.ROTARY, 2 * self.entry.head_lines * self.context)
        paired = paired_operations(operations)
        ups = set(paired.values())
        for operation in operations:
            if operation.index in paired:
                gate, up = operation.weights[0], operations[paired[operation.index]].weights[0]
                self._matrix((gate, up), Arrangement.PAIRED)
            elif operation.index in ups:
                continue
            elif operation.operator in (Operator.MATMUL, Operator.HEAD):
                self._product(operation)
            elif operation.operator in (Operator.REDUCE, Operator.NORMALISE):
                rows = 2 if operation.operator is Operator.REDUCE else 1
                for name in operation.weights:
                    self._add(name, Content.VECTOR, rows * row, (name,))
        slots = self.config.kv.slots_for(self.shape.layers, self.context)
        self._add("kv", Content.KV, slots * self.entry.slot_beats)
        self._check()
        return MemoryMap(regions=tuple(self._regions), context=self.context)

    def _product(self, operation: Operation) -> None:
        """Place weights, scales and bias of a product with one matrix."""
        weight, *bias = operation.weights
        heads = weight.endswith(HEAD_PROJECTIONS)
        arrangement = Arrangement.HEADS if heads else Arrangement.PLAIN
        outputs = self._matrix((weight,), arrangement)
        for name in bias:
            self._add(name, Content.VECTOR, lines_of(outputs), (name,), arrangement)

    def _matrix(self, tensors: tuple[str, ...], arrangement: Arrangement) -> int:
        """Place weights and scales under the first tensor's name; return the outputs."""
        size = matrix_layout(self.shape, self.config, tensors, arrangement)
        self._add(tensors[0], Content.MATRIX, size.beats, tensors, arrangement)
        self._add(f"{tensors[0]}.scales", Content.SCALES, size.scales, tensors, arrangement)
        return size.outputs

    def _add(
        self,
        name: str,
        content: Content,
        size: int,
        tensors: tuple[str, ...] = (),
        arrangement: Arrangement = Arrangement.PLAIN,
    ) -> None:
        region = Region(
            name=name,
            content=content,
            address=self._end[content.space],
            size=size,
            tensors=tensors,
            arrangement=arrangement,
        )
        self._regions.append(region)
        self._end[content.space] = region.end

    def _check(self) -> None:
        memory = self.config.memory
        for space, unit, room, field, what in (
            (Space.HBM, BEAT_BYTES, memory.hbm_port_bytes, "hbm_port_bytes", "weights, K and V"),
            (Space.DDR, LINE_BYTES, memory.ddr_bytes, "ddr_bytes", "embedding, scales and tables"),
        ):
            needed = self._end[space] * unit
            if needed > room:
                fitting = self._fitting_context() if space is Space.HBM else 0
                hint = f"; {fitting} tokens fit" if fitting else ""
                raise InputError(
                    f"memory.{field} must be at least {needed} bytes ({what} for a context of "
                    f"{self.context} tokens), not {room}{hint}"
                )

    def _fitting_context(self) -> int:
        """Return the longest context whose K and V fit HBM, 0 for none."""
        ports, layers = self.config.kv.hbm_ports, self.shape.layers
        weights = next(one.address for one in self._regions if one.content is Content.KV)
        room = self.config.memory.hbm_port_bytes // BEAT_BYTES - weights
        return max(0, room // (layers * self.entry.slot_beats) * ports)


def with_program(memory: MemoryMap, config: Config, instructions: int) -> MemoryMap:
    """Return the map with a region for the program's words, behind all others of DDR.

    Raises
    ------
    InputError
        DDR is too small.
    """
    region = Region(
        name="program",
        content=Content.PROGRAM,
        address=memory.size(Space.DDR),
        size=program_lines(instructions),
    )
    needed = region.end * LINE_BYTES
    if needed > config.memory.ddr_bytes:
        raise InputError(
            f"memory.ddr_bytes must be at least {needed} bytes ({instructions} instructions behind "
            f"embedding, scales and tables), not {config.memory.ddr_bytes}"
        )
    return replace(memory, regions=(*memory.regions, region))


def paired_operations(operations: tuple[Operation, ...]) -> dict[int, int]:
    """Return index of gate -> index of up, of the products that only a SwiGLU reads."""
    writer = {output: one.index for one in operations for output in one.outputs}
    return {
        writer[one.inputs[0]]: writer[one.inputs[1]]
        for one in operations
        if one.operator is Operator.SWIGLU
    }
