"""Payloads of the KV memory system's streams."""

from amaranth.lib import data

from hwroute.config import KVConfig
from hwroute.isa.fields import LINE_BYTES
from hwroute.kv import KVOp


def bits(count: int) -> int:
    """Return the width of a number from 0 to `count` - 1; at least 1."""
    return max(1, (count - 1).bit_length())


def request_layout(config: KVConfig) -> data.StructLayout:
    """Return a request: `KVOp`, and what it concerns (``token`` is a count where one is asked)."""
    return data.StructLayout(
        {
            "op": bits(len(KVOp)),
            "look_ahead": 1,
            "layer": bits(config.max_layers),
            "token": bits(config.max_tokens + 1),
        }
    )


def slot_layout(config: KVConfig) -> data.StructLayout:
    """Return a slot given to a token that executes."""
    return data.StructLayout(
        {
            "layer": bits(config.max_layers),
            "token": bits(config.max_tokens),
            "port": bits(config.hbm_ports),
            "slot": bits(config.port_slots),
        }
    )


def entry_layout(config: KVConfig) -> data.StructLayout:
    """Return a row of the directory."""
    return data.StructLayout(
        {
            "valid": 1,
            "source_layer": bits(config.max_layers),
            "port": bits(config.hbm_ports),
            "slot": bits(config.port_slots),
        }
    )


def order_layout(config: KVConfig) -> data.StructLayout:
    """Return one entry of an order, or its end.

    ``first``: it begins a round. ``end``: there is no entry here, the order is complete; every
    other field is 0. The rest is `hwroute.kv.ORDER_FIELDS`.
    """
    return data.StructLayout(
        {
            "end": 1,
            "first": 1,
            "token": bits(config.max_tokens),
            "hit": 1,
            "source_layer": bits(config.max_layers),
            "port": bits(config.hbm_ports),
            "slot": bits(config.port_slots),
            "keep": 1,
            "bank": bits(config.buffer_banks),
            "place": bits(config.bank_places),
        }
    )


def beat_layout(config: KVConfig) -> data.ArrayLayout:
    """Return one beat of a port on the core's side, in words of 64 bits."""
    return data.ArrayLayout(64, config.beat_bits // 64)


def exponent_beats(config: KVConfig) -> int:
    """Return the most beats that the exponents of an entry's V take, one byte for each line."""
    lines = config.entry_beats * config.beat_bits // (8 * LINE_BYTES)
    return max(1, -(-lines * 8 // config.beat_bits))


def value_beat(config: KVConfig) -> int:
    """Return the beat at which V begins in a place of the history buffer, behind K and exponents.

    It is also the most beats of one entry of a pass.
    """
    return config.entry_beats + exponent_beats(config)


def place_beats(config: KVConfig) -> int:
    """Return the beats of a place of the history buffer: K, exponents and V."""
    return value_beat(config) + config.entry_beats


def pass_layout(config: KVConfig) -> data.StructLayout:
    """Return one entry of a pass: ``beats`` of its K, or with ``value`` set of its V."""
    return data.StructLayout(
        {"value": 1, "beats": bits(value_beat(config) + 1), "entry": order_layout(config)}
    )
