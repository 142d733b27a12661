"""Loss over windows, by its definition."""

import math

import numpy as np
import pytest

from hwroute.errors import InputError
from hwroute.models.evaluate import evaluate, negative_log_likelihood
from hwroute.models.library import named_policy
from hwroute.models.random_weights import RandomCheckpoint
from hwroute.models.reference import Reference
from hwroute.shape import ModelShape

SHAPE = ModelShape(
    dim=16, layers=2, heads=2, kv_heads=1, head_dim=8, ffn_dim=24, vocab=13, context=10
)


def reference() -> Reference:
    checkpoint = RandomCheckpoint(SHAPE, named_policy("skipgpt"), seed=1, group=8)
    return Reference(checkpoint, dtype=np.float64)


@pytest.mark.parametrize(("tokens", "scored"), [(40, 36), (41, 36), (45, 40), (7, 6)])
def test_windows_start_fresh_and_all_but_their_first_token_are_scored(
    tokens: int, scored: int
) -> None:
    ids = np.random.default_rng(2).integers(0, SHAPE.vocab, tokens)
    model = reference()
    total, attention, ffn = 0.0, 0, 0
    for start in range(0, tokens, SHAPE.context):
        window = ids[start : start + SHAPE.context]
        logits = model.forward(window)
        for row, token in zip(logits[:-1], window[1:], strict=True):
            total -= float(row[token]) - math.log(sum(math.exp(float(e)) for e in row))
        attention += int((~model.decisions[:, 0]).sum())
        ffn += int((~model.decisions[:, 1]).sum())
    for batch in (1, 3, 8):
        found = evaluate(model, ids, batch=batch)
        assert found.tokens == scored
        assert found.nats_per_token == pytest.approx(total / scored, rel=1e-12)
        assert found.perplexity == pytest.approx(math.exp(total / scored), rel=1e-12)
        assert found.attention_skip == pytest.approx(attention / (2 * tokens))
        assert found.ffn_skip == pytest.approx(ffn / (2 * tokens))
    assert attention > 0
    assert ffn > 0


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[[0.0, 1e4], [1e4, 0.0], [0.0, 0.0]]], np.float32)
    loss = negative_log_likelihood(logits, np.array([[0, 1, 1]]))
    assert loss.tolist() == [[0.0, 1e4]]


def test_equal_logits_lose_the_log_of_the_vocabulary() -> None:
    loss = negative_log_likelihood(np.zeros((2, 5, 13)), np.zeros((2, 5), int))
    np.testing.assert_allclose(loss, np.full((2, 4), math.log(13)))


def test_a_text_of_one_token_is_refused() -> None:
    with pytest.raises(InputError, match="text must have at least 2 tokens, not 1"):
        evaluate(reference(), [1])
