"""Kernel-eigen pair attention: a sparse variational Gaussian process on the singular vectors of attention."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from primaldual.errors import ArgumentError
from primaldual.nn.singular_attention import SingularAttention
from primaldual.nn.singular_projections import Projected, SingularProjections


class KernelEigenPairAttention(SingularAttention):
    r"""Draw the outputs of attention from a Gaussian process whose inducing directions are its singular vectors.

        F_d = v m_d + v L_d eps_d,    eps_d ~ N(0, I) in R^rank,    v = Lambda (e + r) / 2,    out = W_o F + b

    e, r and Lambda are those of :class:`SingularProjections`. Every head has head_dim outputs d, each with a mean m_d
    and a lower triangular factor L_d with a positive diagonal. One eps_d serves all tokens of a sequence, so a draw is
    a function, with the covariance v L_d L_d^T v^T between tokens. The layer draws in training and in evaluation;
    predict by the mean of the probabilities over draws, :func:`mean_probabilities`. The loss is the one of the model
    plus ``eta mean J^2`` plus the divergence of N(m, L L^T) from N(0, I), summed over heads and outputs.

    Where the paper's text leaves a choice this is our reading: the scaling of v, the standard normal prior, one
    output map for all heads. Noise of its own for each token would have the same variances and no covariances.

    Args:
        embed_dim: width of tokens and outputs.
        num_heads: heads; must divide embed_dim.
        rank: s, singular vectors of each head; at most embed_dim / num_heads.
        bias: whether linear maps have a bias.
        deviation: diagonal of all L at first, above 0 and finite.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ArgumentError: sizes that do not divide, a rank that the kernel cannot have, or a deviation out of range.

    Reference: Chen, Tao, Tonin, Suykens, "Self-Attention through Kernel-Eigen Pair Sparse Variational Gaussian
        Processes", ICML 2024, arXiv 2402.01476.

    Example:
        >>> layer = KernelEigenPairAttention(16, 2, rank=4)
        >>> outputs, loss = layer(torch.randn(3, 10, 16))
        >>> outputs.shape, bool(loss.divergence > 0)
        (torch.Size([3, 10, 16]), True)
        >>> (outputs.square().mean() + loss.penalty(eta=0.1, cases=1000)).backward()
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        rank: int,
        bias: bool = True,
        deviation: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        projections = SingularProjections(embed_dim, num_heads, rank, bias, device, dtype)
        super().__init__(projections, embed_dim, num_heads)
        if not 0 < deviation < math.inf:
            raise ArgumentError(f"deviation must be above 0 and finite; got {deviation}")
        size = (num_heads, projections.head_dim, rank)
        self.mean = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
        self.raw_factor = nn.Parameter(torch.zeros(*size, rank, device=device, dtype=dtype))
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias, device, dtype)
        with torch.no_grad():
            self.mean.normal_(std=rank**-0.5)
            self.raw_factor.diagonal(dim1=-2, dim2=-1).fill_(deviation + math.log(-math.expm1(-deviation)))

    @property
    def factor(self) -> Tensor:
        """L, (heads, head_dim, rank, rank), lower triangular with a positive diagonal."""
        diagonal = softplus(self.raw_factor.diagonal(dim1=-2, dim2=-1))
        return self.raw_factor.tril(-1) + torch.diag_embed(diagonal)

    def divergence(self) -> Tensor:
        """KL(N(m, L L^T) || N(0, I)) = 1/2 (|L|^2 + |m|^2 - rank) - sum log diag L, summed over heads and outputs."""
        factor = self.factor
        logarithms = factor.diagonal(dim1=-2, dim2=-1).log().sum()
        squares = factor.square().sum() + self.mean.square().sum()
        return (squares - self.mean.numel()) / 2 - logarithms

    def draw(self, features: Tensor) -> Tensor:
        """F for features v (batch, heads, N, rank), one eps per sequence, head and output: (batch, heads, N, head_dim)."""
        noise = torch.randn(
            *features.shape[:1], *self.mean.shape, device=features.device, dtype=features.dtype
        )
        coefficients = self.mean + (self.factor @ noise.unsqueeze(-1)).squeeze(-1)
        return features @ coefficients.mT

    def mix(self, projected: Projected) -> tuple[Tensor, Tensor]:
        """See the class."""
        features = projected.scales.unsqueeze(1) * (projected.left + projected.right) / 2
        return self.out_proj(self.draw(features).transpose(1, 2).flatten(2)), self.divergence()


@torch.no_grad()
def mean_probabilities(model: nn.Module, *inputs: Tensor | None, draws: int = 10) -> Tensor:
    """Mean over draws of the softmax of a model's logits, (batch, classes).

    Args:
        model: gives logits (batch, classes), another draw at every call.
        inputs: what the model is called with.
        draws: how many; 1 or more.

    Raises:
        ArgumentError: no draw.

    Example:
        >>> mean_probabilities(nn.Linear(4, 3), torch.randn(2, 4), draws=2).shape
        torch.Size([2, 3])
    """
    if draws < 1:
        raise ArgumentError(f"draws must be 1 or more; got {draws}")
    return torch.stack([model(*inputs).softmax(-1) for _ in range(draws)]).mean(0)
