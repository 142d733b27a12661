"""Instructions that the sequencer runs itself."""

from hwroute.isa.fields import Opcode, Unit
from hwroute.isa.parts import TARGET, register, unsigned

CONTROL = (
    Opcode(
        name="halt",
        code=0x01,
        unit=Unit.CONTROL,
        fields=(),
        doc="Wait for every unit, then end the program.",
    ),
    Opcode(
        name="sync",
        code=0x02,
        unit=Unit.CONTROL,
        fields=(),
        doc="Wait until the units of ``wait`` have finished all they were given.",
    ),
    Opcode(
        name="set",
        code=0x03,
        unit=Unit.CONTROL,
        fields=(register("d", "destination"), unsigned("value", 32, "new value")),
        doc="d = value.",
        writes="register",
    ),
    Opcode(
        name="add",
        code=0x04,
        unit=Unit.CONTROL,
        fields=(register("d", "destination"), register("a", "addend"), register("b", "addend")),
        doc="d = a + b, modulo 2**32.",
        writes="register",
    ),
    Opcode(
        name="sub",
        code=0x05,
        unit=Unit.CONTROL,
        fields=(
            register("d", "destination"),
            register("a", "minuend"),
            register("b", "subtrahend"),
        ),
        doc="d = a - b, modulo 2**32.",
        writes="register",
    ),
    Opcode(
        name="min",
        code=0x06,
        unit=Unit.CONTROL,
        fields=(
            register("d", "destination"),
            register("a", "first value"),
            unsigned("value", 32, "other value"),
        ),
        doc="d = the smaller of a and value, unsigned.",
        writes="register",
    ),
    Opcode(
        name="jump",
        code=0x08,
        unit=Unit.CONTROL,
        fields=(TARGET,),
        doc="Go on at target.",
    ),
    Opcode(
        name="branch.empty",
        code=0x09,
        unit=Unit.CONTROL,
        fields=(TARGET,),
        doc="Go on at target if no token of the tile is in the plane. "
        "``wait`` must hold the router, whose planes it reads.",
    ),
    Opcode(
        name="branch.zero",
        code=0x0A,
        unit=Unit.CONTROL,
        fields=(TARGET, register("a", "register to test")),
        doc="Go on at target if a = 0.",
    ),
    Opcode(
        name="branch.equal",
        code=0x0B,
        unit=Unit.CONTROL,
        fields=(TARGET, register("a", "one register"), register("b", "the other")),
        doc="Go on at target if a = b.",
    ),
    Opcode(
        name="loop",
        code=0x0C,
        unit=Unit.CONTROL,
        fields=(TARGET, register("d", "count")),
        doc="d = d - 1; go on at target unless it is now 0. d must not be 0 before.",
        writes="register",
    ),
)
