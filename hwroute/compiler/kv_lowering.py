"""Lower what concerns K and V: slots, entries, their order, and the passes over them."""

from hwroute.compiler.attention import write_attention
from hwroute.compiler.context import Body, Target
from hwroute.compiler.draft import At, Buffer, Matrix, Span, Store, Value
from hwroute.isa.fields import lines_of
from hwroute.operations import Operation, Operator
from hwroute.policy_terms import KVRule

DIRECTORY = Buffer(name="directory", store=Store.STATE, size=1)
ORDER = Buffer(name="order", store=Store.STATE, size=1)
ENTRIES = Buffer(name="entries", store=Store.STATE, size=1)
"""K and V in HBM."""


class KVLowering:
    """The part of the lowering that knows the KV unit.

    Parameters
    ----------
    body
        Where instructions go.
    target
        Model and overlay.
    operations
        The whole list.
    """

    def __init__(self, body: Body, target: Target, operations: tuple[Operation, ...]):
        self.body = body
        self.target = target
        self._writers = {one.layer: one for one in operations if one.operator is Operator.KV_WRITE}
        self._dealt: int | None = None
        self._entry: tuple[Matrix, Matrix] | None = None
        """The tile's own K and V."""

    def prepare(self, layer: int) -> None:
        """In decode, let the unit sort the entries while it is decided whether they are read."""
        if self.body.plan.decode:
            values = self._order_values(layer)
            self.body.emit("kv.prepare", values, reads=(Span(DIRECTORY),), every=True)

    def decided(self, layer: int, name: str, plane: Buffer) -> None:
        """Where a plane decides who computes K and V, give slots at once.

        This stands in front of the branch, since the tokens outside the plane follow the rule even
        if all of them skip.
        """
        writer = self._writers.get(layer)
        if writer is not None and writer.predicate == name:
            self._deal(layer, plane)

    def _deal(self, layer: int, plane: Buffer | None) -> None:
        values: dict[str, Value] = {"layer": layer}
        reads: tuple[Span, ...] = ()
        if plane is not None:
            values["plane"] = At(plane)
            values["rule"] = "evict" if self.target.rule is KVRule.EVICT else "reuse"
            reads = (Span(plane),)
        self.body.emit("kv.deal", values, reads=reads, writes=(Span(DIRECTORY),), every=True)
        self._dealt = layer

    def write(self, layer: int, keys: Matrix, values: Matrix) -> None:
        """Write K and V of the tile."""
        if self._dealt != layer:
            self._deal(layer, None)
        # In decode nothing of this body reads what is written here.
        written = () if self.body.plan.decode else (Span(ENTRIES),)
        self.body.emit(
            "kv.write",
            {
                **keys.fields("k"),
                **values.fields("v"),
                "lines": self.target.entry.vector_lines,
                "layer": layer,
            },
            reads=(keys.span(), values.span(), Span(DIRECTORY)),
            writes=written,
        )
        self._entry = keys, values

    def _order_values(self, layer: int) -> dict[str, Value]:
        decode = self.body.plan.decode
        return {
            "layer": layer,
            "entries": "earlier" if decode else "all",
            "ahead": int(decode and layer + 1 < self.target.shape.layers),
        }

    def order(self, layer: int) -> None:
        """Order the entries of an attention."""
        values = self._order_values(layer)
        self.body.emit("kv.order", values, reads=(Span(DIRECTORY),), writes=(Span(ORDER),))

    def attend(self, q: Matrix) -> Matrix:
        """Write both passes over the entries; return the heads."""
        assert self._entry is not None
        k, v = self._entry
        out = self.body.matrix(self.body.operation, lines_of(self.target.shape.q_dim))
        reads = (Span(ORDER), Span(ENTRIES))
        write_attention(self.body, self.target, q=q, k=k, v=v, out=out, reads=reads)
        return out
