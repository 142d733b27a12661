"""The page on random Programs: how many ran on the machine, and what they met."""

from hwroute.sim.random_programs.campaign import Tallies, Tally
from hwroute.sim.random_programs.coverage import KEYS, Key

LEAST = 20
"""How often each thing must be met."""
PAGE = """# Random Programs

Written by `{command}`: legal Programs from the seeds {first} to {last}, each run on the interpreter
and on the RTL, every write and the memories at the end compared. A seed says too how often memories
stall, their latency, and the ratio of the clocks. {verdict}

| configuration | Programs | instructions compared | cycles | Programs that differ |
| --- | ---: | ---: | ---: | ---: |
{programs}

What the runs met, counted by the interpreter; each at least {least} times in all: {seldom}.

| kind | what | {names} | all |
| --- | --- |{rules} ---: |
{counts}
"""


def total_of(tallies: Tallies) -> Tally:
    """Return what the Programs of all configurations met."""
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total


def seldom(tally: Tally) -> list[Key]:
    """Return what was not met `LEAST` times."""
    return [key for key in KEYS if tally.of(key) < LEAST]


def page(tallies: Tallies, seeds: range, command: str) -> str:
    """Return the page.

    Parameters
    ----------
    tallies
        What was found.
    seeds
        That ran.
    command
        That writes the page.
    """
    ordered = dict(sorted(tallies.items()))
    total = total_of(tallies)
    rows = [*ordered.items(), ("all", total)]
    columns = [*ordered.values(), total]
    verdict = f"{len(total.failures)} differ." if total.failures else "None differs."
    return PAGE.format(
        command=command,
        first=seeds.start,
        last=seeds.stop - 1,
        verdict=verdict,
        programs="\n".join(
            f"| {name} | {one.programs:,} | {one.instructions:,} | {one.cycles:,} "
            f"| {len(one.failures)} |"
            for name, one in rows
        ),
        least=LEAST,
        seldom=", ".join(f"not {' '.join(key)}" for key in seldom(total)) or "yes",
        names=" | ".join(ordered),
        rules=" ---: |" * len(ordered),
        counts="\n".join(
            f"| {key[0]} | {key[1]} | {' | '.join(f'{one.of(key):,}' for one in columns)} |"
            for key in KEYS
        ),
    )
