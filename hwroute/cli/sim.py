"""``hwroute sim``: the main job."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwroute.cli.options import (
    build_dir_option,
    check_prompt,
    config_option,
    json_option,
    model_option,
    prompt_options,
    routing_options,
)
from hwroute.cli.output import emit, progress
from hwroute.config import Config
from hwroute.errors import CheckFailedError, InputError, nearest

if TYPE_CHECKING:
    from hwroute.sim.simulate import Simulation


def _fault(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    from hwroute.sim.faults import FAULTS

    if value not in FAULTS:
        known = list(FAULTS)
        raise InputError(
            f"--fault must be one of {', '.join(known)}, not {value!r}{nearest(value, known)}"
        )
    return FAULTS[value]


@click.command(epilog="Example: hwroute sim -p 'First Citizen:' -n 16")
@model_option
@prompt_options
@click.option("-n", "--tokens", default=16, help="Tokens to generate.")
@routing_options
@click.option(
    "--stall", default=0.0, help="Chance that a stream idles or is held up in a cycle, 0 to 0.9."
)
@click.option("--seed", default=1, help="Seed of the stalls.")
@click.option("--only", type=int, metavar="ID", help="Replay the operation with this id alone.")
@click.option("--waves", is_flag=True, help="Write waves (VCD) of every unit that runs.")
@click.option(
    "--fault", callback=_fault, metavar="NAME", help="Plant a known fault; the check must fail."
)
@config_option
@build_dir_option
@json_option
def sim(
    model: str,
    prompt: str | None,
    prompt_ids: tuple[int, ...] | None,
    tokens: int,
    routing: bool,
    kv: Any,
    stall: float,
    seed: int,
    only: int | None,
    waves: bool,
    fault: Any,
    config: Config,
    build_dir: Path,
    as_json: bool,
) -> None:
    """Generate text, replay every operation on the RTL, compare every bit.

    The golden model generates; matrix products, reductions, element-wise operations, decisions and
    KV memory of the run are then replayed on the RTL units in Verilator. Exit code 1 where a bit
    differs.
    """
    from hwroute import api
    from hwroute.sim.simulate import WORKERS, Job, reproduce_command
    from hwroute.sim.toolchain import find_verilator

    check_prompt(prompt, prompt_ids)
    if not 0 <= stall <= 0.9:
        raise InputError(f"--stall must be from 0 to 0.9, not {stall}")
    checkpoint = api.load(model)
    ids = api.encode(checkpoint, prompt) if prompt is not None else list(prompt_ids or ())
    job = Job(
        prompt=ids, tokens=tokens, stall=stall, seed=seed, only=only, waves=waves, fault=fault
    )
    with progress("simulating units", 2 * WORKERS) as advance:
        result = api.simulate(
            checkpoint,
            job,
            config=config,
            routing=routing,
            kv=kv,
            folder=build_dir,
            progress=advance,
        )
    tokenizer = checkpoint.tokenizer
    text = tokenizer.decode(result.generation.token_ids) if tokenizer else None
    divergences = result.divergences
    emit(
        _fields(result, text),
        _report(result, text if text is not None else repr(result.generation.token_ids)),
        as_json=as_json,
        config=config,
        model_hash=checkpoint.hash,
        seed=seed,
        tools={"verilator": find_verilator().version},
    )
    if divergences:
        unit, first = divergences[0]
        where = build_dir / "waves" / unit / "dump.vcd"
        again = reproduce_command(model, ids, job, first)
        raise CheckFailedError(
            f"unit {unit}, {first.describe('golden', 'RTL')}; waves in {where} after: {again}"
        )


def _fields(result: "Simulation", text: str | None) -> dict[str, Any]:
    """Return the result as JSON has it."""
    from hwroute.skip_map import skip_rates

    divergences = result.divergences
    first = {"unit": divergences[0][0], **divergences[0][1].to_dict()} if divergences else None
    return {
        "match": not divergences,
        "records": sum(result.replayed.values()),
        "mismatches": len(divergences),
        "first_divergence": first,
        "cycles": result.cycles,
        "cycles_per_second": result.cycles / result.run_seconds,
        "operations": dict(result.operations),
        "operations_in_rtl": dict(result.replayed),
        "units": {unit.unit: unit.cycles for unit in result.units},
        "token_ids": result.generation.token_ids,
        "text": text,
        "skip": skip_rates(result.generation.executed),
        "golden_seconds": result.golden_seconds,
        "build_seconds": result.build_seconds,
        "run_seconds": result.run_seconds,
    }


def _report(result: "Simulation", text: str) -> str:
    """Return the result as a person reads it."""
    lines = [text, "", f"{'operation':<12}{'count':>7}{'in RTL':>8}"]
    for kind, count in sorted(result.operations.items()):
        lines.append(f"{kind:<12}{count:>7}{result.replayed[kind]:>8}")
    total, ran = sum(result.operations.values()), sum(result.replayed.values())
    lines.append(f"{'all':<12}{total:>7}{ran:>8}")
    lines += ["", f"{'unit':<12}{'values':>10}{'cycles':>10}{'cycles/s':>10}  mismatches"]
    for unit in result.units:
        rate = unit.cycles / unit.run_seconds
        lines.append(
            f"{unit.unit:<12}{unit.values:>10}{unit.cycles:>10}{rate:>10.0f}  "
            f"{len(unit.divergences)}"
        )
    lines.append("")
    lines.append(
        f"golden {result.golden_seconds:.1f} s, builds {result.build_seconds:.1f} s, "
        f"runs {result.run_seconds:.1f} s; "
        + ("every bit equal" if not result.divergences else "MISMATCH")
    )
    return "\n".join(lines)
