"""Routing policies as data: which computation a token gets, written in a few primitives.

Every method is one line, `y = base + sum of gate * F(n)`, done `repeat` times, after which the KV
rule says where the token's keys and values of that layer come from. docs/routing.md lists the
primitives and which executor runs them; `hwroute.policy_parts` holds what a site is made of and
`hwroute.policy_terms` the words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from hwroute.errors import InputError
from hwroute.policy_parts import Site
from hwroute.policy_terms import Addend, Decide, KVRule, Latch, RepeatKV, Scope

SITES = ("attention", "ffn", "layer")
"""Where a policy routes: either sub-layer, or both under one decision."""


@dataclass(frozen=True, kw_only=True)
class RoutingPolicy:
    """What one routing method does at inference.

    Parameters
    ----------
    name
        What commands and errors call it.
    summary
        One sentence.
    paper
        arXiv number of the publication, or empty.
    kv
        Where K and V of a token come from in a layer whose attention it skipped.
    repeat_kv
        What a second execution of a layer does with K and V of the first; None if none repeats.
    attention, ffn
        Routing of either sub-layer, or None where every token executes it.
    layer
        Routing of attention and FFN under one decision; excludes the other two.

    Raises
    ------
    ValueError
        Two decisions over one sub-layer, K and V reused where layer 0 may be skipped, or a repeat
        without its KV rule.
    """

    name: str
    summary: str
    paper: str = ""
    kv: KVRule = KVRule.DENSE
    repeat_kv: RepeatKV | None = None
    attention: Site | None = None
    ffn: Site | None = None
    layer: Site | None = None

    def __post_init__(self) -> None:
        if self.layer is not None and (self.attention is not None or self.ffn is not None):
            raise ValueError("layer must be absent where attention or ffn is given")
        if self.kv is KVRule.REUSE and not self._layer_0_executes():
            raise ValueError(
                "kv must not be 'reuse' unless attention.overrides.first_layers is at least 1: "
                "a token that skips layer 0 has no earlier keys and values"
            )
        repeats = any(outcome.repeat > 1 for _, site in self.sites() for outcome in site.outcomes)
        if repeats != (self.repeat_kv is not None):
            expected = "given" if repeats else "absent unless an outcome repeats"
            raise ValueError(f"repeat_kv must be {expected}, not {self.repeat_kv!r}")

    def _layer_0_executes(self) -> bool:
        site = self.attention or self.layer
        if site is None:
            return True
        if site.scope is Scope.TABLE:
            return site.table_outcome(0).addend is not Addend.BYPASS
        return site.overrides.first_layers > 0

    def sites(self) -> Iterator[tuple[str, Site]]:
        """Yield the name and the routing of every site that the policy routes."""
        for name in SITES:
            site = getattr(self, name)
            if site is not None:
                yield name, site

    @property
    def attention_site(self) -> Site | None:
        """What decides over attention sub-layers."""
        return self.attention or self.layer

    @property
    def ffn_site(self) -> Site | None:
        """What decides over FFN sub-layers."""
        return self.ffn or self.layer

    def primitives(self) -> frozenset[str]:
        """Return the primitives that an executor must have, such as ``"scope:token"``."""
        names = {f"kv:{self.kv.value}"}
        if self.repeat_kv is not None:
            names.add(f"repeat-kv:{self.repeat_kv.value}")
        for name, site in self.sites():
            names |= {f"site:{name}"} | _site_primitives(site)
        return frozenset(names)

    def require(self, supported: frozenset[str], executor: str) -> None:
        """Check that an executor has every primitive.

        Parameters
        ----------
        supported
            What the executor has.
        executor
            What the error calls it, such as ``"the golden model"``.

        Raises
        ------
        InputError
            Naming every primitive that is missing.
        """
        missing = sorted(self.primitives() - supported)
        if missing:
            names = ", ".join(describe(primitive) for primitive in missing)
            raise InputError(f"policy {self.name!r} needs {names}, which {executor} does not run")

    def with_kv(self, rule: KVRule) -> "RoutingPolicy":
        """Return the policy with another KV rule.

        Raises
        ------
        InputError
            The policy cannot have it.
        """
        try:
            return replace(self, kv=rule)
        except ValueError as error:
            raise InputError(f"policy {self.name!r}: {error}") from error

    def check_layers(self, layers: int) -> None:
        """Check that every layer the policy names is one of `layers`.

        Raises
        ------
        InputError
            A table or an override names a layer beyond the model's last.
        """
        for name, site in self.sites():
            beyond = [layer for layer in site.decision.layers if not 0 <= layer < layers]
            if beyond:
                raise InputError(
                    f"policy {self.name!r}: {name}.decision.layers must be from 0 to "
                    f"{layers - 1} for this model, not {beyond[0]}"
                )


_LABELS = {
    "source": "router source",
    "features": "feature",
    "repeat": "executions",
    "body": "router body",
    "kv": "KV rule",
    "repeat-kv": "repeated KV",
    "groups": "groups",
}


def describe(primitive: str) -> str:
    """Return a primitive in words: ``"addend:bottleneck"`` is ``"bottleneck addend"``."""
    kind, _, value = primitive.partition(":")
    return f"{value} {_LABELS.get(kind, kind)}"


def _site_primitives(site: Site) -> set[str]:
    names = {f"scope:{site.scope.value}", f"decision:{site.decision.rule.value}"}
    if site.decision.rule is Decide.ARGMAX:
        names.add(f"tie:{site.decision.tie.value}")
    if site.scope is Scope.SEQUENCE:
        names.add("latch:prefill" if site.latch is Latch.PREFILL else "latch:call")
    if site.router is not None:
        router = site.router
        names |= {f"source:{router.source.value}", f"pooling:{router.pooling.value}"}
        names.add(f"body:{router.linears}-linear")
        names.add(f"activation:{router.activation.value}")
        names |= {f"body:{part}" for part in ("bias", "rmsnorm") if getattr(router, part)}
        names |= {f"features:{feature.value}" for feature in router.features}
    overrides = site.overrides
    for item in fields(overrides):
        if getattr(overrides, item.name):
            names.add(f"override:{item.name.replace('_', '-')}")
    for outcome in site.outcomes:
        names |= {f"base:{outcome.base.value}", f"addend:{outcome.addend.value}"}
        names.add(f"gate:{outcome.gate.value}")
        if outcome.addend is Addend.BOTTLENECK:
            names.add(f"activation:{outcome.activation.value}")
        names.add(f"repeat:{0 if outcome.addend is Addend.BYPASS else outcome.repeat}")
    if site.groups is not None:
        names.add(f"groups:{site.groups.over.value}")
        names |= {f"groups:{part}" for part in ("null-experts",) if site.groups.null_experts}
    return names
