"""Tables of what is known of each of many things, a table for the fields that are read together."""

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import data, memory


def field_table(
    m: Module,
    depth: int,
    write: tuple[Value, Value, Any],
    names: tuple[str, ...],
    at: Value,
) -> Any:
    """Add a table of some fields of all things; return those of the thing `at`, combinationally.

    Parameters
    ----------
    depth
        Number of things.
    write
        Whether one is written, its number, and all its fields.
    names
        Fields that the table keeps.
    at
        Number of the thing that is read.
    """
    en, index, thing = write
    fields = thing.shape()
    kept = data.StructLayout({name: fields[name].shape for name in names})
    table = memory.Memory(shape=kept, depth=depth, init=[])
    m.submodules[f"{names[0]}_table"] = table
    port, read = table.write_port(), table.read_port(domain="comb")
    m.d.comb += [
        port.en.eq(en),
        port.addr.eq(index),
        read.addr.eq(at),
        *(port.data[name].eq(thing[name]) for name in names),
    ]
    return read.data
