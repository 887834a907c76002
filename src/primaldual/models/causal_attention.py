"""Treatment effects of data sets never seen before, by one forward pass: balancing weights from attention."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.nn.encoder import Encoder
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.balancing import BalancingWeights, read_treatment
from primaldual.svr.solve import kernel_deviation, own_copy
from primaldual.svr.training_kernel import training_kernels

MEMORY = 2**32
"""Bytes that kernel matrices of a batch may need."""


class CausalAttention(nn.Module):
    r"""Give the balancing weights of a set of units: an encoder in place of the solver of each set.

        a = sigmoid(encoder([x, w, K w])), the larger arm scaled down to sum_j w_j a_j = 0,   beta_j = C a_j w_j / s

    beta are the coefficients of the regression whose attention predicts the treatment,
    f(x) = sum_j kappa(x, k_j) / h(x) beta_j / h(k_j) + b, and train the encoder by its penalised hinge,

        1/2 beta' K beta s / C + sum_j max(1 - w_j f(k_j), 0),   per unit,

    with the best b: ``found.objective.mean()`` over many sets. Whatever the encoder says, the weights satisfy the
    constraints of the exact program, so ``found.gap`` bounds how far their objective is from the best one. Outcomes
    are not read. The order of the units does not matter. What the encoder reads is standardised in
    every set.

    Here kernels are those of the covariates, with nothing to learn, so that weights can be compared with the exact ones
    of :func:`balancing_weights`; the paper learns keys too.

    Args:
        features: covariates of a unit.
        C: in units of the kernel, above 0.
        problem: the space in which units are balanced.
        embed_dim: width of the encoder; a multiple of num_heads.
        num_heads: attention heads of the encoder.
        num_layers: its blocks.
        feedforward_dim: width inside its feed-forward networks.
        attention: of the encoder, a spec or a problem.

    Raises:
        ArgumentError: a size below 1, or C of 0 or less.

    Reference: Zhang, Jennings, Hilmkil, Pawlowski, Zhang, Ma, "Towards Causal Foundation Model: on Duality between
        Optimal Balancing and Attention", ICML 2024, arXiv 2310.00809.

    Example:
        >>> model = CausalAttention(features=3)
        >>> covariates, treatment = torch.randn(8, 20, 3), torch.rand(8, 20) > 0.5
        >>> found = model(covariates, treatment)  # of 8 sets of 20 units
        >>> found.objective.mean().backward()
        >>> found.effect(covariates[..., 0] + treatment).shape
        torch.Size([8])
    """

    def __init__(
        self,
        features: int,
        C: float = 1.0,
        problem: PrimalProblem | str = "bn",
        *,
        embed_dim: int = 32,
        num_heads: int = 4,
        num_layers: int = 2,
        feedforward_dim: int = 64,
        attention: str | PrimalProblem = "softmax",
    ) -> None:
        super().__init__()
        if features < 1:
            raise ArgumentError(f"features must be 1 or more; got {features}")
        if not 0 < C < torch.inf:
            raise ArgumentError(f"C must be above 0 and finite; got {C}")
        self.features = features
        self.penalty = C
        self.problem = own_copy(problem, torch.float64)
        self.embedding = nn.Linear(features + 3, embed_dim)
        self.encoder = Encoder(num_layers, embed_dim, num_heads, feedforward_dim, attention=attention)
        self.score = nn.Linear(embed_dim, 1)

    def forward(self, covariates: Tensor, treatment: Tensor, mask: Tensor | None = None) -> BalancingWeights:
        """Weigh the units of every set.

        Args:
            covariates: (sets, N, features).
            treatment: bool (sets, N), True = treated.
            mask: bool (sets, N), True = a unit; others are ignored, whatever they hold.

        Raises:
            ShapeError: sizes that do not fit.
            ArgumentError: a treatment or mask that is not boolean, an arm without units, or covariates that are not finite.
        """
        if covariates.dim() != 3 or covariates.shape[2] != self.features:
            raise ShapeError(
                f"covariates must be (sets, N, {self.features}); got shape {tuple(covariates.shape)}"
            )
        read_treatment(covariates, treatment, mask)
        units = torch.ones_like(treatment) if mask is None else mask
        covariates = torch.where(units.unsqueeze(-1), covariates, 0.0)
        if not bool(covariates.isfinite().all()):
            raise ArgumentError("covariates must be finite; got NaN or infinite values")
        kernel = self._kernel(covariates, units)
        weights = self._weights(covariates, treatment, units, kernel)
        signs = torch.where(treatment, 1.0, -1.0).to(weights)
        signed = weights * signs
        fitted = self.penalty * (kernel @ signed.unsqueeze(-1)).squeeze(-1)
        norm = (signed * fitted).sum(-1)
        margins = signs * (fitted + best_intercept(fitted, treatment, units).unsqueeze(-1))
        loss = torch.where(units, (1 - margins).clamp(min=0), 0.0).sum(-1)
        count = units.sum(-1)
        objective = (norm / 2 + loss) / count
        return BalancingWeights(
            weights, treatment, objective, objective - (weights.sum(-1) - norm / 2) / count
        )

    def _weights(self, covariates: Tensor, treatment: Tensor, units: Tensor, kernel: Tensor) -> Tensor:
        """a, within [0, 1] and balanced."""
        signs = torch.where(units, torch.where(treatment, 1.0, -1.0), 0.0).to(covariates)
        known = standardised(torch.cat([covariates, kernel @ signs.unsqueeze(-1)], -1), units)
        tokens = self.embedding(torch.cat([known, one_hot(treatment.long(), 2).to(known)], -1))
        scores = self.score(self.encoder(tokens, ~units)).squeeze(-1)
        weights = torch.where(units, scores.sigmoid(), 0.0)
        totals = [torch.where(arm, weights, 0.0).sum(-1, keepdim=True) for arm in (treatment, ~treatment)]
        least = torch.minimum(*totals)
        smallest = torch.finfo(weights.dtype).tiny  # scores far below 0 round the weights of an arm to 0
        totals = [total.clamp(min=smallest) for total in totals]
        return weights * torch.where(treatment, least / totals[0], least / totals[1])

    @torch.no_grad()
    def _kernel(self, covariates: Tensor, units: Tensor) -> Tensor:
        """K of centred features over its scale s, (sets, N, N)."""
        keys, mask = covariates.double().unsqueeze(1), units.unsqueeze(1)
        (part,) = training_kernels(own_copy(self.problem, torch.float64), keys, mask, MEMORY)
        if part.shares is not None:
            raise UnsupportedError(
                f"problem {self.problem.spec()!r} pools units; accepted are problems whose training pairs are units"
            )
        # Signed weights sum to 0, so a mean that is taken off the features changes nothing but b.
        matrix = part.centred().kernel.dense().matrix
        return (matrix / kernel_deviation(part)[..., None, None]).squeeze(1).to(covariates.dtype)


def standardised(columns: Tensor, units: Tensor) -> Tensor:
    """Every column of every set with mean 0 and variance 1 over its units; (sets, N, columns).

    Example:
        >>> standardised(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]]))[0, :2, 0]
        tensor([-1.,  1.])
    """
    share = (units / units.sum(-1, keepdim=True)).unsqueeze(-1).to(columns)
    centred = columns - (share * columns).sum(1, keepdim=True)
    deviation = (share * centred.square()).sum(1, keepdim=True).sqrt()
    return centred / torch.where(deviation > 0, deviation, 1.0)


@torch.no_grad()
def best_intercept(fitted: Tensor, treatment: Tensor, units: Tensor) -> Tensor:
    """argmin_b sum_j max(1 - w_j (f_j + b), 0), (sets,).

    Its slope rises by 1 at every corner w_j - f_j, from minus the number of treated units, and is 0 behind as many.

    Example:
        >>> best_intercept(torch.tensor([3.0, 0.0]), torch.tensor([True, False]), torch.tensor([True, True]))
        tensor(-1.5000)
    """
    corners = torch.where(treatment, 1.0, -1.0) - fitted
    corners = torch.where(units, corners, torch.inf).sort(-1).values
    treated = (treatment & units).sum(-1, keepdim=True)
    return (corners.gather(-1, treated - 1) + corners.gather(-1, treated)).squeeze(-1) / 2
