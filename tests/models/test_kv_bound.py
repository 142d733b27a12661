"""Rounds over a valid buffer come close to the best order there is (docs/kv.md)."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest

from hwroute.config import PRESETS
from hwroute.models.ops.kv_directory import Entry
from hwroute.models.ops.kv_rounds import HistoryBuffer

DEMO = PRESETS["demo"].kv
History = Callable[..., HistoryBuffer]


@cache
def fewest_rounds(keep: tuple[int, ...], rest: tuple[int, ...], writes: int) -> int:
    """Search every way to serve `keep` and `rest` entries a port; the true minimum."""
    if not any(keep) and not any(rest):
        return 0
    return 1 + min(
        fewest_rounds(after_keep, after_rest, writes)
        for after_keep, after_rest in choices(keep, rest, writes, 0)
        if (after_keep, after_rest) != (keep, rest)
    )


def choices(
    keep: tuple[int, ...], rest: tuple[int, ...], writes: int, port: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield what can be left after one round; a port idles only to leave a write to another."""
    if port == len(keep):
        yield keep, rest
        return
    if keep[port] and writes:
        less = (*keep[:port], keep[port] - 1, *keep[port + 1 :])
        yield from choices(less, rest, writes - 1, port + 1)
    if rest[port]:
        less = (*rest[:port], rest[port] - 1, *rest[port + 1 :])
        yield from choices(keep, less, writes, port + 1)
    else:
        yield from choices(keep, rest, writes, port + 1)


def counts(length: int, total: int) -> Iterator[tuple[int, ...]]:
    if length == 0:
        yield ()
        return
    for first in range(total + 1):
        for others in counts(length - 1, total - first):
            yield (first, *others)


@pytest.mark.parametrize("writes", [1, 2])
def test_up_to_eight_tokens_need_at_most_half_as_many_rounds_again_as_the_best_order(
    history_of: History, writes: int
) -> None:
    """Exhaustive over the numbers of entries, to be kept or not, of three HBM ports."""
    config = replace(DEMO, buffer_write_ports=writes)
    excess: Counter[int] = Counter()
    for split in counts(6, 8):
        keep, rest = split[:3], split[3:]
        if not sum(split):
            continue
        ports = [port for part in (keep, rest) for port in range(3) for _ in range(part[port])]
        wishes = [index < sum(keep) for index in range(len(ports))]
        entries = [Entry(True, 0, port, 0) for port in ports]
        bits = [[], [False] * len(ports), wishes]
        buffer = history_of(config, [entries, entries], bits)
        buffer.attend(0, len(ports), True)
        rounds = len(buffer.attend(1, len(ports), True))
        best = fewest_rounds(keep, rest, writes)
        total = [kept + other for kept, other in zip(keep, rest, strict=True)]
        assert best == max(*total, -(-sum(keep) // writes))
        assert (
            best
            <= rounds
            <= max(
                count + ((sum(keep) - kept) // writes if kept else 0)
                for count, kept in zip(total, keep, strict=True)
            )
        )
        assert rounds <= 1.5 * best
        if writes == 1:
            assert rounds == best
        excess[rounds - best] += 1
    assert excess[0] > 0.95 * sum(excess.values())
