"""Payloads between the KV unit, which brings entries, and the array's attention instructions.

An order (`hwroute.rtl.kv_scheduler`) is gone through in *sweeps*: each brings a range of lines of
the K, or of the V, of every entry. Its entries come in *batches*, the rounds of the order: no two
entries of a batch have the same *source*, a bank of the history buffer or an HBM port, so that
each source brings its entry's lines one by one while the others bring theirs.
"""

from amaranth.lib import data

from hwroute.config import Config
from hwroute.errors import InputError
from hwroute.isa.table import BY_NAME
from hwroute.rtl.column_ports import ColumnShape
from hwroute.rtl.kv_layouts import bits

VECTOR_LINE_BITS = BY_NAME["kv.write"].by_name["lines"].bits
"""Of the number of a line of a K or V vector, and of how many there are."""
EXPONENT_BITS = 5
"""Of the biased exponent of an FP16."""


def source_count(config: Config) -> int:
    """Return the number of sources: banks 0, 1, ..., then HBM ports 0, 1, ...

    Raises
    ------
    InputError
        They are more than the FP16xFP16 columns, of which each source has one.
    """
    sources = config.kv.buffer_banks + config.kv.hbm_ports
    columns = ColumnShape.of(config).fp16_columns
    if sources > min(columns, 64):
        raise InputError(
            f"kv.buffer_read_ports + kv.hbm_ports must be at most {min(columns, 64)}, the "
            f"FP16xFP16 columns of an array of {config.array.columns}, not {sources}"
        )
    return sources


SWEEP = data.StructLayout({"value": 1, "line": VECTOR_LINE_BITS, "lines": VECTOR_LINE_BITS})
"""Ask for lines ``line`` to ``line + lines - 1`` of every entry's K, or with ``value`` of its V."""


def batch_layout(config: Config) -> data.StructLayout:
    """Return which sources bring an entry of a batch.

    Fields: ``sources``, for each whether it is ``valid`` (brings one), the entry's ``index`` in the
    batch (entries of a batch follow each other in the order) and its ``token``; ``count``, entries;
    ``last``, the batch is the sweep's last. The sweep of an empty order has one batch, of none.
    """
    sources = source_count(config)
    source = data.StructLayout(
        {"valid": 1, "index": bits(sources), "token": bits(config.kv.max_tokens)}
    )
    return data.StructLayout(
        {"sources": data.ArrayLayout(source, sources), "count": range(sources + 1), "last": 1}
    )


def entries_shape(config: Config) -> range:
    """Return the shape of a number of entries."""
    return range(config.kv.max_tokens + 1)
