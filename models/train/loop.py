"""One stage of training: optimiser, schedule, checkpoints."""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional

from hwroute.models.train.config import ATTENTION, FFN, ModelShape, Recipe
from hwroute.models.train.data import sample
from hwroute.models.train.model import RoutedLlama
from hwroute.models.train.routing import Controller, NoisyGate, start_routers

log = logging.getLogger(__name__)

LOG_EVERY = 50
SAVE_EVERY = 100
SEED_STRIDE = 1_000_003


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the fraction of the highest learning rate at `step`."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def noise(recipe: Recipe, step: int) -> float:
    """Return the scale of the noise on router decisions at `step`."""
    return recipe.noise * max(0.0, 1 - step / (recipe.noise_end * recipe.steps))


def _optimizer(model: RoutedLlama, recipe: Recipe, norms: list[float]) -> torch.optim.AdamW:
    routers = [router.weight for _, router in model.routers_by_sublayer()]
    ids = {id(weight) for weight in routers}
    rest = [weight for weight in model.parameters() if id(weight) not in ids]
    matrices = [weight for weight in rest if weight.dim() == 2]
    vectors = [weight for weight in rest if weight.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.weight_decay, "peak": recipe.peak_lr},
        {"params": vectors, "weight_decay": 0.0, "peak": recipe.peak_lr},
    ]
    for weight, norm in zip(routers, norms, strict=True):
        groups.append({"params": [weight], "weight_decay": 0.0, "peak": recipe.router_lr / norm})
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


class Trainer:
    """Trains one stage; every step's randomness comes from the seed and the step's number alone.

    Parameters
    ----------
    recipe : Recipe
        Hyperparameters.
    train : Tensor, int64 [length]
        Training text.
    seed : int
        Seed of the weights, batches and noise.
    start : dict of str to Tensor or None
        Weights to start from; None starts from random ones.
    """

    def __init__(
        self, recipe: Recipe, train: Tensor, seed: int, start: dict[str, Tensor] | None = None
    ) -> None:
        self.recipe, self.train, self.seed = recipe, train, seed
        self.shape = ModelShape(kv_reuse=recipe.kv_reuse)
        torch.manual_seed(seed)
        self.model = RoutedLlama(self.shape, routers=recipe.routers, dropout=recipe.dropout)
        if start is not None:
            self.model.load_state_dict(start, strict=False)
        norms: list[float] = []
        if recipe.routers:
            batch = sample(train, recipe.calibration_rows, self.shape.context + 1)
            norms = start_routers(self.model.eval(), batch, recipe)
        self.model.train()
        self.optimizer = _optimizer(self.model, recipe, norms)
        self.controller = Controller(self.shape, recipe)
        self.step = 0

    def advance(self) -> tuple[float, NoisyGate]:
        """Take one step and return its loss and its gates."""
        recipe, model = self.recipe, self.model
        torch.manual_seed(self.seed * SEED_STRIDE + recipe.first_batch + self.step)
        rate = learning_rate(recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        batch = sample(self.train, recipe.rows, self.shape.context + 1)
        gate = NoisyGate(noise(recipe, self.step))
        if recipe.routers:
            model.set_int4(bool(torch.rand(()) < recipe.int4_share))
        logits = model(batch[:, :-1], gate if recipe.routers else None).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        total = loss + self.controller.loss(gate) if recipe.routers else loss
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.item(), gate

    def run(self, checkpoint: Path, steps: int | None = None) -> None:
        """Train to the end of the schedule, or for `steps` more steps, saving as it goes."""
        end = self.recipe.steps if steps is None else min(self.recipe.steps, self.step + steps)
        console = Console(stderr=True)
        with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task(checkpoint.stem, total=self.recipe.steps, completed=self.step)
            began = time.monotonic()
            while self.step < end:
                loss, gate = self.advance()
                progress.update(task, completed=self.step)
                if self.step % LOG_EVERY == 0 and progress.disable:
                    seconds = time.monotonic() - began
                    log.info("%s", self._line(checkpoint.stem, loss, gate, seconds))
                if self.step % SAVE_EVERY == 0 or self.step == end:
                    self.save(checkpoint)

    def _line(self, stage: str, loss: float, gate: NoisyGate, seconds: float) -> str:
        line = f"{stage} step {self.step}/{self.recipe.steps} loss {loss:.4f} {seconds:.0f} s"
        if not gate.hard:
            return line
        skips = [
            100 * (1 - float(gate.hard[s].mean())) if s in gate.hard else 0.0
            for s in range(self.shape.sublayers)
        ]
        kinds = " ".join(
            f"{name} " + "/".join(f"{skip:.0f}" for skip in skips[kind::2])
            for kind, name in ((ATTENTION, "attention"), (FFN, "ffn"))
        )
        return f"{line} skipped {sum(skips) / len(skips):.1f} %: {kinds}"

    def save(self, path: Path) -> None:
        """Write a checkpoint which `load` continues from, all or nothing."""
        state = {
            "step": self.step,
            "seed": self.seed,
            "recipe": repr(self.recipe),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "prices": self.controller.prices,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        ValueError
            If it was written with another seed or other hyperparameters.
        """
        state = torch.load(path, weights_only=True)
        if (state["seed"], state["recipe"]) != (self.seed, repr(self.recipe)):
            raise ValueError(f"Checkpoint {path} must have the same seed and recipe as this run")
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.controller.prices = state["prices"]
