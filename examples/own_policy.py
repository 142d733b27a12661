"""Bring your own routing policy: write it as data, run it on the golden model, see what it costs.

`tiny` was trained with a router in front of every attention and every FFN (SkipGPT's). The policy
below keeps the routers of the FFN but replaces those of attention by a fixed table of layers. No
code changes for it: it is a TOML text, which could as well be a file.

Run: python examples/own_policy.py
"""

from hwroute import api
from hwroute.policy_file import from_toml
from hwroute.skip_map import skip_rates

POLICY = """
format = 1                      # of the file; any other is refused
name = "half-table"
summary = "Attention skips two fixed layers; a router decides over the FFN."
kv = "reuse"                    # a skipped layer sees the keys and values of the layer below

[attention]
scope = "table"                 # the same for every token
decision = { rule = "table", layers = [2, 4] }
outcomes = [{ addend = "native" }, { addend = "bypass" }]

[ffn]
scope = "token"                 # one decision for each token
router = { source = "sub-layer-input" }
decision = { rule = "argmax", tie = "execute" }
outcomes = [{ addend = "native" }, { addend = "bypass" }]
overrides = { first_tokens = 4 }   # the first four tokens execute whatever the router says
"""

PROMPT = "First Citizen:"
TOKENS = 32
SCORED = 2_048
"""Tokens of held-out text that the float reference scores."""


def main() -> None:
    """Print, for tiny's own policy and for ours, the text, what was skipped and the loss."""
    own = api.load("tiny")
    # Refused here, in one line, if a key is unknown or tiny lacks a router that the policy needs.
    ours = api.load("tiny", policy=from_toml(POLICY, "POLICY"))
    held_out = (own.path / "heldout.txt").read_text(encoding="utf-8")[:SCORED]
    for model in (own, ours):
        # The golden model computes every bit as the machine does.
        result = api.generate(model, PROMPT, TOKENS, on="golden")
        rates = skip_rates(result.executed)
        loss = api.evaluate(model, held_out, on="reference").nats_per_token
        print(f"{model.policy.name}: {model.policy.summary}")
        print(f"  text     {PROMPT + (result.text or '')!r}")
        print(f"  skipped  {rates['attention']:.1%} of attention, {rates['ffn']:.1%} of FFN")
        print(f"  loss     {loss:.3f} nats per token on {SCORED} held-out tokens")


if __name__ == "__main__":
    main()
