"""The flow, tuned on what a campaign found good, without forgetting what crystals are like.

Good crystals are mixed with replayed ones, which the flow drew itself before (generative replay: Shin, Lee, Kim, Kim,
NeurIPS 2017, arXiv:1705.08690). A guard looks whether what it draws has become uniform.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from generators.latent.asking import fractions
from generators.latent.autoencoder import Decoding
from generators.latent.flow import Flow
from generators.latent.tokens import Tokens, crystals_of
from generators.latent.weights import Model

Context = Callable[[int], torch.Tensor]
"""Gives conditions (number, n)."""
STEPS, BATCH, RATE = 120, 64, 1e-4
REPLAYED, GOOD_IN_BATCH = 512, 16
LOOKED_AT = 128
DISTINCT_FLOOR = 0.8
"""Distinct formulas among crystals drawn after tuning, relative to before."""
MOST_DRIFT = 0.3
"""Total variation between the element shares of crystals drawn after and before tuning."""
AMOUNTS = (1.0, 0.5, 0.25)


@dataclass(frozen=True)
class Tuning:
    """A flow, how far (0 to 1) it went from the one that ships, and what the guard saw there."""

    flow: Flow
    amount: float
    distinct: float
    drift: float


def tuned(
    model: Model, good: Tokens, wanted: Context, chemistry: Context, how: Decoding, seed: int
) -> Tuning:
    """The flow of `model` after learning from good crystals, as far as the guard lets it go.

    wanted: conditions under which the campaign draws; chemistry: those of its elements alone.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, spread = model.autoencoder.encoder(good)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learned = _learned(model, mean.detach(), (0.5 * spread.detach()).exp(), wanted, chemistry, generator)
    noise = torch.randn(LOOKED_AT, model.flow.latent, generator=generator)
    asked = wanted(LOOKED_AT)

    def drawn(flow: Flow) -> Tokens:
        return model.autoencoder.decode(
            flow.to_latents(noise, asked), how, torch.Generator().manual_seed(seed)
        )

    before = drawn(model.flow)
    for amount in AMOUNTS:
        flow = _between(model.flow, learned, amount)
        after = drawn(flow)
        distinct = _distinct(after) / max(1, _distinct(before))
        drift = float((_shares(after) - _shares(before)).abs().sum() / 2)
        if distinct >= DISTINCT_FLOOR and drift <= MOST_DRIFT:
            return Tuning(flow, amount, distinct, drift)
    return Tuning(model.flow, 0.0, 1.0, 0.0)


def save_tuning(tuning: Tuning, file: Path) -> None:
    """Writes the flow in half precision, whole or not at all, with what the guard saw."""
    about = {"amount": str(tuning.amount), "distinct": str(tuning.distinct), "drift": str(tuning.drift)}
    partial = file.with_name(file.name + ".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: v.half() for name, v in tuning.flow.state_dict().items()}, partial, metadata=about)
    partial.replace(file)


def _learned(
    model: Model, mean: torch.Tensor, spread: torch.Tensor, wanted: Context, chemistry: Context,
    generator: torch.Generator,
) -> Flow:  # fmt: skip
    """The flow after STEPS on batches of good crystals and replayed ones."""
    third = REPLAYED // 3
    asked = torch.cat([wanted(third), chemistry(third), torch.zeros_like(chemistry(third))])
    noise = torch.randn(len(asked), model.flow.latent, generator=generator)
    replayed = model.flow.to_latents(noise, asked)
    flow = copy.deepcopy(model.flow).train()
    optimizer = torch.optim.AdamW(flow.parameters(), lr=RATE, weight_decay=0.0)
    for _ in range(STEPS):
        again = torch.randint(len(replayed), (BATCH - GOOD_IN_BATCH,), generator=generator)
        chosen = torch.randint(len(mean), (GOOD_IN_BATCH,), generator=generator)
        latents = mean[chosen] + spread[chosen] * torch.randn(
            GOOD_IN_BATCH, mean.shape[1], generator=generator
        )
        half = GOOD_IN_BATCH // 2
        conditions = torch.cat([asked[again], wanted(half), chemistry(GOOD_IN_BATCH - half)])
        optimizer.zero_grad()
        flow.loss(torch.cat([replayed[again], latents]), conditions).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return flow.eval()


def _between(one: Flow, other: Flow, amount: float) -> Flow:
    """The flow whose weights lie so far from `one` to `other`."""
    found = copy.deepcopy(one)
    mine, its = one.state_dict(), other.state_dict()
    found.load_state_dict({name: mine[name].lerp(its[name], amount) for name in mine})
    return found.eval()


def _distinct(tokens: Tokens) -> int:
    return len(
        {c.structure().composition.reduced_formula for c in crystals_of(tokens[tokens.filled.any(dim=1)])}
    )


def _shares(tokens: Tokens) -> torch.Tensor:
    """Mean atomic fractions (ELEMENTS)."""
    return fractions(tokens[tokens.filled.any(dim=1)]).mean(dim=0)
