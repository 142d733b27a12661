"""The page of `limits_study`: tables of what limits the machine."""

from typing import Any

LEAST = 0.0005
"""Share of a step below which a loss is not listed by name."""
PAGE = """# What limits the machine

Written by `python -m hwroute.sim.performance.limits_study --out docs/results`: decode of
Llama-2-7B, 128 tokens of prompt and 1,024 generated, on `u280`; {assumption}.
[performance.md](../performance.md) says what follows from it.

## Where the cycles go

A decode step takes {step:,.0f} cycles on average with routing, {dense_step:,.0f} without. *Needed*
is what the bytes take at {rate:.1f} GB/s, the rate of long sequential reads; the rest is *lost*.

| cycles of a step | needed | lost | share | needed, dense | lost, dense | share |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{losses}

## What each mechanism brings

*Alone*: beside the machine as it is, {plain:.2f} token/s. *Added up*: with all above it. *Left
out*: what all of them lose without it. Two standard errors of a figure are at most {error:.2%}.

| mechanism | alone | gain | added up | gain | left out | loss |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{mechanisms}

K and V, mechanisms added up; the target is 95 % of {rate:.1f} GB/s / (1 - h), where h =
{hits:.2%} is the largest share that the history buffer could serve ({survivors:.2%} if it outlasts
a skipped layer).

| mechanism | delivered, GB/s | target | from the buffer | dropped, MB a token | bound, token/s |
| --- | ---: | ---: | ---: | ---: | ---: |
{kv}

Beside all of them:

| variant | token/s | bound | K and V, GB/s | from the buffer | dropped, MB |
| --- | ---: | ---: | ---: | ---: | ---: |
{variants}

Nothing skipped: {dense:.2f} token/s as it is, {dense_all:.2f} with all of them, bound
{dense_bound:.2f}.

## Context

Steps behind a prompt, as it is and with all mechanisms. *Held* is the most entries that the history
buffer keeps for a layer; it has room for 1,024.

| tokens before | token/s | from the buffer | held | token/s, all | from the buffer | held |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{contexts}
"""


def page(record: dict[str, Any]) -> str:
    """Return the page of a record of `limits_study`."""
    rows = [record["plain"], *record["alone"], *record["added"], *record["without"]]
    before, after = record["dense"]
    skip, dense = record["steps"].values()
    return PAGE.format(
        assumption=record["assumption"],
        step=skip,
        dense_step=dense,
        rate=record["hbm_gb_s"],
        losses=_losses(record),
        plain=record["plain"]["tokens_per_second"],
        error=max(one["error"] for one in rows),
        mechanisms=_mechanisms(record),
        hits=record["largest_hit_share"]["invalidated"],
        survivors=record["largest_hit_share"]["surviving"],
        kv=_kv(record),
        variants="\n".join(
            f"| {one['name']} | {one['tokens_per_second']:.2f} | {one['bound']:.2f} "
            f"| {one['delivered_gb_s']:.1f} | {one['hit_share']:.1%} | {one['dropped_mb']:.1f} |"
            for one in record["variants"]
        ),
        dense=before["tokens_per_second"],
        dense_all=after["tokens_per_second"],
        dense_bound=after["bound"],
        contexts=_contexts(record),
    )


def _losses(record: dict[str, Any]) -> str:
    """Return needed and lost cycles with and without routing, small ones as one line."""
    (first, second), (step, dense_step) = record["losses"].values(), record["steps"].values()
    other = {name: (needed, lost) for name, needed, lost in second}
    lines, rest = [], [0.0, 0.0]
    for name, needed, lost in first:
        more, less = other.pop(name, (0.0, 0.0))
        if needed or more or lost > LEAST * step:
            lines.append(_loss(name, (needed, lost), (more, less), step, dense_step))
        else:
            rest = [rest[0] + lost, rest[1] + less]
    rest[1] += sum(lost for _, lost in other.values())
    lines.append(_loss("waiting for others", (0, rest[0]), (0, rest[1]), step, dense_step))
    sums = [tuple(sum(one[place] for one in rows) for place in (1, 2)) for rows in (first, second)]
    lines.append(_loss("**all**", sums[0], sums[1], step, dense_step))
    return "\n".join(lines)


def _loss(name: str, one: Any, other: Any, step: float, dense_step: float) -> str:
    return (
        f"| {name} | {one[0]:,.0f} | {one[1]:,.0f} | {one[1] / step:.2%} "
        f"| {other[0]:,.0f} | {other[1]:,.0f} | {other[1] / dense_step:.2%} |"
    )


def _mechanisms(record: dict[str, Any]) -> str:
    lines, last = [], record["plain"]["tokens_per_second"]
    start, every = last, record["added"][-1]["tokens_per_second"]
    for alone, added, left in zip(record["alone"], record["added"], record["without"], strict=True):
        one, both, less = (item["tokens_per_second"] for item in (alone, added, left))
        lines.append(
            f"| {alone['name']} | {one:.2f} | {one - start:+.2f} | {both:.2f} | {both - last:+.2f} "
            f"| {less:.2f} | {less - every:+.2f} |"
        )
        last = both
    return "\n".join(lines)


def _kv(record: dict[str, Any]) -> str:
    target = 0.95 * record["hbm_gb_s"] / (1 - record["largest_hit_share"]["invalidated"])
    return "\n".join(
        f"| {one['name']} | {one['delivered_gb_s']:.1f} | {target:.1f} | {one['hit_share']:.1%} "
        f"| {one['dropped_mb']:.1f} | {one['bound']:.2f} |"
        for one in [record["plain"] | {"name": "none"}, *record["added"]]
    )


def _contexts(record: dict[str, Any]) -> str:
    return "\n".join(
        f"| {int(tokens):,} | "
        + " | ".join(
            f"{one['tokens_per_second']:.2f} | {one['hit_share']:.1%} | {one['held']}"
            for one in pair
        )
        + " |"
        for tokens, pair in record["contexts"].items()
    )
