"""What limits Llama-2-7B on a U280, and what each mechanism would bring.

``python -m hwroute.sim.performance.limits_study --out docs/results`` writes limits.md and
limits.json.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from hwroute import provenance
from hwroute.compiler import compile_program
from hwroute.config import PRESETS, Config
from hwroute.memory_config import KVMapping
from hwroute.models.generate import with_rule
from hwroute.models.library import SHAPE_POLICY, model_shape, named_policy
from hwroute.sim.performance.breakdown import operation_kinds
from hwroute.sim.performance.executor import Machine, Setup
from hwroute.sim.performance.generation import Dealer, Performance, measure, step_cycles
from hwroute.sim.performance.limits import largest_hit_share, lost_cycles, needed_cycles
from hwroute.sim.performance.limits_page import page
from hwroute.sim.performance.mechanisms import Mechanisms
from hwroute.sim.performance.metrics import bound, hbm_rate, kv_figures
from hwroute.sim.performance.parameters import Parameters
from hwroute.sim.performance.workload import Rates, synthetic

MODEL, SKIP, SEED = "llama2-7b", 0.25, 1
PROMPT, GENERATE = 128, 1024
SAMPLES = 8
CONTEXTS = (512, 1024, 4096, 8192)
CONTEXT_STEPS = 2
KEY = "mechanisms."
SPECULATION = "weights before the router decides"
Changes = dict[str, Any]

MECHANISMS: dict[str, Changes] = {
    "orders over an invalid buffer by queues": {KEY + "queued_orders": True},
    "heads of scores in turn": {KEY + "interleave_heads": True},
    "no beat for sources that bring nothing": {KEY + "skip_empty": True},
    "32 lines of K or V a cycle": {"kv_vectors": 32},
    "ports run ahead, 64 KiB of K and V": {KEY + "run_ahead": True, "port_fifo_bytes": 64 << 10},
    "ring of 32 stripes": {KEY + "ring_stripes": 32},
    SPECULATION: {
        KEY + "run_ahead": True,
        KEY + "ring_stripes": 32,
        KEY + "speculated_stripes": 32,
    },
    "two DDR ports": {"ddr_ports": 2},
    "survivors of a skipped attention": {KEY + "survivors": True},
    "placement that knows what is skipped": {KEY + "placement": True},
    "sums of a row in parts": {KEY + "split_sums": True},
}
"""In the order in which they are added up. One that means nothing alone brings what it needs."""
EVERY = {key: value for one in MECHANISMS.values() for key, value in one.items()}
VARIANTS: dict[str, Changes] = {
    "K and V in blocks of 8 bits": {KEY + "kv_bits": 8},
    "K and V interleaved over all ports": {"kv_mapping": KVMapping.INTERLEAVED},
    "16 stripes before the router decides": {KEY + "speculated_stripes": 16},
    "ring of 16 stripes, all before the router decides": {
        KEY + "ring_stripes": 16,
        KEY + "speculated_stripes": 16,
    },
    "32 KiB of K and V a port": {"port_fifo_bytes": 32 << 10},
}
"""Beside all of them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a machine does.

    Parameters
    ----------
    name
        Which.
    tokens_per_second, bound
        Of decode; and what no schedule of the same bytes passes.
    error
        Of the token/s, as a share: two standard errors.
    delivered_gb_s, hit_share
        Of K and V.
    dropped_mb
        Bytes a token of weights that were read and dropped.
    """

    name: str
    tokens_per_second: float
    bound: float
    error: float
    delivered_gb_s: float
    hit_share: float
    dropped_mb: float


def setup_of(changes: Changes, *, skip: float = SKIP, prompt: int = PROMPT) -> Setup:
    """Return the machine with changes of `Parameters`, its mechanisms, and the configuration."""
    inner = {name[len(KEY) :]: value for name, value in changes.items() if name.startswith(KEY)}
    outer = {name: value for name, value in changes.items() if not name.startswith(KEY)}
    tokens = 1 << (prompt + GENERATE - 1).bit_length()
    config = PRESETS["u280"]
    config = _configured(
        config,
        vectors=outer.pop("kv_vectors", config.array.kv_vectors),
        mapping=outer.pop("kv_mapping", config.memory.kv_mapping),
        tokens=max(tokens, config.kv.max_tokens),
    )
    shape = model_shape(MODEL)
    program = compile_program(
        replace(shape, context=max(shape.context, tokens)),
        with_rule(named_policy(SHAPE_POLICY), routing=skip > 0, kv=None),
        config,
        model=MODEL,
        context=prompt + GENERATE,
    )
    rates = Rates.uniform(shape.layers, skip)
    return Setup(
        program=program,
        workload=synthetic(rates, prompt=prompt, generate=GENERATE, seed=SEED),
        parameters=Parameters(mechanisms=Mechanisms(**inner), **outer),
    )


def _configured(config: Config, *, vectors: int, mapping: KVMapping, tokens: int) -> Config:
    return replace(
        config,
        array=replace(config.array, kv_vectors=vectors),
        memory=replace(config.memory, kv_mapping=mapping),
        kv=replace(config.kv, max_tokens=tokens),
    )


def row(changes: Changes, skip: float = SKIP) -> Row:
    """Measure a machine."""
    found = row_of("", measure(setup_of(changes, skip=skip), samples=SAMPLES))
    click.echo(f"{found.tokens_per_second:.2f} token/s: skip {skip}, {changes}", err=True)
    return found


def row_of(name: str, result: Performance) -> Row:
    """Return the figures of a result."""
    kv, kinds = kv_figures(result), result.traffic.kinds
    return Row(
        name=name,
        tokens_per_second=result.tokens_per_second,
        bound=bound(result).tokens_per_second,
        error=float(result.error),
        delivered_gb_s=kv.delivered_gb_s,
        hit_share=kv.hit_share,
        dropped_mb=kinds["dropped"] / len(result.cycles) / 1e6,
    )


def together(names: list[str]) -> Changes:
    """Return the changes of some mechanisms."""
    changes: Changes = {}
    for name in names:
        changes |= MECHANISMS[name]
    return changes


def without(name: str) -> Changes:
    """Return all changes but those of a mechanism, and but those that need it."""
    changes = {key: value for key, value in EVERY.items() if key not in MECHANISMS[name]}
    if KEY + "run_ahead" not in changes or KEY + "ring_stripes" not in changes:
        changes.pop(KEY + "speculated_stripes", None)
    # Speculation alone brings what it needs; without it that stays.
    kept = together([one for one in MECHANISMS if one not in (name, SPECULATION)])
    return kept | changes


def losses(result: Performance) -> list[tuple[str, float, float]]:
    """Return for what a step does: cycles that its bytes need, and cycles beyond; most first."""
    kinds, rate = operation_kinds(result.setup.program), hbm_rate(result) / result.hertz
    steps = len(result.cycles)
    needed = result.totals(lambda run: needed_cycles(run, kinds, rate))
    lost = result.totals(lambda run: lost_cycles(run, kinds, rate))
    rows = [(name, needed.get(name, 0.0) / steps, size / steps) for name, size in lost.items()]
    return sorted(rows, key=lambda one: -one[2])


def at_context(changes: Changes, tokens: int) -> dict[str, float]:
    """Return token/s and hit share of decode steps behind a context of `tokens`."""
    setup = setup_of(changes, prompt=tokens)
    kv, dealer = setup.kv_memory(), Dealer(setup.program, setup.workload)
    for position in range(tokens):
        dealer.step(kv, position)
    runs = [
        Machine(setup, kv=kv).step(position) for position in range(tokens, tokens + CONTEXT_STEPS)
    ]
    hits = sum(run.traffic.kinds["kv_hits"] for run in runs)
    read = sum(run.traffic.kinds["kv_read"] for run in runs)
    cycles = sum(step_cycles(run) for run in runs)
    held = max(one.held for run in runs for one in run.attentions)
    speed = CONTEXT_STEPS * setup.device.core_mhz * 1e6 / cycles
    return {"tokens_per_second": speed, "hit_share": hits / (hits + read), "held": held}


def rows() -> dict[str, list[Row]]:
    """Measure all machines, as many at a time as there are cores."""
    names = list(MECHANISMS)
    jobs = [
        *(("alone", name, MECHANISMS[name], SKIP) for name in names),
        *(("added", one, together(names[: at + 1]), SKIP) for at, one in enumerate(names)),
        *(("without", name, without(name), SKIP) for name in names),
        *(("variants", name, EVERY | one, SKIP) for name, one in VARIANTS.items()),
        ("dense", "the machine", {}, 0.0),
        ("dense", "with all mechanisms", EVERY, 0.0),
    ]
    groups: dict[str, list[Row]] = {}
    with ProcessPoolExecutor() as pool:
        # Some machines are in two groups, and measured once.
        alike = {str((changes, skip)): (changes, skip) for _, _, changes, skip in jobs}
        results = dict(zip(alike, pool.map(row, *zip(*alike.values(), strict=True)), strict=True))
    for group, name, changes, skip in jobs:
        one = replace(results[str((changes, skip))], name=name)
        groups.setdefault(group, []).append(one)
    return groups


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(out: Path) -> None:
    """Measure what limits the machine, and what each mechanism brings."""
    groups = {name: [asdict(one) for one in part] for name, part in rows().items()}
    plain = {skip: measure(setup_of({}, skip=skip), samples=SAMPLES) for skip in (SKIP, 0.0)}
    routed = plain[SKIP]
    record: dict[str, Any] = {
        "assumption": routed.setup.workload.assumption,
        "steps": {skip: float(one.cycles.mean()) for skip, one in plain.items()},
        "losses": {skip: losses(one) for skip, one in plain.items()},
        "plain": asdict(row_of("the machine", routed)),
        **groups,
        "largest_hit_share": {
            name: largest_hit_share(routed.setup, survivors=survivors)
            for name, survivors in (("invalidated", False), ("surviving", True))
        },
        "hbm_gb_s": hbm_rate(routed) / 1e9,
        "contexts": {
            tokens: [at_context(one, tokens) for one in ({}, EVERY)] for tokens in CONTEXTS
        },
        "provenance": provenance.collect(command=sys.argv, config=PRESETS["u280"], seed=SEED),
    }
    (out / "limits.md").write_text(page(record), encoding="utf-8")
    (out / "limits.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
