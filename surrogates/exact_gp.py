"""One exact Gaussian process, fitted by the first of several ways that holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms.outcome import ChainedOutcomeTransform, Standardize
from botorch.models.utils import gpt_posterior_settings
from botorch.optim.fit import fit_gpytorch_mll_scipy, fit_gpytorch_mll_torch
from botorch.posteriors import GPyTorchPosterior, Posterior
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from torch import Tensor

from surrogates.log_transform import ShiftedLog

LBFGS_STEPS = 100
ADAM_STEPS = 200
SMALLEST_LENGTHSCALE = 2.5e-2
SMALLEST_NOISE = 1e-4
NUMERICAL_NOISE = 2e-6
SMALLEST_SPREAD = 1e-30
"""Values are scaled to unit spread, down to this: some units make all values tiny."""


def exact_gp(inputs: Tensor, values: Tensor, variances: Tensor, log_offset: float | None) -> SingleTaskGP:
    """An unfitted GP on inputs [n, k] and values [n], its posterior in the values' unit.

    Kernel: scaled Matern 5/2 with one lengthscale, under the dimension-scaled prior of Hvarfner, Hellsten,
    Nardi (ICML 2024). Noise: the reported variances [n] (0 where none is) plus one inferred for all, because
    a descriptor of the unrelaxed structure never fixes the value. `log_offset`: model log(value + offset).
    """
    logarithm = {} if log_offset is None else {"log": ShiftedLog(log_offset)}
    chain = ChainedOutcomeTransform(**logarithm, standardize=Standardize(1, min_stdv=SMALLEST_SPREAD))
    _, noise = chain(values[:, None], variances[:, None])
    likelihood = FixedNoiseGaussianLikelihood(
        noise[:, 0].clamp_min(NUMERICAL_NOISE),
        learn_additional_noise=True,
        noise_prior=LogNormalPrior(-4.0, 1.0),
        noise_constraint=GreaterThan(SMALLEST_NOISE, transform=None, initial_value=math.exp(-4.0)),
    )
    return SingleTaskGP(
        inputs,
        values[:, None],
        likelihood=likelihood,
        covar_module=matern(inputs.shape[-1]),
        outcome_transform=chain,
    )


def label_gp(inputs: Tensor, labels: Tensor, variance: float) -> SingleTaskGP:
    """An unfitted GP on labels [n] with the same known noise variance each, in the labels' own scale."""
    noise = torch.full_like(labels, variance)[:, None]
    kernel = matern(inputs.shape[-1])
    return SingleTaskGP(inputs, labels[:, None], noise, covar_module=kernel, outcome_transform=Standardize(1))


def matern(dimension: int) -> ScaleKernel:
    """The scaled isotropic Matern 5/2 kernel with a lengthscale prior that grows with the dimension."""
    prior = LogNormalPrior(math.sqrt(2) + math.log(dimension) / 2, math.sqrt(3))
    limit = GreaterThan(SMALLEST_LENGTHSCALE, transform=None, initial_value=prior.mode)
    return ScaleKernel(MaternKernel(nu=2.5, lengthscale_prior=prior, lengthscale_constraint=limit))


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
    covariance = latent.lazy_covariance_matrix.add_diagonal(model.likelihood.second_noise)
    measured = GPyTorchPosterior(MultivariateNormal(latent.mean, covariance))
    return model.outcome_transform.untransform_posterior(measured)


def as_constant(model: SingleTaskGP) -> SingleTaskGP:
    """The model with a lengthscale so short that it predicts the mean and the spread of its values."""
    model.covar_module.base_kernel.lengthscale = SMALLEST_LENGTHSCALE
    model.covar_module.outputscale = 1.0
    if model.likelihood.second_noise_covar is not None:
        model.likelihood.second_noise = 1.0
    model.eval()
    return model


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
