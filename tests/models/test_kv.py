"""KV directory, rounds and history buffer keep their contract (docs/kv.md)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwroute.config import PRESETS, KVConfig
from hwroute.kv import ORDER_FIELDS, KVOp
from hwroute.models.ops.kv import KVMemory, KVRequest
from hwroute.models.ops.kv_directory import NO_ENTRY, Entry
from hwroute.models.ops.kv_rounds import HistoryBuffer, Round, Served, rounds_to_records

DEMO = PRESETS["demo"].kv
History = Callable[..., HistoryBuffer]
TINY = replace(DEMO, buffer_tokens=4, max_tokens=64, max_layers=6)
CONFIGS = [DEMO, TINY, PRESETS["mid"].kv, replace(DEMO, hbm_ports=2, buffer_write_ports=1)]


class Checker:
    """An own account of the buffer, kept from the rounds alone; refuses an impossible round."""

    def __init__(self, config: KVConfig):
        self.config = config
        self.contents: dict[tuple[int, int], tuple[int, int]] = {}

    def consume(self, rounds: list[Round]) -> None:
        for served in rounds:
            assert served, "a round must not be empty"
            hits = [entry for entry in served if entry.hit]
            misses = [entry for entry in served if not entry.hit]
            new = [entry for entry in misses if entry.keep]
            assert len({entry.bank for entry in hits}) == len(hits)
            assert len({entry.port for entry in misses}) == len(misses)
            assert len({entry.bank for entry in new}) == len(new)
            assert len(new) <= self.config.buffer_write_ports
            for entry in new:
                assert 0 <= entry.place < self.config.bank_places
                assert (entry.bank, entry.place) not in self.contents, "the place was taken"
            for entry in hits:
                held = self.contents[entry.bank, entry.place]
                assert held == (entry.token, entry.source_layer)
                if not entry.keep:
                    del self.contents[entry.bank, entry.place]
            for entry in new:
                self.contents[entry.bank, entry.place] = (entry.token, entry.source_layer)


def test_an_evicted_token_takes_no_part() -> None:
    memory = KVMemory(DEMO)
    for token in range(3):
        memory.write(0, token)
        (memory.evict if token == 1 else memory.write)(1, token)
    assert memory.directory.entry(1, 1) == NO_ENTRY
    memory.attend(0, 3, True)
    served = [entry.token for entries in memory.attend(1, 3, False) for entry in entries]
    assert served == [0, 2]


def test_an_invalid_buffer_takes_token_order_and_ends_a_round_at_a_collision(
    history_of: History,
) -> None:
    entries = [Entry(True, 0, port, 0) for port in (0, 1, 1, 2, 3, 0, 0)]
    rounds = history_of(DEMO, [entries], []).attend(0, 7, False)
    tokens = [[entry.token for entry in served] for served in rounds]
    assert tokens == [[0, 1], [2, 3, 4, 5], [6]]


def test_an_invalid_buffer_ends_a_round_where_the_writes_run_out(history_of: History) -> None:
    entries = [Entry(True, 0, port, 0) for port in (0, 1, 2, 3)]
    rounds = history_of(DEMO, [entries], [[], [True, True, False, True]]).attend(0, 4, True)
    assert rounds == [
        [
            Served(0, False, 0, 0, 0, True, 0, 0),
            Served(1, False, 0, 1, 0, True, 1, 0),
            Served(2, False, 0, 2, 0, False, 0, 0),
        ],
        [Served(3, False, 0, 3, 0, True, 0, 1)],
    ]


def test_a_valid_buffer_serves_banks_first_and_keeps_in_place_without_a_write(
    history_of: History,
) -> None:
    entries = [Entry(True, 0, port, 0) for port in (0, 1, 2, 3)]
    held = [True, True, False, False]
    again = [True, False, True, True]
    buffer = history_of(DEMO, [entries, entries], [[], held, again])
    buffer.attend(0, 4, True)
    assert buffer.attend(1, 4, True) == [
        [
            Served(0, True, 0, 0, 0, True, 0, 0),
            Served(1, True, 0, 1, 0, False, 1, 0),
            Served(2, False, 0, 2, 0, True, 1, 1),
            Served(3, False, 0, 3, 0, True, 0, 1),
        ]
    ]
    assert buffer.held == {0: (0, 0), 2: (1, 1), 3: (0, 1)}


def test_a_full_buffer_keeps_no_more_and_a_place_is_free_a_round_after_it_was_read(
    history_of: History,
) -> None:
    entries = [Entry(True, 0, token % 4, token) for token in range(12)]
    none, every, later = [False] * 12, [True] * 12, [False] * 4 + [True] * 8
    buffer = history_of(TINY, [entries] * 2, [none, every, later])
    first = buffer.attend(0, 12, True)
    assert sorted(buffer.held) == [0, 1, 2, 3]
    assert [entry.keep for served in first for entry in served] == [True] * 4 + [False] * 8
    second = rounds_to_records(buffer.attend(1, 12, True)).tolist()
    kept = [(row[0], row[1], row[7], row[8]) for row in second if row[6]]
    # Round 0 reads a place of each bank and keeps nothing: they are free from round 1 on.
    assert [row[1] for row in second if row[0] == 0] == [0, 1, 4, 5, 6, 7]
    assert kept == [(1, 8, 0, 0), (1, 9, 1, 0), (2, 10, 0, 1), (2, 11, 1, 1)]


def test_the_buffer_is_not_used_after_invalidation_or_at_another_layer(history_of: History) -> None:
    entries = [Entry(True, 0, 0, 0)]
    for harm in (lambda buffer: buffer.invalidate(), None):
        buffer = history_of(DEMO, [entries] * 3, [[True]] * 3)
        buffer.attend(0, 1, True)
        assert buffer.valid_for(1, 1)
        assert not buffer.valid_for(2, 1)
        assert not buffer.valid_for(1, 0)
        if harm is not None:
            harm(buffer)
            assert not buffer.valid_for(1, 1)
        layer = 1 if harm is not None else 2
        assert not buffer.attend(layer, 1, False)[0][0].hit
        assert buffer.held == {}


def test_no_token_no_round() -> None:
    memory = KVMemory(DEMO)
    assert memory.attend(0, 0, True) == []
    assert rounds_to_records([]).shape == (0, len(ORDER_FIELDS))


def test_the_log_holds_every_request_with_its_record() -> None:
    log: list[KVRequest] = []
    memory = KVMemory(DEMO, log)
    memory.reset()
    memory.write(0, 0)
    memory.skip(1, 0)
    memory.evict(2, 0)
    memory.prepare(0, 1, True)
    memory.attend(0, 1, True)
    memory.invalidate()
    assert [request.op for request in log] == [
        KVOp.RESET, KVOp.WRITE, KVOp.SKIP, KVOp.EVICT, KVOp.PREPARE, KVOp.ATTEND, KVOp.INVALIDATE
    ]  # fmt: skip
    record = log[5].record
    assert record is not None
    assert record.tolist() == [[0, 0, 0, 0, 0, 0, 1, 0, 0]]


@given(
    config=st.sampled_from(CONFIGS),
    skip_rate=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    evict_rate=st.sampled_from([0.0, 0.0, 0.3]),
    seed=st.integers(0, 2**32 - 1),
    tokens=st.integers(1, 24),
)
@settings(derandomize=True, max_examples=150, deadline=None)
def test_decoding_keeps_every_promise(
    config: KVConfig, skip_rate: float, evict_rate: float, seed: int, tokens: int
) -> None:
    rng = np.random.default_rng(seed)
    memory, checker = KVMemory(config), Checker(config)
    layers = 6
    for token in range(tokens):
        for layer in range(layers):
            if layer and rng.random() < skip_rate:
                (memory.evict if rng.random() < evict_rate else memory.skip)(layer, token)
                memory.invalidate()
                checker.contents.clear()
                continue
            memory.write(layer, token)
            ahead = layer + 1 < layers
            rounds = memory.attend(layer, token, ahead)
            if not memory.buffer.held:
                assert not any(entry.keep for served in rounds for entry in served)
            checker.consume(rounds)
            served = {entry.token: entry for entries in rounds for entry in entries}
            assert len(served) == sum(map(len, rounds)), "a token came twice"
            for other in range(token):
                entry = memory.directory.entry(layer, other)
                assert (other in served) == entry.valid
                if other in served:
                    mine = served[other]
                    assert (mine.source_layer, mine.port, mine.slot) == entry[1:]
            held = {where: other for other, where in memory.buffer.held.items()}
            assert held == {where: other for where, (other, _) in checker.contents.items()}
            if held:
                reused = memory.directory.reused(layer + 1, token)
                assert all(reused[other] for other in held.values())


def test_with_room_everything_that_the_next_layer_reuses_is_kept() -> None:
    rng = np.random.default_rng(3)
    memory = KVMemory(PRESETS["mid"].kv)
    for token in range(80):
        for layer in range(4):
            if layer and rng.random() < 0.5:
                memory.skip(layer, token)
                memory.invalidate()
                continue
            memory.write(layer, token)
            memory.attend(layer, token, layer < 3)
            wished = memory.directory.reused(layer + 1, token) if layer < 3 else np.zeros(0)
            assert sorted(memory.buffer.held) == np.flatnonzero(wished).tolist()
