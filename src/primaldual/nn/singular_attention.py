"""What attentions by kernel singular value decomposition share: the place of an attention, and losses to add."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.kernels.masks import keep_attendable
from primaldual.nn.inputs import read_masks
from primaldual.nn.singular_projections import Projected, SingularProjections


class SingularLoss(NamedTuple):
    """What a layer asks to be added to the loss.

    Attributes:
        objective: J of the decomposition, (batch, heads); it is 0 at the singular vectors.
        divergence: KL divergence of the layer's distribution from its prior, a number; 0 of layers that have none.
    """

    objective: Tensor
    divergence: Tensor

    def penalty(self, eta: float, cases: int | None = None) -> Tensor:
        """Eta mean J^2 + KL / cases.

        Args:
            eta: weight of the squared objectives, averaged over batch and heads.
            cases: training cases, if the loss beside it is a mean over cases; None = 1, beside a sum.

        Example:
            >>> import torch
            >>> SingularLoss(torch.tensor([[2.0, 0.0]]), torch.tensor(10.0)).penalty(0.5, cases=100)
            tensor(1.1000)

        Raises:
            ArgumentError: an eta below 0, or no case.
        """
        if not eta >= 0:
            raise ArgumentError(f"eta must be 0 or more; got {eta}")
        if cases is not None and cases < 1:
            raise ArgumentError(f"cases must be 1 or more; got {cases}")
        return eta * self.objective.square().mean() + self.divergence / (1 if cases is None else cases)


class SingularAttention(nn.Module, ABC):
    """Self-attention without values: tokens are mixed by the projections of :class:`SingularProjections`.

    It stands where an ``nn.MultiheadAttention(batch_first=True)`` stands, in an encoder block of this library or of
    torch; the second result is a :class:`SingularLoss` in place of the attention map, which does not exist.
    """

    # nn.TransformerEncoderLayer reads these to decide on a fused path that knows only softmax; they keep it off.
    _qkv_same_embed_dim = False
    in_proj_bias = None
    batch_first = True

    def __init__(self, projections: SingularProjections, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.projections = projections

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, num_heads={self.num_heads}, rank={self.projections.rank}"

    @abstractmethod
    def mix(self, projected: Projected) -> tuple[Tensor, Tensor]:
        """Outputs (batch, N, embed_dim), and the divergence, a number."""

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> tuple[Tensor, SingularLoss]:
        """Mix the tokens.

        Args:
            query: tokens, (batch, N, embed_dim).
            key: the same tensor, or None.
            value: the same tensor, or None.
            key_padding_mask: (batch, N), bool True = padding, or float 0 / -inf.
            need_weights: must be False.
            attn_mask: None, or the causal mask beside ``is_causal``.
            is_causal: no later token changes an earlier output.

        Returns:
            Outputs (batch, N, embed_dim), and what to add to the loss.

        Raises:
            ShapeError: inputs or masks that do not fit, or fewer tokens than the rank.
            UnsupportedError: keys or values that are not the queries, a map of weights, or a mask of pairs.
        """
        if query.dim() != 3 or query.shape[2] != self.embed_dim:
            raise ShapeError(f"query must be (batch, N, {self.embed_dim}); got shape {tuple(query.shape)}")
        name = type(self).__name__
        for role, given in (("key", key), ("value", value)):
            if given is not None and given is not query:
                raise UnsupportedError(f"{role} must be the query: {name} mixes the tokens of one sequence")
        if need_weights:
            raise UnsupportedError(f"need_weights must be False: {name} has no attention weights")
        size = (query.shape[0], self.num_heads, query.shape[1], query.shape[1])
        attendable = read_masks(key_padding_mask, attn_mask, is_causal, size)
        if attendable.pairs is not None:
            raise UnsupportedError(
                f"attn_mask must be None, or the causal mask beside is_causal=True: {name} forms no pairs"
            )
        valid = None if attendable.keys is None else attendable.keys[:, 0, 0]
        mask = None if valid is None else valid.unsqueeze(1)
        projected = self.projections(keep_attendable(query, mask), valid, is_causal)
        outputs, divergence = self.mix(projected)
        return outputs, SingularLoss(projected.objective, divergence)


@contextmanager
def collect_losses(model: nn.Module) -> Iterator[list[SingularLoss]]:
    """Collect what the layers of a model ask to be added to the loss, one entry for every call of a layer.

    Args:
        model: holds one :class:`SingularAttention` or more, at any depth.

    Example:
        >>> import torch
        >>> from primaldual.nn.encoder import Encoder
        >>> from primaldual.nn.primal_attention import PrimalAttention
        >>> encoder = Encoder(2, 16, 2, 32)
        >>> encoder.layers[-1].attention = PrimalAttention(16, 2, rank=4)
        >>> with collect_losses(encoder) as losses:
        ...     outputs = encoder(torch.randn(3, 10, 16))
        >>> loss = outputs.square().mean() + sum(layer.penalty(0.1) for layer in losses)
    """
    losses: list[SingularLoss] = []

    def keep(layer: nn.Module, inputs: object, results: tuple[Tensor, SingularLoss]) -> None:
        losses.append(results[1])

    handles = [
        layer.register_forward_hook(keep) for layer in model.modules() if isinstance(layer, SingularAttention)
    ]
    try:
        yield losses
    finally:
        for handle in handles:
            handle.remove()
