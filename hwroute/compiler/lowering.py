"""Lower the operations of a body to instructions, one segment after the other."""

from collections.abc import Callable

from hwroute.compiler.attention import write_attention
from hwroute.compiler.context import Body, Target
from hwroute.compiler.draft import At, Buffer, Matrix, Span, Store, Value
from hwroute.compiler.layout import paired_operations
from hwroute.compiler.products import (
    Norm,
    output_lines,
    pieces,
    product_of,
    write_product,
)
from hwroute.compiler.schedule import Segment
from hwroute.isa.fields import LINE_ELEMENTS, lines_of
from hwroute.memory_map import Content
from hwroute.operations import Operation, Operator
from hwroute.policy_terms import KVRule

DIRECTORY = Buffer(name="directory", store=Store.STATE, size=1)
ORDER = Buffer(name="order", store=Store.STATE, size=1)
ENTRIES = Buffer(name="entries", store=Store.STATE, size=1)
"""K and V in HBM."""


class Lowering:
    """Turn operations into instructions.

    Parameters
    ----------
    body
        Where they go.
    target
        Model and overlay.
    operations
        The whole list.
    x
        The residual.
    every
        Plane of operations without a predicate; None for every token of the tile.
    """

    def __init__(
        self,
        body: Body,
        target: Target,
        operations: tuple[Operation, ...],
        x: Matrix,
        every: Buffer | None = None,
    ):
        self.body = body
        self.target = target
        self.x = x
        self.every = every
        body.plane = every
        self.dim_lines = lines_of(target.shape.dim)
        self.matrices: dict[str, Matrix] = {}
        self.statistics: dict[str, At] = {}
        self.planes: dict[str, Buffer] = {}
        self.vectors: dict[str, Matrix] = {}
        self.norm: Norm | None = None
        """A norm that the next product is to write."""
        self.paired = paired_operations(operations)
        self.ups = set(self.paired.values())
        self.operations = operations
        self._branch = ""
        self._dealt: int | None = None
        self._handlers: dict[Operator, Callable[[Operation], None]] = {
            Operator.EMBED: self._embed,
            Operator.REDUCE: self._reduce,
            Operator.DECIDE: self._decide,
            Operator.NORMALISE: self._normalise,
            Operator.MATMUL: self._matmul,
            Operator.ROTATE: self._rotate,
            Operator.KV_WRITE: self._kv_write,
            Operator.KV_ORDER: self._kv_order,
            Operator.SCORES: self._scores,
            Operator.ATTEND: self._attend,
            Operator.ADD: self._add,
            Operator.HEAD: self._head,
        }

    def segment(self, segment: Segment, following: Segment) -> None:
        """Write a sub-layer, and in front of it the loads for the one that follows."""
        self.load_vectors(following)
        for operation in segment:
            self._follow_plane(operation)
            self.body.operation = operation.name
            handler = self._handlers.get(operation.operator)
            # SwiGLU and the argmax stand with the products that they take up.
            if handler is not None:
                handler(operation)
        self.close()

    def close(self) -> None:
        """End the code that a branch may jump over."""
        if self._branch:
            self.body.operation = ""
            self.body.plane = self.every
            self.body.label(self._branch)
            self.body.emit("sync", {}, every=True)
            self._branch = ""

    def _follow_plane(self, operation: Operation) -> None:
        """Where the plane changes, end the last branch and begin another."""
        plane = self.planes[operation.predicate] if operation.predicate else self.every
        if plane is self.body.plane:
            return
        self.close()
        self.body.plane = plane
        if plane is not self.every:
            sub_layer = ".".join(operation.name.split(".")[:3])
            self._branch = f"{self.body.plan.name}.{sub_layer}.end"
            self.body.operation = sub_layer
            self.body.emit(
                "branch.empty", {}, target=self._branch, note="no token executes it: skip it"
            )

    def load_vectors(self, segment: Segment) -> None:
        """Load the routers, gains and biases of a segment."""
        for operation in segment:
            if operation.operator in (Operator.REDUCE, Operator.NORMALISE):
                names = operation.weights
            elif operation.operator is Operator.MATMUL:
                names = operation.weights[1:]
            else:
                continue
            for name in names:
                self._load_vector(name)

    def _load_vector(self, name: str) -> None:
        region = self.target.memory.region(name)
        assert region.content is Content.VECTOR
        vector = self.body.vector(name, region.size)
        self.vectors[name] = vector
        self._load(vector, region.address, {"lines": region.size}, note=name)

    def load_tables(self) -> None:
        """Load the rotary tables of the tile's positions."""
        region = self.target.memory.region("rotary")
        lines = self.target.entry.head_lines
        for letter, offset in (("q", 0), ("k", lines)):
            table = self.body.matrix(f"rotary.{letter}", lines)
            self.matrices[f"rotary.{letter}"] = table
            rows: dict[str, Value] = {
                "lines": lines,
                "stride": 2 * lines,
                "index": "position",
                "per_row": 1,
            }
            self._load(table, region.address + offset, rows, note=f"rotary table of {letter}")

    def _load(self, to: Matrix, address: int, values: dict[str, Value], note: str) -> None:
        operation, self.body.operation = self.body.operation, ""
        self.body.emit(
            "load",
            {**to.fields("to"), "address": address, **values},
            writes=(to.span(),),
            note=note,
            every=True,
        )
        self.body.operation = operation

    def _embed(self, operation: Operation) -> None:
        memory, shape = self.target.memory, self.target.shape
        self.body.emit(
            "gather",
            {
                **self.x.fields("to"),
                "table": memory.region("embedding").address,
                "ids": memory.region("ids").address,
                "vocabulary": shape.vocab,
                "lines": self.dim_lines,
            },
            writes=(self.x.span(),),
        )
        self.matrices[operation.outputs[0]] = self.x

    def _reduce(self, operation: Operation) -> None:
        plan = self.body.plan
        if plan.decode and operation.name.endswith(".attention.reduce"):
            values = self._order_values(operation)
            self.body.emit("kv.prepare", values, reads=(Span(DIRECTORY),), every=True)
        routed = bool(operation.weights)
        to = self.body.statistic(operation.name, 3 if routed else 1)
        values = {
            **self.x.fields("x"),
            "lines": self.dim_lines,
            "routed": int(routed),
            "to": At(to),
            "pitch": plan.words,
        }
        reads = [self.x.span()]
        if routed:
            router = self.vectors[operation.weights[0]]
            values["router"] = At(router.buffer)
            reads.append(router.span())
        self.body.emit("reduce", values, reads=tuple(reads), writes=(Span(to),))
        for index, name in enumerate(operation.outputs):
            self.statistics[name] = At(to, index * plan.words)

    def _decide(self, operation: Operation) -> None:
        rule, layer = operation.decision, operation.layer
        assert rule is not None
        assert layer is not None
        plane = self.body.buffer(operation.outputs[0], Store.PLANE, 1)
        values: dict[str, Value] = {
            "to": At(plane),
            "pitch": self.body.plan.words,
            "first_tokens": rule.first_tokens,
            "layer": layer,
            "kind": operation.name.split(".")[2],
        }
        reads: tuple[Span, ...] = ()
        if rule.forced is None:
            logits = self.statistics[operation.inputs[0]]
            values |= {"logits": logits, "mode": "compare"}
            values |= {"execute": rule.execute, "tie": int(rule.tie_executes)}
            reads = (Span(logits.buffer),)
        else:
            values["mode"] = "execute" if rule.forced else "skip"
        self.body.emit("decide", values, reads=reads, writes=(Span(plane),))
        self.planes[operation.outputs[0]] = plane
        if any(
            one.operator is Operator.KV_WRITE and one.predicate == operation.outputs[0]
            for one in self.operations
        ):
            self._deal(layer, plane)

    def _deal(self, layer: int, plane: Buffer | None) -> None:
        """Give slots to the tokens of a plane; in front of the branch, since others follow."""
        values: dict[str, Value] = {"layer": layer}
        reads: tuple[Span, ...] = ()
        if plane is not None:
            values["plane"] = At(plane)
            values["rule"] = "evict" if self.target.rule is KVRule.EVICT else "reuse"
            reads = (Span(plane),)
        self.body.emit("kv.deal", values, reads=reads, writes=(Span(DIRECTORY),), every=True)
        self._dealt = layer

    def _normalise(self, operation: Operation) -> None:
        out = self.body.matrix(operation.name, self.dim_lines)
        self.matrices[operation.outputs[0]] = out
        self.norm = Norm(
            x=self.x,
            out=out,
            gain=self.vectors[operation.weights[0]],
            squares=self.statistics[operation.inputs[1]].buffer,
            operation=operation.name,
        )

    def _matmul(self, operation: Operation) -> None:
        if operation.index in self.ups:
            return
        norm, self.norm = self.norm, None
        if operation.index in self.paired:
            self._gated(operation, norm)
            return
        weight, *bias = operation.weights
        vector = self.vectors[bias[0]] if bias else None
        product = product_of(self.target, weight, self.matrices[operation.inputs[0]], vector)
        out = self.body.matrix(operation.name, output_lines(product, product.size.outputs))
        columns = range(product.size.outputs)
        write_product(self.body, self.target, product, columns, out, norm=norm)
        self.matrices[operation.outputs[0]] = out

    def _gated(self, gate: Operation, norm: Norm | None) -> None:
        """Write gate and up, whose outputs alternate, and SwiGLU a piece behind them."""
        product = product_of(self.target, gate.weights[0], self.matrices[gate.inputs[0]])
        swiglu = next(one for one in self.operations if gate.outputs[0] in one.inputs)
        hidden = self.body.matrix(swiglu.name, lines_of(self.target.shape.ffn_dim))
        self.matrices[swiglu.outputs[0]] = hidden
        waiting: list[tuple[Matrix, range]] = []
        outputs = product.size.outputs
        parts = pieces(outputs, 2 * LINE_ELEMENTS) if self.body.plan.fused else [range(outputs)]
        for part in parts:
            pairs = self.body.matrix(f"{gate.name}.{part.start}", output_lines(product, len(part)))
            write_product(self.body, self.target, product, part, pairs, first=part.start, norm=norm)
            norm = None
            waiting.append((pairs, part))
            if len(waiting) > 1:
                self._swiglu(swiglu, hidden, *waiting.pop(0))
        self._swiglu(swiglu, hidden, *waiting.pop())

    def _swiglu(self, operation: Operation, hidden: Matrix, pairs: Matrix, part: range) -> None:
        before, self.body.operation = self.body.operation, operation.name
        start, stop = (end // (2 * LINE_ELEMENTS) for end in (part.start, part.stop))
        self.body.emit(
            "swiglu",
            {**pairs.fields("x"), **hidden.fields("out", start), "lines": stop - start},
            reads=(pairs.span(),),
            writes=(hidden.span(start, stop),),
            note=f"lines {start} to {stop - 1}",
        )
        self.body.operation = before

    def _rotate(self, operation: Operation) -> None:
        vectors = self.matrices[operation.inputs[0]]
        head_lines = self.target.entry.head_lines
        table = self.matrices[f"rotary.{operation.inputs[0].rpartition('.')[2]}"]
        self.body.emit(
            "rotate",
            {
                **vectors.fields("x"),
                **table.fields("table"),
                "heads": vectors.lines // head_lines,
                "head_lines": head_lines,
            },
            reads=(table.span(), vectors.span()),
            writes=(vectors.span(),),
        )
        self.matrices[operation.outputs[0]] = vectors

    def _kv_write(self, operation: Operation) -> None:
        layer = operation.layer
        assert layer is not None
        if self._dealt != layer:
            self._deal(layer, None)
        keys, values = (self.matrices[name] for name in operation.inputs)
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
        self.matrices[f"{layer}.k"], self.matrices[f"{layer}.v"] = keys, values

    def _order_values(self, operation: Operation) -> dict[str, Value]:
        layer, decode = operation.layer, self.body.plan.decode
        assert layer is not None
        ahead = decode and layer + 1 < self.target.shape.layers
        return {
            "layer": layer,
            "entries": "earlier" if decode else "all",
            "ahead": int(ahead),
        }

    def _kv_order(self, operation: Operation) -> None:
        values = self._order_values(operation)
        self.body.emit("kv.order", values, reads=(Span(DIRECTORY),), writes=(Span(ORDER),))

    def _scores(self, operation: Operation) -> None:
        self.matrices[operation.outputs[0]] = self.matrices[operation.inputs[0]]

    def _attend(self, operation: Operation) -> None:
        layer = operation.layer
        assert layer is not None
        out = self.body.matrix(operation.name, lines_of(self.target.shape.q_dim))
        write_attention(
            self.body,
            self.target,
            q=self.matrices[operation.inputs[0]],
            k=self.matrices[f"{layer}.k"],
            v=self.matrices[f"{layer}.v"],
            out=out,
            reads=(Span(ORDER), Span(ENTRIES)),
        )
        self.matrices[operation.outputs[3]] = out

    def _add(self, operation: Operation) -> None:
        addend = self.matrices[operation.inputs[1]]
        self.body.emit(
            "residual",
            {**self.x.fields("x"), **addend.fields("y"), "lines": self.dim_lines},
            reads=(self.x.span(), addend.span()),
            writes=(self.x.span(),),
        )
        self.matrices[operation.outputs[0]] = self.x

    def _head(self, operation: Operation) -> None:
        """Write the head in pieces, and the argmax a piece behind."""
        norm, self.norm = self.norm, None
        product = product_of(
            self.target,
            operation.weights[0],
            self.matrices[operation.inputs[0]],
            number_format="fp32",
        )
        waiting: list[tuple[Matrix, range]] = []
        multiple = max(self.target.config.array.columns, LINE_ELEMENTS)
        parts = pieces(product.size.outputs, multiple)
        for part in parts:
            logits = self.body.matrix(f"logits.{part.start}", output_lines(product, len(part)))
            write_product(
                self.body, self.target, product, part, logits, first=part.start, norm=norm
            )
            norm = None
            waiting.append((logits, part))
            if len(waiting) > 1:
                self._argmax(*waiting.pop(0), last=False)
        self._argmax(*waiting.pop(), last=True)

    def _argmax(self, logits: Matrix, part: range, *, last: bool) -> None:
        before, self.body.operation = self.body.operation, "argmax"
        self.body.emit(
            "argmax",
            {
                "x": At(logits.buffer),
                "count": len(part),
                "base": part.start,
                "first": int(part.start == 0),
                "last": int(last),
            },
            reads=(logits.span(),),
            note=f"tokens {part.start} to {part.stop - 1}",
        )
        self.body.operation = before
