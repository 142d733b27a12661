"""Random instructions that leave what any other may use, so that they may stand anywhere."""

from collections.abc import Callable

from hwroute.isa.fields import Register, Unit
from hwroute.isa.instruction import unit_mask
from hwroute.sim.random_programs.moves import write_gather, write_load, write_store
from hwroute.sim.random_programs.products import write_matmul
from hwroute.sim.random_programs.setting import VOCABULARY
from hwroute.sim.random_programs.vectors import (
    write_argmax,
    write_normalise,
    write_reduce,
    write_residual,
    write_rotate,
    write_swiglu,
)
from hwroute.sim.random_programs.writer import Writer


def write_put(writer: Writer) -> None:
    """Put a register whose value is an id, or the token that argmax finds."""
    ids = writer.setting.memory.region("ids").address
    legal = [name for name, value in writer.known.items() if value < VOCABULARY]
    value = writer.choose((Register.ZERO, Register.POSITION, *legal))
    if writer.chance(0.4):
        write_argmax(writer)
        writer.emit("sync", wait=unit_mask([Unit.NPE]))
        value = Register.TOKEN
    writer.emit("put", ids=ids, value=value)


def write_decide(writer: Writer, *, layer: int = 0, first: bool = False) -> int:
    """Write a plane by one of the modes and return its number.

    With `first` the first token of a sequence is in it.
    """
    mode = writer.choose(("compare", "compare", "compare", "execute", "skip"))
    to = writer.upto(writer.setting.config.memory.planes - 1)
    group = writer.group()
    if mode == "compare" and writer.chance(0.5):
        group = write_reduce(writer, plane=0)
    tokens = writer.choose((0, 0, 0, writer.position + writer.upto(3)))
    writer.emit(
        "decide",
        to=to,
        logits=group + writer.pitch,
        pitch=writer.pitch,
        mode=writer.choice("decide", "mode", mode),
        execute=writer.random.randrange(2),
        tie=writer.chance(0.5),
        first_tokens=max(1, tokens) if first else tokens,
        layer=layer,
        kind=writer.random.randrange(2),
    )
    writer.planes.add(to)
    return to


def write_select(writer: Writer, *, to: int = 0) -> int:
    """Write the plane of the last row, `to` or any, and return its number."""
    to = to or writer.upto(writer.setting.config.memory.planes - 1)
    writer.emit("select", to=to)
    writer.planes.add(to)
    return to


def write_registers(writer: Writer) -> None:
    """Compute with free registers."""
    known = writer.known
    d = writer.choose((Register.T2, Register.T3, Register.ZERO))
    a, b = (writer.choose((Register.ZERO, *known)) for _ in range(2))
    first, second = known.get(a, 0), known.get(b, 0)
    name = writer.choose(("set", "add", "sub", "min"))
    constant = writer.choose((0, 0, 1, 5, 60, 0xFFFFFFFF))
    if name == "set":
        writer.emit("set", d=d, value=constant)
        value = constant
    elif name == "min":
        writer.emit("min", d=d, a=a, value=constant)
        value = min(first, constant)
    else:
        writer.emit(name, d=d, a=a, b=b)
        value = first + second if name == "add" else first - second
    if d is not Register.ZERO:
        known[d] = value & 0xFFFFFFFF


PIECES: tuple[Callable[[Writer], object], ...] = (
    write_load,
    write_store,
    write_gather,
    write_put,
    write_argmax,
    write_matmul,
    write_matmul,
    write_reduce,
    write_normalise,
    write_rotate,
    write_swiglu,
    write_residual,
    write_decide,
    write_decide,
    write_select,
    write_registers,
)
"""What may stand anywhere."""


def write_pieces(writer: Writer, largest: int) -> None:
    """Write up to so many of them."""
    for _ in range(writer.random.randrange(largest + 1)):
        writer.choose(PIECES)(writer)
