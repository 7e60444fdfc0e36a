"""One exact Gaussian process, fitted by the first of several ways that holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms.outcome import ChainedOutcomeTransform, Standardize
from botorch.models.utils import gpt_posterior_settings
from botorch.optim.fit import fit_gpytorch_mll_scipy, fit_gpytorch_mll_torch
from botorch.posteriors import GPyTorchPosterior, Posterior
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import InducingPointKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from surrogates.columns import Columns
from surrogates.log_transform import ShiftedLog
from surrogates.transfer_gp import (
    SMALLEST_LENGTHSCALE,
    InputView,
    LevelNoise,
    StandardizeByLevel,
    TransferKernel,
    TransferMean,
    matern,
)

LBFGS_STEPS = 100
ADAM_STEPS = 200
SMALLEST_SPREAD = 1e-30
"""Values are scaled to unit spread, down to this: some units make all values tiny."""


def property_gp(
    inputs: Tensor, values: Tensor, variances: Tensor, columns: Columns, log_offset: float | None
) -> SingleTaskGP:
    """An unfitted GP on inputs [n, k] and values [n], its posterior in the values' unit; see `transfer_gp`.

    Noise: the reported variances [n] (0 where none is) plus one inferred for each level, because a descriptor of the
    unrelaxed structure never fixes the value. `log_offset`: model log(value + offset).
    """
    logarithm = {} if log_offset is None else {"log": ShiftedLog(log_offset)}
    standard = StandardizeByLevel(1, min_stdv=SMALLEST_SPREAD)
    chain = ChainedOutcomeTransform(**logarithm, standardize=standard)
    targets, noise = chain(values[:, None], variances[:, None], X=inputs)
    view = InputView(columns, chain, inputs)
    return SingleTaskGP(
        inputs,
        values[:, None],
        likelihood=LevelNoise(view, noise[:, 0]),
        mean_module=TransferMean(view, inputs, targets[:, 0]),
        covar_module=TransferKernel(view),
        outcome_transform=chain,
    )


def as_sparse(model: SingleTaskGP, points: Tensor) -> SingleTaskGP:
    """The model with its rows summed up in the values at inducing points [m, k].

    Inducing points after Titsias, AISTATS 2009, with the hyperparameters as they are: no bound is optimised. At a
    prediction the variance that the points leave out is added.
    """
    model.covar_module = InducingPointKernel(model.covar_module, points.clone(), model.likelihood)
    model.covar_module.inducing_points.requires_grad_(False)
    return model


def transferred(model: SingleTaskGP) -> str:
    """What an exact model made of its prior and of its other fidelities, in words; empty where it has neither."""
    kernel, told = model.covar_module, ""
    view = kernel.view
    if view.columns.prior is not None:
        (inputs,), targets = model.train_inputs, model.train_targets
        marginal = _marginal(model)
        with torch.no_grad():
            weights = torch.linalg.solve(marginal.covariance_matrix, targets - marginal.mean)
            slope = 1 + kernel.biases[0, 1] ** 2 * ((view.level(inputs) == 0) * view.mean(inputs)) @ weights
        told += f", slope {float(slope):.2f} on the prior"
    if view.columns.levels > 1:
        told += f", shares {', '.join(f'{share:.2f}' for share in kernel.shares.tolist())}"
    return told


def log_evidence(model: SingleTaskGP) -> float:
    """The log probability (nats, standardised values) of an exact model's training values."""
    with torch.no_grad():
        return float(_marginal(model).log_prob(model.train_targets))


def _marginal(model: SingleTaskGP) -> MultivariateNormal:
    """What the model says of its training values before it has seen them."""
    with torch.no_grad():
        (inputs,) = model.train_inputs
        return model.likelihood(model.forward(inputs), inputs)


def label_gp(inputs: Tensor, labels: Tensor, variance: float) -> SingleTaskGP:
    """An unfitted GP on labels [n] with the same known noise variance each, in the labels' own scale."""
    noise = torch.full_like(labels, variance)[:, None]
    kernel = matern(inputs.shape[-1])
    return SingleTaskGP(inputs, labels[:, None], noise, covar_module=kernel, outcome_transform=Standardize(1))


Way = Callable[[ExactMarginalLogLikelihood], object]

WAYS: tuple[tuple[str, Way], ...] = (
    ("L-BFGS", lambda mll: fit_gpytorch_mll_scipy(mll, options={"maxiter": LBFGS_STEPS})),
    ("Adam", lambda mll: fit_gpytorch_mll_torch(mll, step_limit=ADAM_STEPS)),
    ("fixed hyperparameters", lambda mll: None),
)


def fit_first_that_holds(make: Callable[[], SingleTaskGP]) -> tuple[SingleTaskGP, str, tuple[str, ...]]:
    """A fitted model, how it was fitted, and what failed before.

    Ways: L-BFGS, Adam, hyperparameters at their prior modes, and at last the constant mean with the spread of
    the values. Each way starts from a new model; it holds when its predictions at its own rows are finite.
    """
    failed: list[str] = []
    for name, way in WAYS:
        try:
            model = make()
            way(ExactMarginalLogLikelihood(model.likelihood, model))
            check_finite(model)
            return model, name, tuple(failed)
        except (RuntimeError, ValueError, ArithmeticError) as error:
            failed.append(f"{name}: {first_line(error)}")
    return as_constant(make()), "constant mean", tuple(failed)


def check_finite(model: SingleTaskGP) -> None:
    """Raises ValueError where the model has no finite predictions at its own rows."""
    model.eval()
    with torch.no_grad():
        posterior = model.posterior(model.train_inputs[0])
        finite = posterior.mean.isfinite().all() and posterior.variance.isfinite().all()
    if not finite:
        raise ValueError("its predictions are not finite")


def noisy_posterior(model: SingleTaskGP, inputs: Tensor) -> Posterior:
    """The posterior of a measurement at inputs [n, k]: of the function, with the inferred noise added."""
    model.eval()
    with gpt_posterior_settings():
        latent = model(inputs)
    covariance = latent.lazy_covariance_matrix.add_diagonal(model.likelihood.further(inputs))
    measured = GPyTorchPosterior(MultivariateNormal(latent.mean, covariance))
    return model.outcome_transform.untransform_posterior(measured)


def as_constant(model: SingleTaskGP) -> SingleTaskGP:
    """The model with a lengthscale so short that it predicts its mean and the spread of the values about it."""
    kernel = (
        model.covar_module.truth if isinstance(model.covar_module, TransferKernel) else model.covar_module
    )
    kernel.base_kernel.lengthscale = SMALLEST_LENGTHSCALE
    kernel.outputscale = 1.0
    if isinstance(model.likelihood, LevelNoise):
        model.likelihood.initialize(inferred=1.0)
    return model.eval()


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """One thread, double precision and a seed of its own, leaving torch as it was found."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
