"""What a body is lowered for, and the growing list of its instructions."""

from dataclasses import dataclass

from hwroute.compiler.draft import At, Buffer, Draft, Matrix, Span, Store, Value
from hwroute.config import Config
from hwroute.kv_layout import KVLayout
from hwroute.memory_map import MemoryMap
from hwroute.policy_terms import KVRule
from hwroute.shape import ModelShape


@dataclass(frozen=True, kw_only=True)
class Target:
    """Model and overlay.

    Parameters
    ----------
    shape, config
        Of the model and of the overlay.
    memory
        Where everything is.
    entry
        Layout of a KV entry.
    rule
        Of tokens that compute no K and V.
    """

    shape: ModelShape
    config: Config
    memory: MemoryMap
    entry: KVLayout
    rule: KVRule


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Choices for one body.

    Parameters
    ----------
    name
        Prefix of its labels and buffers: ``prefill``, ``decode`` or ``head``.
    rows
        Most tokens of the tile; the head has one row.
    words
        Words of a statistic: one for each token that the tile may have.
    decode
        The tile's one token continues the sequence: it attends to its own K and V on chip.
    heads
        Query heads of an attention pass.
    fused
        Overlap the norm with the first column block, and SwiGLU with the product before it.
    """

    name: str
    rows: int
    words: int
    decode: bool
    heads: int
    fused: bool


class Body:
    """Instructions of one body, and the state of the code around the next one.

    Parameters
    ----------
    plan
        Of the body.

    Members
    -------
    drafts
        So far.
    operation
        Name of the operation that the next instructions belong to.
    plane
        Bitmask plane of the tokens that they run for; None for all.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.drafts: list[Draft] = []
        self.operation = ""
        self.plane: Buffer | None = None
        self._labels: list[str] = []

    def emit(
        self,
        name: str,
        values: dict[str, Value],
        *,
        reads: tuple[Span, ...] = (),
        writes: tuple[Span, ...] = (),
        note: str = "",
        target: str = "",
        every: bool = False,
    ) -> None:
        """Append an instruction; `every`: it has nothing to do with the plane."""
        if self.plane is not None and not every:
            values = {"plane": At(self.plane), **values}
            reads = (*reads, Span(self.plane))
        self.drafts.append(
            Draft(
                name=name,
                values=values,
                reads=reads,
                writes=writes,
                operation=self.operation,
                note=note,
                target=target,
                labels=self._labels,
            )
        )
        self._labels = []

    def label(self, name: str) -> None:
        """Label the next instruction."""
        self._labels.append(name)

    def buffer(self, name: str, store: Store, size: int) -> Buffer:
        """Return a new buffer."""
        return Buffer(name=f"{self.plan.name}.{name}", store=store, size=size)

    def matrix(self, name: str, lines: int) -> Matrix:
        """Return a new matrix with a row of `lines` for each token of the tile."""
        buffer = self.buffer(name, Store.SCRATCHPAD, self.plan.rows * lines)
        return Matrix(buffer=buffer, lines=lines, pitch=lines if self.plan.rows > 1 else 0)

    def vector(self, name: str, lines: int) -> Matrix:
        """Return a new row that serves every token."""
        return Matrix(buffer=self.buffer(name, Store.SCRATCHPAD, lines), lines=lines, pitch=0)

    def statistic(self, name: str, values: int) -> Buffer:
        """Return new statistics: `values` words for each token."""
        return self.buffer(name, Store.STATISTICS, values * self.plan.words)
