"""Training of what foretells properties; it goes on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch

from generators.latent.corpus import Corpus
from generators.latent.foreteller import Foreteller
from generators.latent.training import Course, Report, Training
from generators.latent.weights import seeded

ROUNDS, MOST_STEPS, BATCH, RATE = 40, 4_000, 256, 1e-3
"""How often each crystal is seen, in how many steps at the most, by how many at once; highest learning rate."""


def train_foreteller(network: Foreteller, corpus: Corpus, folder: Path, seed: int, tell: Report) -> None:
    """Trains it, or the rest of it, on the training crystals whose properties are known."""
    known = corpus.facts.properties.isfinite().any(dim=1).nonzero()[:, 0]
    steps = min(MOST_STEPS, math.ceil(ROUNDS * len(known) / BATCH))
    course = Course(steps, batch=BATCH, rate=RATE)
    training = Training(network, course, folder / "foreteller.checkpoint", corpus.digest)
    torch.manual_seed(seed + training.step)
    generator = seeded(seed + training.step)

    def losses() -> Iterator[dict[str, torch.Tensor]]:
        while True:
            chosen = known[torch.randint(len(known), (BATCH,), generator=generator)]
            likelihood = network.log_likelihood(corpus.train[chosen], corpus.facts[chosen].properties)
            yield {"loss": -likelihood.sum() / BATCH}

    network.train()
    training.run(losses(), lambda: errors(network, corpus), tell)
    network.eval()


@torch.no_grad()
def errors(network: Foreteller, corpus: Corpus) -> dict[str, float]:
    """Mean absolute errors for the validation crystals, in the units of the properties."""
    away = (network(corpus.validation)[0] - corpus.validation_facts.properties).abs().nanmean(dim=0)
    return {
        f"error of {scale.name}": float(a) * scale.spread
        for scale, a in zip(corpus.scales, away, strict=True)
    }
