"""The stages in order: train, save, export."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hwroute.models.train import data, export
from hwroute.models.train.config import FOLDERS, STAGES
from hwroute.models.train.loop import Trainer

START = "dense"
HELD_OUT_FILE = "heldout.txt"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One invocation of the recipe.

    Parameters
    ----------
    corpus, out : Path
        Text to train on, and the folder for checkpoints and model folders.
    seed : int
        Seed of everything random.
    steps : int or None
        Steps of each stage's schedule instead of the recipe's.
    resume : bool
        Whether to continue from checkpoints in `out`.
    threads : int
        CPU threads.
    """

    corpus: Path
    out: Path
    seed: int = 1
    steps: int | None = None
    resume: bool = False
    threads: int = 2

    def stages(self, stage: str) -> None:
        """Run one stage, or all of them in order."""
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(True)
        self.out.mkdir(parents=True, exist_ok=True)
        for name in STAGES if stage == "all" else [stage]:
            self._stage(name)

    def checkpoint(self, stage: str) -> Path:
        """Return where a stage's checkpoint lies."""
        return self.out / f"{stage}.pt"

    def trainer(self, stage: str) -> Trainer:
        """Prepare a stage, continued from its checkpoint if the run resumes and there is one.

        Raises
        ------
        FileNotFoundError
            If a routed stage has no dense checkpoint to start from.
        """
        recipe = STAGES[stage]
        if self.steps is not None:
            recipe = replace(recipe, steps=self.steps)
        train, _ = data.load(self.corpus)
        trainer = Trainer(recipe, train, self.seed, self._start() if recipe.routers else None)
        if self.resume and self.checkpoint(stage).exists():
            trainer.load(self.checkpoint(stage))
        return trainer

    def _start(self) -> dict[str, Tensor]:
        path = self.checkpoint(START)
        if not path.exists():
            raise FileNotFoundError(f"Routed stages start from {path}: run --stage {START} first")
        weights: dict[str, Tensor] = torch.load(path, weights_only=True)["model"]
        return weights

    def _stage(self, stage: str) -> None:
        trainer = self.trainer(stage)
        trainer.run(self.checkpoint(stage))
        folder = self.out / FOLDERS[stage]
        reuse = trainer.recipe.routers and trainer.shape.kv_reuse
        export.save(trainer.model, folder, seed=self.seed, with_int4=reuse)
        if reuse:
            _, held_out = data.split(self.corpus.read_bytes())
            (folder / HELD_OUT_FILE).write_bytes(held_out)
