"""The KV directory deals slots and finds entries as docs/kv.md says."""

from dataclasses import replace

import pytest

from hwroute.config import PRESETS
from hwroute.models.ops.kv import KVMemory
from hwroute.models.ops.kv_directory import Entry, KVDirectory, Slot

DEMO = PRESETS["demo"].kv


def test_tokens_of_a_layer_are_dealt_in_turn_and_slots_of_a_port_in_order() -> None:
    directory = KVDirectory(DEMO)
    assert [directory.write(0, token) for token in range(5)] == [
        Slot(0, 0), Slot(1, 0), Slot(2, 0), Slot(3, 0), Slot(0, 1)
    ]  # fmt: skip
    assert [directory.write(1, token) for token in (1, 2)] == [Slot(1, 1), Slot(2, 1)]
    assert directory.slots_used() == 7


def test_a_skipping_token_has_what_it_had_at_the_last_layer_that_it_executed() -> None:
    directory = KVDirectory(DEMO)
    directory.write(0, 0)
    directory.write(0, 1)
    directory.skip(1, 1)
    directory.skip(2, 1)
    assert directory.entry(2, 1) == directory.entry(0, 1) == Entry(True, 0, 1, 0)
    assert directory.entry(1, 1).source_layer == 0
    directory.write(1, 0)
    assert directory.reused(1, 2).tolist() == [False, True]


def test_slots_never_run_out_within_the_context() -> None:
    config = replace(DEMO, max_tokens=64, max_layers=5)
    directory = KVDirectory(config)
    slots = [
        directory.write(layer, token)
        for token in range(config.max_tokens)
        for layer in range(config.max_layers)
    ]
    assert len(set(slots)) == len(slots)
    assert max(slot.slot for slot in slots) == config.port_slots - 1


def test_reset_frees_every_slot() -> None:
    memory = KVMemory(DEMO)
    memory.write(0, 0)
    memory.reset()
    assert memory.directory.slots_used() == 0
    assert memory.write(0, 0) == Slot(0, 0)


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([("write", 8, 0)], "KV layer must be from 0 to 7, not 8"),
        ([("write", 0, 256)], "KV token must be from 0 to 255, not 256"),
        ([("write", 0, 3), ("write", 0, 3)], "KV token must be new at layer 0, not 3"),
        ([("skip", 0, 3)], "KV reuse layer must be at least 1"),
        ([("skip", 1, 3)], "KV token must be written or skipped at layer 0, not 3"),
        ([("entry", 1, 3)], "KV token must be written or skipped at layer 1, not 3"),
        ([("write", 0, 0), ("entries", 0, 2)], "written or skipped at layer 0, not 1"),
        ([("entries", 0, 257)], "KV count must be from 0 to 256, not 257"),
        ([("entries", 8, 1)], "KV layer must be from 0 to 7, not 8"),
    ],
)
def test_what_the_directory_refuses(calls: list[tuple[str, int, int]], message: str) -> None:
    directory = KVDirectory(DEMO)
    for name, layer, value in calls[:-1]:
        getattr(directory, name)(layer, value)
    name, layer, value = calls[-1]
    with pytest.raises(ValueError, match=message):
        getattr(directory, name)(layer, value)
