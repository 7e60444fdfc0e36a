"""Training of the autoencoder; it goes on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from generators.latent.altering import altered
from generators.latent.asking import Facts, drawn_conditions, nothing_asked
from generators.latent.autoencoder import Autoencoder
from generators.latent.corpus import Corpus
from generators.latent.decoding import Decoding
from generators.latent.model import Losses
from generators.latent.tokens import ELEMENTS, Tokens
from generators.latent.weights import seeded
from materials.files import whole

Report = Callable[[int, dict[str, float]], None]
"""Takes the step and figures."""
BFLOAT = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
"""Whether this processor multiplies in bfloat16, which halves the time of a step."""
ALTERED = 0.4
"""Share of every batch that is changed at random."""
PARTS = tuple(f.name for f in fields(Losses))


class CheckpointError(ValueError):
    """A checkpoint that does not belong to what is to be trained."""


@dataclass(frozen=True)
class Course:
    """How long and how fast: steps, crystals in a batch, highest learning rate, and the divergence's weight."""

    steps: int
    batch: int = 128
    rate: float = 6e-4
    divergence: float = 3e-3
    every: int = 500
    """Steps between checkpoints and looks at the validation crystals."""


class Training:
    """A network, its optimiser, and a checkpoint, which is gone on from where it learned from the same `digest`."""

    def __init__(self, network: nn.Module, course: Course, file: Path, digest: str) -> None:
        self.network, self.course, self.file, self.digest = network, course, file, digest
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=course.rate, weight_decay=0.05, betas=(0.9, 0.98), fused=True
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.step = 0
        if self.file.exists():
            self._restore(torch.load(self.file, weights_only=True))

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / 300)
        return warm * (0.5 * (1 + math.cos(math.pi * min(1.0, step / self.course.steps))) + 1e-3)

    def _restore(self, kept: dict[str, Any]) -> None:
        if kept.get("digest") != self.digest:
            raise CheckpointError(
                f"{self.file}: begun with other crystals, properties or an older version; name another --out"
            )
        self.network.load_state_dict(kept["network"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.schedule.load_state_dict(kept["schedule"])
        self.step = kept["step"]

    def keep(self) -> None:
        """Writes the checkpoint whole or not at all."""
        kept = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "digest": self.digest,
        }
        with whole(self.file) as partial:
            torch.save(kept, partial)

    def run(
        self, losses: Iterator[dict[str, torch.Tensor]], look: Callable[[], dict[str, float]], tell: Report
    ) -> None:
        """Steps until the course ends; `losses` gives what to minimise under `loss`, and parts of it to tell."""
        sums: dict[str, float] = {}
        since = 0
        while self.step < self.course.steps:
            with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT):
                found = next(losses)
            self.optimizer.zero_grad()
            found["loss"].backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.step, since = self.step + 1, since + 1
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            if self.step % self.course.every == 0 or self.step == self.course.steps:
                self.network.eval()
                tell(self.step, {k: v / since for k, v in sums.items()} | look())
                self.network.train()
                self.keep()
                sums, since = {}, 0


def train(
    network: Autoencoder, corpus: Corpus, course: Course, folder: Path, seed: int, tell: Report
) -> None:
    """Trains the autoencoder, or the rest of it."""
    training = Training(network, course, folder / "latent.checkpoint", corpus.digest)
    torch.manual_seed(seed + training.step)
    generator = seeded(seed + training.step)
    batches = corpus.batches(course.batch, generator)
    usual = torch.bincount(corpus.train.element[corpus.train.filled], minlength=ELEMENTS).float()
    sample = torch.randperm(len(corpus.validation), generator=seeded(0))[:512]
    held_out = corpus.validation[sample], corpus.validation_facts[sample]

    def losses() -> Iterator[dict[str, torch.Tensor]]:
        for chosen in batches:
            found = network(*lesson(corpus.train[chosen], corpus.facts[chosen], usual, generator))
            # The prior's pull grows slowly: a latent that says nothing is otherwise the first thing that is learned.
            pull = course.divergence * min(1.0, training.step / (0.2 * course.steps))
            parts = {name: getattr(found, name) for name in PARTS}
            yield {"loss": found.reconstruction() + pull * found.divergence, **parts}

    network.train()
    training.run(losses(), lambda: look_at(network, *held_out), tell)
    network.eval()


def lesson(
    real: Tokens, facts: Facts, usual: torch.Tensor, generator: torch.Generator
) -> tuple[Tokens, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a batch teaches: crystals, levels of noise, conditions, and which crystals were changed at random.

    Changed ones are to be copied; of the others half are drawn from conditions alone, the rest from noisy points.
    """
    number = len(real)
    kind = torch.rand(number, generator=generator)
    changed = kind < ALTERED
    alone = kind > 1 - (1 - ALTERED) / 2
    level = torch.rand(number, generator=generator)
    level = torch.where(changed, 0.15 * level, torch.where(alone, torch.ones(()), level))
    asked = drawn_conditions(real, facts, generator).joined() * ~changed.unsqueeze(1)
    return mixed(real, altered(real, usual, generator), changed), level, asked, changed.float()


def mixed(one: Tokens, other: Tokens, chosen: torch.Tensor) -> Tokens:
    """The crystals of `other` where `chosen` (B), else those of `one`; both have the same positions."""
    parts = {}
    for f in fields(Tokens):
        mine, its = getattr(one, f.name), getattr(other, f.name)
        parts[f.name] = torch.where(chosen.view(-1, *[1] * (mine.dim() - 1)), its, mine)
    return Tokens(**parts)


@torch.no_grad()
def look_at(network: Autoencoder, sample: Tokens, facts: Facts) -> dict[str, float]:
    """Costs of crystals it never saw, copied, invented, and invented with their properties told.

    And the share that decodes to the same positions.
    """
    number = len(sample)
    nothing, zeros = torch.zeros(number, network.conditions), torch.zeros(number)
    asked = replace(nothing_asked(number, facts.properties.shape[1]), properties=facts.properties).joined()
    told: dict[str, float] = {}
    for kind, level, conditions in (
        ("copied", zeros, nothing),
        ("invented", zeros + 1, nothing),
        ("asked", zeros + 1, asked),
    ):
        found = network(sample, level, conditions, zeros)
        told |= {f"{kind} {name}": float(getattr(found, name)) for name in PARTS if name != "divergence"}
    z = network.encode(sample)
    for noise in (0.0, 0.1):
        moved = network.copying(z + noise * torch.randn_like(z))
        same = same_sites(sample, network.decode(moved, Decoding(), seeded(0)))
        told[f"recovered at noise {noise}"] = float(same.float().mean())
    return told | {"deviation of z": float(z.std(dim=0).mean())}


def same_sites(one: Tokens, other: Tokens) -> torch.Tensor:
    """Whether (B) groups, positions and elements agree, in their order."""
    width = max(one.filled.shape[1], other.filled.shape[1])

    def key(tokens: Tokens) -> torch.Tensor:
        names = torch.where(tokens.filled, tokens.letter * 128 + tokens.element, -1)
        names = nn.functional.pad(names, (0, width - names.shape[1]), value=-1)
        return torch.cat([tokens.group.unsqueeze(1), names], dim=1)

    return (key(one) == key(other)).all(dim=1)
