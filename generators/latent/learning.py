"""The decoder, tuned on what a campaign found good, without forgetting what crystals are like.

Good crystals are mixed with replayed ones, which it drew itself before (generative replay: Shin, Lee, Kim, Kim,
NeurIPS 2017, arXiv:1705.08690). A guard looks whether what it draws has become uniform.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from generators.latent.asking import compositions, fractions
from generators.latent.autoencoder import Autoencoder
from generators.latent.decoding import Decoding
from generators.latent.model import Told
from generators.latent.sampling import invented
from generators.latent.tokens import Tokens, joined
from generators.latent.weights import Model, seeded
from materials.files import whole

Context = Callable[[int], torch.Tensor]
"""Gives conditions (number, n)."""
TUNED = ("decoder.asked.", "decoder.entry.", "decoder.reminders.", "decoder.group_head.")
"""What reads the conditions; the rest stays, so that copying and chemistry are not forgotten."""
STEPS, BATCH, RATE = 30, 64, 6e-4
REPLAYED, GOOD_IN_BATCH = 256, 16
LOOKED_AT = 128
DISTINCT_FLOOR = 0.8
"""Distinct formulas among crystals drawn after tuning, relative to before."""
MOST_DRIFT = 0.3
"""Total variation between the element shares of crystals drawn after and before tuning."""
AMOUNTS = (1.0, 0.5, 0.25)


@dataclass(frozen=True)
class Tuning:
    """A tuned model, how far (0 to 1) it went from the one it began with, and what the guard saw there."""

    model: Model
    amount: float
    distinct: float
    drift: float


def tuned(
    model: Model, good: Tokens, wanted: Context, chemistry: Context, how: Decoding, seed: int
) -> Tuning:
    """The model after learning from good crystals, as far as the guard lets it go.

    wanted: conditions under which the campaign draws; chemistry: those of its elements alone.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learned = _learned(model, good, wanted, chemistry, how, seeded(seed))
    asked = wanted(LOOKED_AT)

    def drawn(one: Model) -> Tokens:
        return one.autoencoder.decode(invented(one, asked, seeded(seed)), how, seeded(seed))

    before = drawn(model)
    for amount in AMOUNTS:
        found = _between(model, learned, amount)
        after = drawn(found)
        distinct = _distinct(after) / max(1, _distinct(before))
        drift = float((_shares(after) - _shares(before)).abs().sum() / 2)
        if distinct >= DISTINCT_FLOOR and drift <= MOST_DRIFT:
            return Tuning(found, amount, distinct, drift)
    return Tuning(model, 0.0, 1.0, 0.0)


def save_tuning(tuning: Tuning, file: Path) -> None:
    """Writes what was tuned in half precision, whole or not at all, with what the guard saw."""
    about = {"amount": str(tuning.amount), "distinct": str(tuning.distinct), "drift": str(tuning.drift)}
    state = tuning.model.autoencoder.state_dict()
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as partial:
        save_file({k: v.half() for k, v in state.items() if k.startswith(TUNED)}, partial, metadata=about)


def _learned(
    model: Model, good: Tokens, wanted: Context, chemistry: Context, how: Decoding, generator: torch.Generator
) -> Autoencoder:
    """The autoencoder after STEPS on batches of good crystals and of replayed ones, under the same conditions."""
    half = REPLAYED // 2
    asked = torch.cat([wanted(half), chemistry(half)])
    replayed = model.autoencoder.decode(invented(model, asked, generator), how, generator)
    kept = replayed.filled.any(dim=1)
    replayed, asked = replayed[kept], asked[kept]
    network = copy.deepcopy(model.autoencoder).train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(TUNED))
    optimizer = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0
    )
    part = GOOD_IN_BATCH // 2
    for _ in range(STEPS):
        again = torch.randint(len(replayed), (BATCH - GOOD_IN_BATCH,), generator=generator)
        chosen = torch.randint(len(good), (GOOD_IN_BATCH,), generator=generator)
        batch = joined(replayed[again], good[chosen])
        loss = _cost(network, batch, torch.cat([asked[again], wanted(part), chemistry(part)]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def _cost(network: Autoencoder, tokens: Tokens, asked: torch.Tensor) -> torch.Tensor:
    """What inventing the crystals under their conditions costs."""
    z = torch.randn(len(tokens), network.shape.latent)
    told = Told(z, torch.ones(len(z)), asked, torch.zeros(len(z)))
    return network.costs(tokens, told).reconstruction()


def _between(model: Model, learned: Autoencoder, amount: float) -> Model:
    """The model whose weights lie so far on the way to the learned ones."""
    network = copy.deepcopy(model.autoencoder)
    mine, its = network.state_dict(), learned.state_dict()
    network.load_state_dict(
        {k: v.lerp(its[k], amount) if k.startswith(TUNED) else v for k, v in mine.items()}
    )
    return replace(model, autoencoder=network.eval())


def _distinct(tokens: Tokens) -> int:
    found = compositions(tokens[tokens.filled.any(dim=1)])
    return len({composition.reduced_formula for composition in found})


def _shares(tokens: Tokens) -> torch.Tensor:
    """Mean atomic fractions (ELEMENTS)."""
    return fractions(tokens[tokens.filled.any(dim=1)]).mean(dim=0)
