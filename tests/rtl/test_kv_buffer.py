"""The history buffer gives every port and bank the data of the entries in their order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hwroute import timing
from hwroute.config import PRESETS, KVConfig
from hwroute.kv import ORDER_FIELDS, KVOp
from hwroute.models.ops.kv import KVMemory, KVRequest
from hwroute.paths import build_dir
from hwroute.rtl.emit import emit
from hwroute.rtl.kv_buffer import KVHistoryBuffer
from hwroute.rtl.kv_read_path import KVReadPath
from hwroute.sim.replay_kv import decode_log, replay
from hwroute.sim.units import Run, UnitSimulation

CONFIG: KVConfig = replace(
    PRESETS["demo"].kv, buffer_tokens=16, entry_beats=3, beat_bits=128, max_tokens=64
)


@pytest.fixture(scope="module")
def simulation() -> UnitSimulation:
    return UnitSimulation(KVReadPath(CONFIG), folder=build_dir())


def orders_of(log: list[KVRequest]) -> list[NDArray[np.int64]]:
    """Return the orders of the attentions of a log."""
    return [r.record for r in log if r.op is KVOp.ATTEND and r.record is not None]


def hits_of(log: list[KVRequest]) -> int:
    """Return the number of entries that the buffer gives."""
    return sum(int(order[:, ORDER_FIELDS.index("hit")].sum()) for order in orders_of(log))


def entry_data(row: list[int], value: int, beats: int, words: int) -> NDArray[np.int64]:
    """Return the beats [beats, words] of K or V of an entry: no two words of a run are equal."""
    _, token, _, source = row[:4]
    base = (source << 32) | (token << 16) | (value << 12)
    data = base + np.arange(beats * words, dtype=np.int64).reshape(beats, words)
    data[:, -1] = (1 << 62) - 1 - data[:, -1]
    return data


def streams(config: KVConfig, log: list[KVRequest], beats: int) -> dict[str, NDArray[np.int64]]:
    """Return what every port and bank gives for the attentions of a log."""
    words = config.beat_bits // 64
    parts: dict[str, list[NDArray[np.int64]]] = {
        **{f"port_{number}": [] for number in range(config.hbm_ports)},
        **{f"bank_{number}": [] for number in range(config.buffer_banks)},
    }
    for order in orders_of(log):
        for value in (0, 1):
            for row in order.tolist():
                name = f"bank_{row[7]}" if row[2] else f"port_{row[4]}"
                parts[name].append(entry_data(row, value, beats, words))
    empty = np.zeros((0, words), np.int64)
    return {name: np.concatenate([empty, *part]) for name, part in parts.items()}


def run(
    simulation: UnitSimulation,
    log: list[KVRequest],
    beats: int,
    stall: float,
    folder: Path,
    config: KVConfig = CONFIG,
) -> Run:
    """Run the attentions of a log and compare every beat."""
    expected = streams(config, log, beats)
    inputs = {"i": replay(log).outputs["o"]}
    inputs |= {f"hbm_{n}": expected[f"port_{n}"] for n in range(config.hbm_ports)}
    got = simulation.run(
        inputs,
        {name: len(part) for name, part in expected.items()},
        folder=folder,
        settings={"beats": beats},
        stall=stall,
        seed=5,
    )
    for name, part in expected.items():
        assert np.array_equal(got.outputs[name], part), name
    return got


@pytest.mark.cpp
@pytest.mark.parametrize("beats", [1, 3])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("skip", [0.0, 0.25, 0.5])
def test_every_beat_of_a_decode_comes_from_where_the_order_says(
    simulation: UnitSimulation, tmp_path: Path, skip: float, stall: float, beats: int
) -> None:
    log = decode_log(CONFIG, tokens=40, layers=6, skip=skip, seed=21)
    assert (hits_of(log) > 100) == (skip > 0)
    run(simulation, log, beats, stall, tmp_path)


@pytest.mark.cpp
def test_a_port_gives_a_beat_a_cycle_and_adds_the_stated_latency(
    simulation: UnitSimulation, tmp_path: Path
) -> None:
    log = decode_log(CONFIG, tokens=60, layers=1, skip=0.0, seed=22)
    got = run(simulation, log[-1:], 3, 0.0, tmp_path)
    for number in range(CONFIG.hbm_ports):
        entered, left = got.in_cycles[f"hbm_{number}"], got.out_cycles[f"port_{number}"]
        assert set((left - entered).tolist()) == {timing.KV_PORT_CYCLES}
    assert min(np.diff(entered)) == 1


def after_prefill(config: KVConfig, tokens: int, layers: int, skip: float) -> list[KVRequest]:
    """Record the attentions of the two tokens after a prompt with seeded random masks."""
    rng = np.random.default_rng(24)
    log: list[KVRequest] = []
    memory = KVMemory(config, log)
    memory.reset()
    for layer in range(layers):
        for token in range(tokens):
            (memory.skip if layer and rng.random() < skip else memory.write)(layer, token)
    for token in (tokens, tokens + 1):
        for layer in range(layers):
            memory.write(layer, token)
            memory.attend(layer, token, layer + 1 < layers)
    return log


@pytest.mark.slow
@pytest.mark.cpp
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_middle_size_gives_the_data_of_every_entry(tmp_path: Path, stall: float) -> None:
    """Eight ports, four banks, entries of 32 beats, and a buffer that is full for a while."""
    config = PRESETS["mid"].kv
    simulation = UnitSimulation(KVReadPath(config), folder=build_dir())
    full = after_prefill(config, tokens=300, layers=5, skip=0.9)
    kept = [order[:, ORDER_FIELDS.index("keep")].sum() for order in orders_of(full)]
    assert max(kept) == config.buffer_tokens
    log = [*full, *decode_log(config, tokens=24, layers=8, skip=0.35, seed=23)]
    assert hits_of(log) > 1000
    run(simulation, log, config.entry_beats, stall, tmp_path, config)


def test_the_buffer_is_written_at_full_size() -> None:
    text = emit(KVHistoryBuffer(PRESETS["u280"].kv), "kv_buffer")
    assert "module kv_buffer(" in text
    assert "hwroute_ram" in text
