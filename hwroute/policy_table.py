"""The table of docs/routing.md: which executor runs which policy, and what the others lack."""

from collections.abc import Iterable, Mapping

from hwroute.generated import row
from hwroute.policy import RoutingPolicy, describe
from hwroute.policy_parts import Site

HEADER = ("policy", "paper", "routes", "decides by", "K and V of a skip")


def markdown_table(
    policies: Iterable[RoutingPolicy], executors: Mapping[str, frozenset[str]]
) -> str:
    """Return a Markdown table with one row per policy and one column per executor.

    Parameters
    ----------
    policies
        In the order of the rows.
    executors
        What each executor supports; its cell says "runs" or names the missing primitives.
    """
    header = (*HEADER, *executors)
    lines = [row(*header), row(*["---"] * len(header))]
    for policy in policies:
        needed = policy.primitives()
        cells = [
            f"`{policy.name}`",
            f"[{policy.paper}](https://arxiv.org/abs/{policy.paper})" if policy.paper else "",
            "; ".join(f"{name}, {site.scope.value}" for name, site in policy.sites()),
            "; ".join(dict.fromkeys(_decides_by(site) for _, site in policy.sites())),
            policy.kv.value,
        ]
        for supported in executors.values():
            missing = sorted(needed - supported)
            cells.append(", ".join(describe(item) for item in missing) if missing else "runs")
        lines.append(row(*cells))
    return "\n".join(lines) + "\n"


def _decides_by(site: Site) -> str:
    if site.router is None:
        return site.decision.rule.value
    body = f"{site.router.linears}-linear router"
    return f"{site.decision.rule.value} of a {body} on {site.router.source.value}"
