"""What must emerge from the HBM model, beside what was measured on boards."""

from dataclasses import replace

import pytest
import simpy

from hwroute.sim.device import Hbm, load_device
from hwroute.sim.memory.closed_form import refresh_ticks, stream_share, stream_ticks
from hwroute.sim.memory.hbm import HbmMemory, Process, bursts
from hwroute.sim.memory.measure import (
    idle_cycles,
    pattern_gb_s,
    random_pattern,
    sequential_gb_s,
    strided_pattern,
)

HBM = load_device("u280").hbm
PEAK = HBM.channel_gb_s


def share(pattern_bytes: int, outstanding: int, *, seed: int = 1, count: int = 3000) -> float:
    pattern = random_pattern(HBM, pattern_bytes, seed)
    rate = pattern_gb_s(HBM, pattern, size=pattern_bytes, count=count, outstanding=outstanding)
    return rate / PEAK


def test_a_lone_read_takes_what_was_measured() -> None:
    """Shuhai on the U280: 48, 55 and 62 cycles of 450 MHz."""
    assert idle_cycles(HBM) == (55, 48, 62)


def test_32_ports_in_sequence_reach_the_measured_rate() -> None:
    """425 GB/s (Shuhai) and 421.3 GB/s (the vendor's example), within 2 per cent."""
    rate = sequential_gb_s(HBM, ports=32, size=400 * 512)
    assert 421 * 0.98 < rate < 425 * 1.02


def test_random_reads_of_128_bytes_reach_about_80_per_cent_of_a_channel() -> None:
    assert 0.80 * 0.95 < share(128, 64) < 0.80 * 1.05


def test_few_bursts_on_their_way_do_not_hide_the_latency() -> None:
    rates = [
        sequential_gb_s(HBM, ports=1, size=1000 * 512, outstanding=count) / PEAK
        for count in (1, 2, 4, 8, 16)
    ]
    assert rates == sorted(rates)
    # One burst of 16 cycles in every latency of 55 or 48 and 15 more.
    assert rates[0] == pytest.approx(16 / 70, rel=0.05)
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.1)
    assert rates[-1] == pytest.approx(stream_share(HBM), rel=0.01)


@pytest.mark.parametrize("write", [False, True])
def test_the_closed_form_is_within_a_per_cent_of_the_bursts(write: bool) -> None:
    size = 4000 * 512
    simulated = sequential_gb_s(HBM, ports=1, size=size, write=write)
    ticks = stream_ticks(HBM, size, write=write)
    assert size / ticks * HBM.dram_mhz / 1e3 == pytest.approx(simulated, rel=0.01)


def test_refresh_takes_the_share_that_its_timing_says() -> None:
    lost = refresh_ticks(HBM)
    assert lost == 5 + 14 + 234 + 14
    assert 1 - stream_share(HBM) == pytest.approx(lost / 3510)
    quick = replace(HBM, timing=replace(HBM.timing, refresh_ns=160))
    gained = sequential_gb_s(quick, ports=1, size=2000 * 512)
    assert gained == pytest.approx(stream_share(quick) * PEAK, rel=0.01)
    assert stream_share(quick) - stream_share(HBM) == pytest.approx(90 / 3510)


def test_a_change_between_reads_and_writes_costs_bus_time() -> None:
    # A controller that may choose takes reads together, and writes.
    in_order = replace(HBM, reorder=1)

    def rate(run: int, hbm: Hbm = in_order) -> float:
        return pattern_gb_s(
            hbm,
            strided_pattern(HBM, 512),
            size=512,
            count=2000,
            outstanding=32,
            writes=lambda number: number // run % 2,
        )

    alternating, grouped = rate(1), rate(16)
    assert alternating < 0.85 * grouped < 0.85 * PEAK
    assert rate(1, HBM) > 1.1 * alternating
    # Both ways: to write, what is left of the read's data; to read, write latency, data and tWTR.
    one_way = sequential_gb_s(HBM, ports=1, size=2000 * 512)
    lost = 512 / alternating - 512 / one_way
    assert 3 < lost < 16


def test_the_switch_gives_half_and_a_late_answer_holds_up_the_rest() -> None:
    rate = pattern_gb_s(
        HBM, strided_pattern(HBM, 512), size=512, count=2000, outstanding=32, channel=5
    )
    assert rate == pytest.approx(0.5 * PEAK, rel=0.02)
    env = simpy.Environment()
    port = HbmMemory(env, HBM).port(0, 32)
    ends: dict[str, int] = {}

    def read(name: str, channel: int, size: int, start: int) -> Process:
        yield env.timeout(start)
        yield env.process(port.transfer(0, size, channel=channel))
        ends[name] = env.now

    env.process(read("far", 5, 4096, 0))
    env.process(read("own", 0, 32, 1))
    env.run(10_000)
    assert ends["own"] > ends["far"] - HBM.path_ticks


def test_strides_that_stay_in_a_bank_are_slow_and_long_bursts_help() -> None:
    row = 32 << (HBM.address.column + 4)

    def rate(size: int, stride: int) -> float:
        return pattern_gb_s(
            HBM, strided_pattern(HBM, stride), size=size, count=1500, outstanding=32
        )

    surface = {
        (size, stride): rate(size, stride) for size in (64, 256, 512) for stride in (512, row)
    }
    for size in (64, 256, 512):
        assert surface[size, row] < 0.8 * surface[size, 512]
    for stride in (512, row):
        rates = [surface[size, stride] for size in (64, 256, 512)]
        assert rates == sorted(rates)
    # One bank group pair, a row each time: a burst in every tRC.
    cycle = HBM.timing.activate_to_activate / HBM.dram_mhz * 1e3
    assert surface[64, row] == pytest.approx(64 / cycle, rel=0.15)


def test_no_byte_is_lost_and_no_channel_beats_its_peak() -> None:
    env = simpy.Environment()
    memory = HbmMemory(env, HBM)
    moves = [
        env.process(memory.port(index, 16).transfer(96, 10_016, write=index % 2 == 1))
        for index in range(8)
    ]
    env.run(env.all_of(moves))
    assert memory.bytes == 8 * 10_016
    assert memory.bytes / env.now * HBM.dram_mhz / 1e3 < 8 * PEAK


def test_a_smaller_dram_clock_and_fewer_ports_are_never_faster() -> None:
    rates = [sequential_gb_s(HBM, ports=ports, size=200 * 512) for ports in (1, 2, 4)]
    assert rates == sorted(rates)


@pytest.mark.parametrize(
    ("address", "size", "expected"),
    [
        (0, 32, [(0, 32)]),
        (0, 1024, [(0, 512), (512, 512)]),
        (480, 64, [(480, 32), (512, 32)]),
        (4064, 64, [(4064, 32), (4096, 32)]),
    ],
)
def test_bursts_are_aligned(address: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert bursts(address, size, 512) == expected


@pytest.mark.parametrize(("address", "size"), [(0, 0), (16, 32), (0, 48)])
def test_a_transfer_of_parts_of_atoms_is_refused(address: int, size: int) -> None:
    with pytest.raises(ValueError, match="Transfer must be of a positive multiple of 32 bytes"):
        bursts(address, size, 512)


def test_two_runs_are_equal() -> None:
    assert share(128, 16, count=500) == share(128, 16, count=500)


def test_the_hbm_type_checks_its_clocks() -> None:
    with pytest.raises(ValueError, match="dram_mhz must be a multiple"):
        Hbm(**{**vars(HBM), "port_mhz": 400})
