"""Primal-Attention: self-attention as a kernel singular value decomposition in its primal."""

import torch
from torch import Tensor, nn

from primaldual.nn.singular_attention import SingularAttention
from primaldual.nn.singular_projections import Projected, SingularProjections


class PrimalAttention(SingularAttention):
    """Mix tokens by the singular vectors of an asymmetric kernel: out_i = W_o [e_i; r_i] + b, in O(N).

    e and r are the projections of :class:`SingularProjections`, those of all heads side by side. There is no N x N
    matrix and there are no values. The layer's own objective J goes into the loss, as ``eta mean J^2``: minimal, it
    makes e and r singular vectors of the kernel matrix. The paper takes rank 20 to 40, eta from 0 to 0.5, and one
    such layer at the end ("Primal + Trans") or all layers.

    Where the paper's text leaves a choice this is our reading: heads read their share of the tokens' features, all
    heads share one output map, and shorter sequences use the first rows of W.

    Args:
        embed_dim: width of tokens and outputs.
        num_heads: heads; must divide embed_dim.
        rank: s, singular vectors of each head; at most embed_dim / num_heads.
        bias: whether linear maps have a bias.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ArgumentError: sizes that do not divide, or a rank that the kernel cannot have.

    Reference: Chen, Tao, Tonin, Suykens, "Primal-Attention: Self-attention through Asymmetric Kernel SVD in Primal
        Representation", NeurIPS 2023, arXiv 2305.19798.

    Example:
        >>> layer = PrimalAttention(16, 2, rank=4)
        >>> outputs, loss = layer(torch.randn(3, 10, 16))
        >>> outputs.shape, loss.objective.shape
        (torch.Size([3, 10, 16]), torch.Size([3, 2]))
        >>> (outputs.square().mean() + loss.penalty(eta=0.1)).backward()
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        rank: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        projections = SingularProjections(embed_dim, num_heads, rank, bias, device, dtype)
        super().__init__(projections, embed_dim, num_heads)
        self.out_proj = nn.Linear(2 * num_heads * rank, embed_dim, bias, device, dtype)

    def mix(self, projected: Projected) -> tuple[Tensor, Tensor]:
        """See the class; the divergence is 0."""
        both = torch.cat([projected.left, projected.right], -1)
        return self.out_proj(both.transpose(1, 2).flatten(2)), both.new_zeros(())
