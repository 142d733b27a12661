"""Random sequences of K and V: slots, entries and their order."""

from hwroute.isa.fields import Register
from hwroute.sim.random_programs.moves import write_load
from hwroute.sim.random_programs.passes import LINE_BEATS, Pass, random_shape
from hwroute.sim.random_programs.pieces import write_decide, write_pieces, write_select
from hwroute.sim.random_programs.setting import FP16
from hwroute.sim.random_programs.vectors import write_residual
from hwroute.sim.random_programs.writer import ALL, Label, Writer


class Sequence:
    """Write one sequence: a map, tiles, then steps of one token.

    Layer 0 has an entry for every token, or for those of a plane and at least the first; each
    layer above has what its rule says.

    Parameters
    ----------
    writer
        Where it goes.
    """

    def __init__(self, writer: Writer):
        self.writer = writer
        self.shape = random_shape(writer)
        self.dense = writer.chance(0.45)
        """Whether layer 0 has every token."""
        self.rule = writer.choice("kv.deal", "rule", writer.choose(("reuse", "reuse", "evict")))

    def write(self) -> None:
        """Write all of it."""
        writer = self.writer
        vector = self.shape.lines * LINE_BEATS
        writer.emit(
            "kv.map",
            # Slots are smaller than the region has them.
            base=writer.setting.memory.region("kv").address + writer.chance(0.1),
            vector=vector,
            exponents=1,
        )
        writer.position = 0
        writer.emit("set", d=Register.POSITION, value=0)
        for _ in range(writer.upto(2)):
            rows = writer.upto(writer.setting.tile)
            writer.set_rows(rows)
            write_pieces(writer, 3)
            for layer in range(self.shape.layers):
                self._layer(layer, step=False)
            self._advance(rows)
        steps = writer.choose((0, 1, 2, 3, 4))
        if steps:
            self._steps(steps)

    def _advance(self, rows: int) -> None:
        """Go on by the rows of the tile."""
        self.writer.emit("set", d=Register.T1, value=rows)
        self.writer.emit("add", d=Register.POSITION, a=Register.POSITION, b=Register.T1)
        self.writer.position += rows

    def _steps(self, count: int) -> None:
        """Write a loop of steps with one token each."""
        writer = self.writer
        head = Label()
        writer.emit("set", d=Register.T0, value=count)
        writer.put(head, ALL)
        writer.set_rows(1)
        # What the first time round knows the second does not.
        writer.known.clear()
        writer.position += count - 1
        write_pieces(writer, 3)
        for layer in range(self.shape.layers):
            self._layer(layer, step=True)
        self._advance(1)
        writer.go("loop", head, d=Register.T0)
        writer.known.clear()

    def _layer(self, layer: int, *, step: bool) -> None:
        """Write the attention of one layer."""
        writer = self.writer
        plane = 0
        rule = self.rule
        if layer == 0:
            rule = writer.choice("kv.deal", "rule", "evict")
        if not self.dense and not layer and not writer.position and writer.chance(0.8):
            # Rows before the last see nothing.
            plane = write_select(writer)
        elif (layer or not self.dense) and writer.chance(0.4 if step else 0.85):
            plane = write_decide(writer, layer=layer, first=layer == 0)
        if step and writer.chance(0.5):
            self._order("kv.prepare", layer, step=True, ahead=layer + 1 < self.shape.layers)
        writer.emit("kv.deal", plane=plane, layer=layer, rule=rule)
        end = Label()
        skipped = bool(plane) and writer.chance(0.5)
        if skipped:
            writer.go("branch.empty", end, plane=plane)
        # Rows that have no entry of their own may attend to others where there are some.
        some = not layer or rule == writer.choice("kv.deal", "rule", "reuse")
        rows = 0 if some and writer.chance(0.5) else plane
        early = step and writer.chance(0.5)
        ahead = step and layer + 1 < self.shape.layers and writer.chance(0.9)
        if early:
            self._order("kv.order", layer, step=step, ahead=ahead, plane=rows)
        entry = self._write_entry(layer, plane)
        if early or writer.chance(0.8):
            if not early:
                self._order("kv.order", layer, step=step, ahead=ahead, plane=rows)
            self._passes(rows, entry, step=step, divided=rows == plane or step)
            if rows and writer.chance(0.2):
                write_select(writer, to=rows)
        elif plane and writer.chance(0.6):
            write_select(writer, to=plane)
        if skipped:
            writer.put(end)
        # The plane stays what it is until the passes are written.
        write_pieces(writer, 2)

    def _order(self, name: str, layer: int, *, step: bool, ahead: bool, plane: int = 0) -> None:
        entries = self.writer.choice(name, "entries", "earlier" if step else "all")
        self.writer.emit(name, plane=plane, layer=layer, entries=entries, ahead=ahead)

    def _write_entry(self, layer: int, plane: int) -> tuple[dict[str, int], dict[str, int]]:
        """Write K and V of the tile and return where they are in the scratchpad."""
        writer = self.writer
        _, k = writer.matrix("k", self.shape.lines)
        _, v = writer.matrix("v", self.shape.lines)
        # What comes before must have come, and what comes behind may not overtake the reading.
        start = min(k["k"], FP16.stop - writer.setting.tile * self.shape.lines)
        if writer.chance(0.1):
            write_load(writer, to={"to": start, "to_pitch": self.shape.lines})
        writer.emit("kv.write", plane=plane, **k, **v, lines=self.shape.lines, layer=layer)
        if writer.chance(0.1):
            write_load(writer, to={"to": start, "to_pitch": self.shape.lines})
        elif writer.chance(0.15):
            write_residual(writer, x={"x": start, "x_pitch": self.shape.lines})
        return k, v

    def _passes(
        self,
        plane: int,
        entry: tuple[dict[str, int], dict[str, int]],
        *,
        step: bool,
        divided: bool,
    ) -> None:
        """Write the passes over all heads, one after the other or the values of all last."""
        writer, shape = self.writer, self.shape
        heads = shape.kv_heads * shape.queries
        cut = writer.upto(heads - 1) if heads > 1 and writer.chance(0.6) else heads
        parts = [range(cut)] + ([range(cut, heads)] if cut < heads else [])
        passes = [Pass(writer, shape, part, index) for index, part in enumerate(parts)]
        together = writer.chance(0.4)
        taken: list[range] = []
        for one in passes:
            one.write_scores(plane, entry[0], step=step, beside=taken)
            taken.append(one.scores)
            if not together:
                one.write_values(plane, entry[1], step=step, divided=divided, beside=taken)
        if together:
            for one in passes:
                one.write_values(plane, entry[1], step=step, divided=divided, beside=taken)
