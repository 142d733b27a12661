"""The control code around the bodies: tiles of the prompt, tokens of the answer."""

from hwroute.compiler.bodies import Bodies
from hwroute.compiler.context import Target
from hwroute.compiler.draft import Draft, Value


def frame(target: Target, bodies: Bodies, tile: int) -> list[Draft]:
    """Return all instructions of a Program, labels and tokens filled in.

    ``t0`` counts the tokens of the prompt that are left, ``t1`` those that are to be generated.
    """
    return [
        begin(target),
        Draft(name="set", values={"d": "position", "value": 0}),
        Draft(name="add", values={"d": "t0", "a": "prompt"}, note="tokens of the prompt left"),
        Draft(name="add", values={"d": "t1", "a": "generate"}, note="tokens to generate"),
        Draft(
            name="min",
            values={"d": "rows", "a": "t0", "value": tile},
            labels=["prefill"],
            note="a tile of the prompt",
        ),
        *bodies.prefill,
        Draft(name="add", values={"d": "position", "a": "position", "b": "rows"}),
        Draft(name="sub", values={"d": "t0", "a": "t0", "b": "rows"}),
        Draft(name="branch.zero", values={"a": "t0"}, target="head"),
        Draft(name="jump", values={}, target="prefill"),
        Draft(name="sync", values={}, labels=["head"]),
        *bodies.head,
        put(target),
        Draft(name="loop", values={"d": "t1"}, target="next"),
        Draft(name="halt", values={}, labels=["end"]),
        Draft(
            name="branch.equal",
            values={"a": "token", "b": "stop"},
            target="end",
            labels=["next"],
        ),
        Draft(name="set", values={"d": "rows", "value": 1}, note="a token of the answer"),
        *bodies.decode,
        Draft(name="add", values={"d": "position", "a": "position", "b": "rows"}),
        Draft(name="jump", values={}, target="head"),
    ]


def begin(target: Target) -> Draft:
    """Return what a sequence begins with: where its slots of K and V are."""
    values: dict[str, Value] = {
        "base": target.memory.region("kv").address,
        "vector": target.entry.vector_beats,
        "exponents": target.entry.exponent_beats,
        "mapping": target.config.memory.kv_mapping.value,
    }
    return Draft(name="kv.map", values=values, note="a new sequence")


def put(target: Target) -> Draft:
    """Return what a head ends with: the token goes to the ids."""
    values: dict[str, Value] = {"ids": target.memory.region("ids").address, "value": "token"}
    return Draft(name="put", values=values, note="the token becomes the next input")
