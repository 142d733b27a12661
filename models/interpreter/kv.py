"""The KV memory system: directory, order of entries, and the data of entries."""

import numpy as np
from numpy.typing import NDArray

from hwroute.isa.fields import BEAT_BYTES, LINE_BYTES, LINE_ELEMENTS
from hwroute.isa.instruction import Instruction
from hwroute.kv import ORDER_FIELDS
from hwroute.models.interpreter.journal import Space
from hwroute.models.interpreter.state import Ints, MachineError, State
from hwroute.models.ops.column_base import blocks_of
from hwroute.models.ops.kv import KVMemory
from hwroute.models.ops.kv_rounds import rounds_to_records
from hwroute.models.tile import Values
from hwroute.numerics import Bits16, decode_fp16

FIELD = {name: column for column, name in enumerate(ORDER_FIELDS)}
Bytes = NDArray[np.uint8]


class KVUnit:
    """The unit that knows where K and V are.

    Parameters
    ----------
    state
        What it works on.

    Members
    -------
    tokens
        Tokens of the entries of the current order, int64 [entries].
    """

    def __init__(self, state: State):
        self.state = state
        config = state.config.kv
        self.memory = KVMemory(config)
        self.tokens = np.zeros(0, np.int64)
        self._map: Instruction | None = None
        self._order = np.zeros((0, len(ORDER_FIELDS)), np.int64)
        self._entries: Bytes | None = None
        self._buffer: Bytes = np.zeros((config.buffer_banks, config.bank_places, 0), np.uint8)

    def reset(self) -> None:
        """Forget everything."""
        self._map = None
        self.tokens = np.zeros(0, np.int64)
        self._order = np.zeros((0, len(ORDER_FIELDS)), np.int64)
        self._entries = None

    def map(self, one: Instruction) -> Values:
        """Begin a sequence."""
        self._map = one
        self.memory.reset()
        slot_bytes = (2 * one["vector"] + one["exponents"]) * BEAT_BYTES
        self._buffer = np.zeros((*self._buffer.shape[:2], slot_bytes), np.uint8)
        return {}

    @property
    def _mapped(self) -> Instruction:
        if self._map is None:
            raise MachineError("kv.map must come before other instructions of the unit")
        return self._map

    def deal(self, one: Instruction) -> Values:
        """Give slots to the tokens of the plane."""
        state, layer = self.state, one["layer"]
        self._check_tokens(one, state.position + state.row_count)
        own = set(state.selected(one["plane"]).tolist())
        slots = []
        for row in range(state.row_count):
            token = state.position + row
            if row in own:
                slots.append(self.memory.write(layer, token))
            elif one.choice("rule") == "reuse":
                self.memory.skip(layer, token)
            else:
                self.memory.evict(layer, token)
        if not own:
            self.memory.invalidate()
        given = np.array(slots, np.int64).reshape(-1, 2)
        if state.journal:
            rows = np.array(sorted(own), np.int64)
            places = np.stack([np.full(len(rows), layer), state.position + rows], axis=1)
            state.journal.note(Space.SLOTS, "slots", rows, places, given)
        return {"slots": given}

    def _check_tokens(self, one: Instruction, tokens: int) -> None:
        config = self.memory.config
        for name, value, room in (
            ("layer", one["layer"], config.max_layers - 1),
            ("tokens", tokens, config.max_tokens),
        ):
            if value > room:
                raise MachineError(f"{one.name}: {name} must be at most {room}, not {value}")

    def _places(self, ports: Ints, slots: Ints) -> tuple[Ints, Ints]:
        """Return port and beat [n, slot beats] of every beat of slots."""
        layout = self._mapped
        beats = 2 * layout["vector"] + layout["exponents"]
        every = np.arange(beats)
        if layout.choice("mapping") == "token":
            return ports[:, None] + 0 * every, layout["base"] + slots[:, None] * beats + every
        count = len(self.state.hbm)
        linear = (slots * count + ports)[:, None] * beats + every
        return linear % count, layout["base"] + linear // count

    def write(self, one: Instruction) -> Values:
        """Write K, V and V's exponents to the slots of the tokens of the plane."""
        state, layout = self.state, self._mapped
        rows = state.selected(one["plane"])
        entries = [
            self.memory.directory.entry(one["layer"], state.position + int(row)) for row in rows
        ]
        ports = np.array([entry.port for entry in entries], np.int64)
        slots = np.array([entry.slot for entry in entries], np.int64)
        keys, values = (state.read(one, name, rows, one["lines"]) for name in ("k", "v"))
        data = np.zeros((len(rows), self._buffer.shape[2]), np.uint8)
        vector = layout["vector"] * BEAT_BYTES
        if one["lines"] * LINE_BYTES != vector:
            raise MachineError(
                f"kv.write.lines must be {vector // LINE_BYTES} (kv.map.vector), not {one['lines']}"
            )
        data[:, :vector] = keys.view(np.uint8)
        data[:, vector : vector + one["lines"]] = _exponents(values)
        data[:, -vector:] = values.view(np.uint8)
        port, beat = self._places(ports, slots)
        beats = data.reshape(len(rows), beat.shape[1], BEAT_BYTES)
        state.write_beats(port, state.slot_beats(one, beat), beats)
        return {"k": keys, "v": values}

    def prepare(self, one: Instruction) -> Values:
        """Start on an order; nothing changes."""
        self._check_tokens(one, self._count(one))
        return {}

    def _count(self, one: Instruction) -> int:
        position = self.state.position
        return position if one.choice("entries") == "earlier" else position + self.state.row_count

    def order(self, one: Instruction) -> Values:
        """Order the entries of an attention into rounds."""
        count = self._count(one)
        self._check_tokens(one, count)
        rounds = self.memory.attend(one["layer"], count, bool(one["ahead"]))
        self._order = rounds_to_records(rounds)
        self.tokens = self._order[:, FIELD["token"]]
        self._entries = None
        if self.state.journal:
            entries = np.arange(len(self._order))
            self.state.journal.note(Space.ORDER, "order", entries, entries, self._order)
        return {"order": self._order}

    def _data(self, one: Instruction) -> Bytes:
        """Return the bytes of the entries in order; the buffer keeps what it is to keep.

        Every entry passes once in an order. A place that is given back is filled again in a later
        round, behind the read, so all hits may be read first.
        """
        if self._entries is None:
            column = {name: self._order[:, index] for name, index in FIELD.items()}
            port, beat = self._places(column["port"], column["slot"])
            stored = self.state.hbm[port, self.state.slot_beats(one, beat)]
            data = stored.reshape(len(self._order), self._buffer.shape[2])
            hit = column["hit"] == 1
            bank, place = column["bank"], column["place"]
            data[hit] = self._buffer[bank[hit], place[hit]]
            kept = (column["keep"] == 1) & ~hit
            self._buffer[bank[kept], place[kept]] = data[kept]
            self._entries = data
        return self._entries

    def keys(self, one: Instruction, heads: Ints) -> Bits16:
        """Return keys [heads, entries, d] of some KV heads, in order."""
        vector = self._mapped["vector"] * BEAT_BYTES
        return self._heads(one, self._data(one)[:, :vector], heads)

    def values(self, one: Instruction, heads: Ints) -> Bits16:
        """Return values [heads, entries, d] of some KV heads, in order."""
        vector = self._mapped["vector"] * BEAT_BYTES
        return self._heads(one, self._data(one)[:, -vector:], heads)

    def _heads(self, one: Instruction, data: Bytes, heads: Ints) -> Bits16:
        self._check_heads(one, heads)
        rows = np.ascontiguousarray(data).view(np.uint16)
        length = one["head_lines"] * LINE_ELEMENTS
        by_head = rows.reshape(len(rows), rows.shape[1] // length, length)
        return by_head.transpose(1, 0, 2)[heads]

    def exponents(self, one: Instruction, heads: Ints) -> Ints:
        """Return the exponents [heads, entries, lines] of the values of some KV heads."""
        vector = self._mapped["vector"] * BEAT_BYTES
        count = vector // LINE_BYTES
        stored = self._data(one)[:, vector : vector + count].astype(np.int64)
        by_head = stored.reshape(len(stored), count // one["head_lines"], one["head_lines"])
        return by_head.transpose(1, 0, 2)[heads]

    def _check_heads(self, one: Instruction, heads: Ints) -> None:
        lines = self._mapped["vector"] * BEAT_BYTES // LINE_BYTES
        held = lines // one["head_lines"]
        if held * one["head_lines"] != lines or heads.max() >= held:
            raise MachineError(
                f"{one.name} must have heads of a vector of {lines} lines (kv.map.vector), "
                f"not {int(heads.max()) + 1} of {one['head_lines']}"
            )


def _exponents(values: Bits16) -> Bytes:
    """Return the largest biased exponent [rows, lines] in each line of FP16 [rows, n]."""
    exponents: Bytes = decode_fp16(blocks_of(values))[1].max(axis=-1).astype(np.uint8)
    return exponents
