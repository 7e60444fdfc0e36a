"""Two trainings: the autoencoder, then the flow over its latents. Both go on where they stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from generators.latent.altering import altered
from generators.latent.asking import drawn_conditions
from generators.latent.autoencoder import Autoencoder, Decoding
from generators.latent.corpus import Corpus
from generators.latent.flow import Flow
from generators.latent.model import Losses
from generators.latent.tokens import ELEMENTS, Tokens
from generators.latent.weights import seeded

Report = Callable[[str, int, dict[str, float]], None]
"""Takes the phase (autoencoder or flow), the step and figures."""
BFLOAT = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
"""Whether this processor multiplies in bfloat16, which halves the time of a step."""
ALTERED = 0.5
"""Share of every batch that is changed at random."""
PARTS = tuple(f.name for f in fields(Losses))


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
    """One phase: a network, its optimiser, and a checkpoint in `folder`."""

    def __init__(self, name: str, network: nn.Module, course: Course, folder: Path) -> None:
        self.name, self.network, self.course, self.file = name, network, course, folder / f"{name}.checkpoint"
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=course.rate, weight_decay=0.01, betas=(0.9, 0.98)
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.step = 0
        if self.file.exists():
            self._restore(torch.load(self.file, weights_only=True))

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / 300)
        return warm * (0.5 * (1 + math.cos(math.pi * min(1.0, step / self.course.steps))) + 1e-3)

    def _restore(self, kept: dict[str, Any]) -> None:
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
        }
        partial = self.file.with_name(self.file.name + ".part")
        torch.save(kept, partial)
        partial.replace(self.file)

    def run(
        self, losses: Iterator[dict[str, torch.Tensor]], look: Callable[[], dict[str, float]], tell: Report
    ) -> None:
        """Steps until the course ends; `losses` gives what to minimise under `loss`, and parts of it to tell."""
        sums: dict[str, float] = {}
        while self.step < self.course.steps:
            with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT):
                found = next(losses)
            self.optimizer.zero_grad()
            found["loss"].backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.step += 1
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            if self.step % self.course.every == 0 or self.step == self.course.steps:
                since = (self.step - 1) % self.course.every + 1
                self.network.eval()
                tell(self.name, self.step, {k: v / since for k, v in sums.items()} | look())
                self.network.train()
                self.keep()
                sums = {}


def train_autoencoder(
    network: Autoencoder, corpus: Corpus, course: Course, folder: Path, seed: int, tell: Report
) -> None:
    """Trains the autoencoder, or the rest of it."""
    training = Training("autoencoder", network, course, folder)
    torch.manual_seed(seed + training.step)
    generator = seeded(seed + training.step)
    batches = corpus.batches(course.batch, generator)
    usual = torch.bincount(corpus.train.element[corpus.train.filled], minlength=ELEMENTS).float()
    sample = corpus.validation[torch.randperm(len(corpus.validation), generator=seeded(0))[:512]]

    def losses() -> Iterator[dict[str, torch.Tensor]]:
        for chosen in batches:
            real = corpus.train[chosen]
            changed = torch.rand(len(real), generator=generator) < ALTERED
            found = network(mixed(real, altered(real, usual, generator), changed), changed)
            # The prior's pull grows slowly: a latent that says nothing is otherwise the first thing that is learned.
            pull = course.divergence * min(1.0, training.step / (0.2 * course.steps))
            parts = {name: getattr(found, name) for name in PARTS}
            yield {"loss": found.reconstruction() + pull * found.divergence, **parts}

    network.train()
    training.run(losses(), lambda: look_at(network, sample), tell)
    network.eval()


def mixed(one: Tokens, other: Tokens, chosen: torch.Tensor) -> Tokens:
    """The crystals of `other` where `chosen` (B), else those of `one`; both have the same positions."""
    parts = {}
    for f in fields(Tokens):
        mine, its = getattr(one, f.name), getattr(other, f.name)
        parts[f.name] = torch.where(chosen.view(-1, *[1] * (mine.dim() - 1)), its, mine)
    return Tokens(**parts)


@torch.no_grad()
def look_at(network: Autoencoder, sample: Tokens) -> dict[str, float]:
    """Losses on crystals it never saw, and the share that decodes to its own positions and elements."""
    found = network(sample)
    told = {f"validation {name}": float(getattr(found, name)) for name in PARTS}
    z = network.encode(sample)
    for noise, copied in ((0.0, False), (0.1, False), (0.1, True)):
        decoded = network.decode(z + noise * torch.randn_like(z), Decoding(altered=copied), seeded(0))
        kind = "copied" if copied else "decoded"
        told[f"{kind} at noise {noise}"] = float(same_sites(sample, decoded).float().mean())
    told["deviation of z"] = float(z.std(dim=0).mean())
    return told


def same_sites(one: Tokens, other: Tokens) -> torch.Tensor:
    """Whether (B) groups, positions and elements agree, in their order."""
    width = max(one.filled.shape[1], other.filled.shape[1])

    def key(tokens: Tokens) -> torch.Tensor:
        names = torch.where(tokens.filled, tokens.letter * 128 + tokens.element, -1)
        names = nn.functional.pad(names, (0, width - names.shape[1]), value=-1)
        return torch.cat([tokens.group.unsqueeze(1), names], dim=1)

    return (key(one) == key(other)).all(dim=1)


@torch.no_grad()
def latents(network: Autoencoder, tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (N, latent) of every crystal's z."""
    told = [network.encoder(tokens[slice(k, k + 512)]) for k in range(0, len(tokens), 512)]
    return torch.cat([mean for mean, _ in told]), torch.cat([(0.5 * spread).exp() for _, spread in told])


def train_flow(
    flow: Flow, network: Autoencoder, corpus: Corpus, course: Course, folder: Path, seed: int, tell: Report
) -> None:
    """Trains the flow over the latents of a trained autoencoder, or the rest of it."""
    mean, spread = latents(network, corpus.train)
    flow.center.copy_(mean.mean(dim=0))
    flow.spread.copy_((mean.std(dim=0) ** 2 + (spread**2).mean(dim=0)).sqrt())
    training = Training("flow", flow, course, folder)
    torch.manual_seed(seed + training.step)
    generator = seeded(seed + training.step)
    batches = corpus.batches(course.batch, generator)
    unseen = latents(network, corpus.validation)[0]
    asked = drawn_conditions(
        corpus.validation, torch.full((len(unseen), len(corpus.scales)), math.nan), seeded(0)
    ).joined()

    def losses() -> Iterator[dict[str, torch.Tensor]]:
        for chosen in batches:
            told = drawn_conditions(corpus.train[chosen], corpus.train_properties[chosen], generator).joined()
            z = mean[chosen] + spread[chosen] * torch.randn_like(spread[chosen])
            yield {"loss": flow.loss(z, told)}

    @torch.no_grad()
    def look() -> dict[str, float]:
        return {"validation loss": float(flow.loss(unseen, asked))}

    flow.train()
    training.run(losses(), look, tell)
    flow.eval()
