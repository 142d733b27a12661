"""Fields that several rows of the instruction table share."""

from hwroute.isa.fields import ADDRESS_BITS, PLANE, Field, Kind


def unsigned(name: str, bits: int, doc: str, least: int = 0) -> Field:
    """Return a field for a plain number."""
    return Field(name=name, bits=bits, kind=Kind.UNSIGNED, doc=doc, least=least)


def flag(name: str, doc: str) -> Field:
    """Return a field of one bit, yes or no."""
    return Field(name=name, bits=1, kind=Kind.FLAG, doc=doc)


def choice(name: str, choices: tuple[str, ...], doc: str) -> Field:
    """Return a field for one of a few names."""
    bits = max(1, (len(choices) - 1).bit_length())
    return Field(name=name, bits=bits, kind=Kind.CHOICE, doc=doc, choices=choices)


def register(name: str, doc: str) -> Field:
    """Return a field for a register of the sequencer."""
    return Field(name=name, bits=4, kind=Kind.REGISTER, doc=doc)


def address(name: str, kind: Kind, doc: str) -> Field:
    """Return an address in a memory."""
    return Field(name=name, bits=ADDRESS_BITS[kind], kind=kind, doc=doc)


def matrix(name: str, doc: str) -> tuple[Field, Field]:
    """Return address and row pitch of a matrix in the scratchpad."""
    return (
        address(name, Kind.SCRATCHPAD, f"{doc}: line of row 0"),
        unsigned(f"{name}_pitch", 12, f"{doc}: lines from row to row"),
    )


def row(name: str, doc: str) -> Field:
    """Return the address of a row in the scratchpad."""
    return address(name, Kind.SCRATCHPAD, doc)


def ddr(name: str, doc: str) -> Field:
    """Return an address in DDR."""
    return address(name, Kind.DDR, doc)


def hbm(name: str, doc: str) -> Field:
    """Return an address in HBM."""
    return address(name, Kind.HBM, doc)


def lines(doc: str = "length of a row, in lines") -> Field:
    """Return the field for the length of a row."""
    return unsigned("lines", 12, doc, least=1)


def statistic(name: str, doc: str) -> Field:
    """Return an address in the statistics memory."""
    return address(name, Kind.STATISTIC, doc)


TARGET = Field(
    name="target", bits=20, kind=Kind.TARGET, doc="index of the instruction to go on with"
)
TO_PLANE = Field(name="to", bits=PLANE.bits, kind=Kind.PLANE, doc="plane to write", least=1)
PITCH = unsigned("pitch", 9, "statistics words from one value of a row to its next", least=1)
"""Value k of row r is word ``address + k * pitch + r``."""
LAYER = unsigned("layer", 8, "number of the layer")
HEADS = (
    unsigned("heads", 8, "query heads of this pass", least=1),
    unsigned("first", 8, "number of the first of them"),
    unsigned("queries", 8, "query heads that share a KV head", least=1),
    unsigned("head_lines", 4, "length of a head, padded to lines", least=1),
)
INDEXED = (
    unsigned("stride", 16, "lines in DDR from one index to the next"),
    register("index", "times stride, added to the address"),
    lines(),
    flag("per_row", "a row for each token of the tile, the index counting up; else one"),
)
IDS = ddr("ids", "token ids, 32 bits each, that of position 0 first")
OWN = flag("own", "whether the tile's only token is an entry too, its K and V in the scratchpad")
COUNT = (
    choice(
        "entries",
        ("earlier", "all"),
        "tokens before the tile (decode), or those of the tile too (prefill)",
    ),
    flag("ahead", "whether the history buffer retains for the next layer (decode)"),
)
