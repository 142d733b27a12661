"""Lower the operations of a body to instructions, one segment after the other."""

from collections.abc import Callable

from hwroute.compiler.context import Body, Target
from hwroute.compiler.draft import At, Buffer, Matrix, Span, Store, Value
from hwroute.compiler.kv_lowering import KVLowering
from hwroute.compiler.layout import paired_operations
from hwroute.compiler.piecewise import write_gated, write_head
from hwroute.compiler.products import Norm, output_lines, product_of, write_product
from hwroute.compiler.schedule import Segment
from hwroute.isa.fields import lines_of
from hwroute.memory_map import Content
from hwroute.operations import Operation, Operator


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
        self.kv = KVLowering(body, target, operations)
        self._branch = ""
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
        if operation.name.endswith(".attention.reduce"):
            assert operation.layer is not None
            self.kv.prepare(operation.layer)
        routed = bool(operation.weights)
        to = self.body.statistic(operation.name, 3 if routed else 1)
        values: dict[str, Value] = {
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
        self.kv.decided(layer, operation.outputs[0], plane)

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
        weight, *bias = operation.weights
        vector = self.vectors[bias[0]] if bias else None
        product = product_of(self.target, weight, self.matrices[operation.inputs[0]], vector)
        if operation.index in self.paired:
            swiglu = next(one for one in self.operations if operation.outputs[0] in one.inputs)
            hidden = self.body.matrix(swiglu.name, lines_of(self.target.shape.ffn_dim))
            self.matrices[swiglu.outputs[0]] = hidden
            write_gated(
                self.body,
                self.target,
                product,
                hidden=hidden,
                norm=norm,
                operation=swiglu.name,
            )
            return
        outputs = product.size.outputs
        out = self.body.matrix(operation.name, output_lines(product, outputs))
        write_product(self.body, self.target, product, range(outputs), out, norm=norm)
        self.matrices[operation.outputs[0]] = out

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

    def _add(self, operation: Operation) -> None:
        addend = self.matrices[operation.inputs[1]]
        self.body.emit(
            "residual",
            {**self.x.fields("x"), **addend.fields("y"), "lines": self.dim_lines},
            reads=(self.x.span(), addend.span()),
            writes=(self.x.span(),),
        )
        self.matrices[operation.outputs[0]] = self.x

    def _kv_write(self, operation: Operation) -> None:
        assert operation.layer is not None
        self.kv.write(operation.layer, *(self.matrices[name] for name in operation.inputs))

    def _kv_order(self, operation: Operation) -> None:
        assert operation.layer is not None
        self.kv.order(operation.layer)

    def _scores(self, operation: Operation) -> None:
        """Hand the queries on: both passes are written together, by pairs of heads."""
        self.matrices[operation.outputs[0]] = self.matrices[operation.inputs[0]]

    def _attend(self, operation: Operation) -> None:
        heads = self.kv.attend(self.matrices[operation.inputs[0]])
        self.matrices[operation.outputs[-1]] = heads

    def _head(self, operation: Operation) -> None:
        norm, self.norm = self.norm, None
        normed = self.matrices[operation.inputs[0]]
        product = product_of(self.target, operation.weights[0], normed, number_format="fp32")
        write_head(self.body, self.target, product, norm)
