"""Training of the routers: gates, the controller of their skip rates, and their start."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwroute.models.train.config import ATTENTION, EXECUTE, ModelShape, Recipe
from hwroute.models.train.model import RoutedLlama

START_SPREAD = 1.5
"""Standard deviation over tokens of a router's logit difference when training starts."""
RIDGE = 1e-3


class NoisyGate:
    """Hard gates with the gradient of a sigmoid.

    Forward, a token executes when its logit difference plus noise is not negative: at zero noise,
    the argmax. Backward, the gate is the sigmoid of that sum, so a router learns how much each
    token's loss would change by running the sub-layer.

    Parameters
    ----------
    noise : float
        Scale of the logistic noise.

    Attributes
    ----------
    soft, hard : dict of int to Tensor, [batch, time]
        By sub-layer, the probability to execute and the decision, both without noise.
    """

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.soft: dict[int, Tensor] = {}
        self.hard: dict[int, Tensor] = {}

    def __call__(self, sublayer: int, logits: Tensor) -> Tensor:
        """Decide one sub-layer from `logits` [batch, time, 2]."""
        difference = logits[..., EXECUTE] - logits[..., 1 - EXECUTE]
        self.soft[sublayer] = difference.sigmoid()
        self.hard[sublayer] = (difference >= 0).float().detach()
        if self.noise > 0:
            uniform = torch.rand_like(difference).clamp(1e-6, 1 - 1e-6)
            difference = difference + self.noise * uniform.logit()
        soft = difference.sigmoid()
        return (difference >= 0).float() + (soft - soft.detach())


class Controller:
    """Steers the argmax skip rates with prices of executing, one per sub-layer.

    A sub-layer's price is its kind's plus its own. The kind's follows the distance of the kind's
    skip rate to the target, its own how far the sub-layer's rate lies outside the band; both have
    an integral and a proportional part.

    Parameters
    ----------
    shape : ModelShape
        Dimensions.
    recipe : Recipe
        Target, band and gains.
    """

    def __init__(self, shape: ModelShape, recipe: Recipe) -> None:
        self.shape, self.recipe = shape, recipe
        self.prices = torch.zeros(shape.sublayers)

    def loss(self, gate: NoisyGate) -> Tensor:
        """Update the prices from the last pass's decisions and return the cost of executing."""
        recipe = self.recipe
        skips = torch.zeros(self.shape.sublayers)
        for sublayer, hard in gate.hard.items():
            skips[sublayer] = 1 - hard.mean()
        missing = (recipe.skip - skips.view(-1, 2).mean(0)).repeat(self.shape.layers)
        missing += (recipe.skip_low - skips).relu() - (skips - recipe.skip_high).relu()
        self.prices += recipe.integral_gain * missing
        prices = self.prices + recipe.push_gain * missing
        costs = [prices[sublayer] * soft.mean() for sublayer, soft in gate.soft.items()]
        return torch.stack(costs).sum()


class _Probe:
    """Executes everything and records what a router could learn from.

    Attributes
    ----------
    gates : dict of int to Tensor, [batch, time]
        By sub-layer, ones which collect a gradient.
    """

    def __init__(self) -> None:
        self.gates: dict[int, Tensor] = {}

    def __call__(self, sublayer: int, logits: Tensor) -> Tensor:
        self.gates[sublayer] = torch.ones_like(logits[..., 0]).requires_grad_()
        return self.gates[sublayer]


def _solve(gram: Tensor, moments: Tensor) -> Tensor:
    """Solve the ridge regression with normal matrix [dim, dim]."""
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, moments)


def fit(x: Tensor, matters: Tensor, skip: float) -> Tensor:
    """Fit a router which skips the tokens for which executing is expected to matter least.

    Parameters
    ----------
    x : Tensor, float32 [tokens, dim]
        Router inputs.
    matters : Tensor, float32 [tokens]
        How much the loss depends on each token's executing.
    skip : float
        Fraction of the tokens to skip.

    Returns
    -------
    Tensor, float32 [2, dim]
        Router weight. There is no bias: the threshold is the combination of inputs which comes
        closest to one.
    """
    inputs, spread = x.double(), matters.std()
    target = matters.clamp(-3 * spread, 3 * spread).double()
    gram = inputs.T @ inputs
    slope = _solve(gram, inputs.T @ target)
    one = _solve(gram, inputs.sum(0))
    threshold = ((inputs @ slope) / (inputs @ one).clamp_min(0.1)).quantile(skip)
    weight = slope - threshold * one
    weight *= START_SPREAD / (inputs @ weight).std().clamp_min(1e-12)
    rows = [weight / 2, -weight / 2] if EXECUTE == 0 else [-weight / 2, weight / 2]
    return torch.stack(rows).float()


def _observe(model: RoutedLlama, rows: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Return, by sub-layer, router inputs [tokens, dim] and what executing matters [tokens].

    A token's figure is the size of the gradient of the summed loss with respect to its gate. With
    its sign it would be the first-order saving, which predicts the loss of skipping worse.
    """
    probe = _Probe()
    inputs: dict[int, Tensor] = {}
    hooks = [
        router.register_forward_hook(partial(_record, inputs, sublayer))
        for sublayer, router in model.routers_by_sublayer()
    ]
    logits = model(rows[:, :-1], probe).logits
    for hook in hooks:
        hook.remove()
    loss = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
    grads = torch.autograd.grad(loss, list(probe.gates.values()))
    return {
        sublayer: (inputs[sublayer], grad.abs().flatten())
        for sublayer, grad in zip(probe.gates, grads, strict=True)
    }


def _record(
    inputs: dict[int, Tensor], sublayer: int, _router: nn.Module, args: tuple[Tensor], _out: Tensor
) -> None:
    inputs[sublayer] = args[0].detach().flatten(0, 1)


def start_routers(model: RoutedLlama, batch: Tensor, recipe: Recipe) -> list[float]:
    """Initialise the routers from the gradient of the loss with respect to every gate.

    Parameters
    ----------
    model : RoutedLlama
        Trained to execute everything.
    batch : Tensor, int64 [rows, context + 1]
        Windows of training text.
    recipe : Recipe
        Skip rate to start at.

    Returns
    -------
    list of float
        Mean norm of each router's inputs.
    """
    norms = []
    observed = [_observe(model, rows) for rows in batch.split(recipe.rows)]
    for sublayer, router in model.routers_by_sublayer():
        layers = model.shape.layers
        free = layers - 1 if sublayer % 2 == ATTENTION else layers
        x = torch.cat([part[sublayer][0] for part in observed])
        matters = torch.cat([part[sublayer][1] for part in observed])
        norms.append(float(x.norm(dim=1).mean()))
        router.weight.data.copy_(fit(x, matters, recipe.skip * layers / free))
    return norms
