"""PrimalProblem: four choices, and everything that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.kernels import dense
from primaldual.kernels.masks import Attendable, read_mask
from primaldual.primal import plan
from primaldual.primal.checks import check_mixing, check_shapes
from primaldual.primal.decoding.sizes import Sizes
from primaldual.primal.decoding.state import DecodingState
from primaldual.primal.decoding.step import step
from primaldual.primal.equation import equation
from primaldual.primal.feature_maps import Exponential, FeatureMap
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.normalizers import Normalizer, SumOfKernels
from primaldual.primal.observation import RememberedSource, observe
from primaldual.primal.parts import Part
from primaldual.primal.sources import KeyValueSource, selection
from primaldual.primal.subsets import AllKeys, Subset, restrict
from primaldual.primal.transforms import Identity, Transform


class PrimalProblem(nn.Module):
    r"""A support vector regression whose support vector expansion is an attention layer.

        primal   f(x) = W Phi(T(x)) / h(x) + b,  eps-insensitive loss on (k_j, y_j), 1/2 ||W||_F^2
        dual     f(x) = sum_j kappa(T x, T k_j) / h(x) v_j + b,  v_j = (alpha_j - alpha~_j) / h(k_j)

    Shapes: query (batch, heads, Nq, D), key (batch, kv heads, Nk, D), value (batch, kv heads, Nk, Dv),
    with kv heads dividing heads. Masks are bool, True = may attend, broadcastable to
    (batch, heads, Nq, Nk). With ``is_causal`` query i stands at position i + Nk - Nq, and its output
    equals the bidirectional output on the keys up to there.

    Args:
        feature_map: Phi; default :class:`Exponential`.
        normalizer: h; default :class:`SumOfKernels`.
        transform: T; default :class:`Identity`.
        subset: the training pairs of each query and head; default :class:`AllKeys`.

    Reference: Nguyen et al., "A Primal-Dual Framework for Transformers and Neural Networks", ICLR 2023.

    Example:
        >>> import torch
        >>> problem = PrimalProblem()
        >>> query, key, value = torch.randn(3, 1, 2, 5, 8).unbind(0)
        >>> problem.attend(query, key, value).shape
        torch.Size([1, 2, 5, 8])
    """

    def __init__(
        self,
        feature_map: FeatureMap | None = None,
        normalizer: Normalizer | None = None,
        transform: Transform | None = None,
        subset: Subset | None = None,
    ) -> None:
        super().__init__()
        self.feature_map = _part("feature_map", feature_map, Exponential, FeatureMap)
        self.normalizer = _part("normalizer", normalizer, SumOfKernels, Normalizer)
        self.transform = _part("transform", transform, Identity, Transform)
        self.subset = _part("subset", subset, AllKeys, Subset)

    def parts(self) -> tuple[Part, Part, Part, Part]:
        """The four parts, in the order of a spec: feature map, normaliser, transform, subset."""
        return self.feature_map, self.normalizer, self.transform, self.subset

    def bind(self, heads: int, head_dim: int) -> Self:
        """Tell the parts the sizes: creates learnable parts, draws random ones, refuses what does not fit.

        Raises:
            ArgumentError: for example scales that do not match the heads.
        """
        for part in self.parts():
            part.bind(heads, head_dim)
        return self

    def spec(self) -> str:
        """The problem as a spec that :func:`primaldual.preset` reads."""
        return "+".join(filter(None, (part.spec() for part in self.parts()))) or "softmax"

    def extra_repr(self) -> str:
        return self.spec()

    def equation(self, style: str = "text") -> str:
        """The primal and the dual, as "text" or "latex"."""
        return equation(self, style)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """The attention, fast: (batch, heads, Nq, Dv). A query without any key gets exactly 0.

        Factored attentions need the weight matrix, and so O(N^2) work, when ``dropout_p`` is above 0.

        Raises:
            ShapeError: tensors or mask do not fit together.
            ArgumentError: a mask that is not boolean, or dropout_p outside [0, 1).
        """
        outputs: Tensor = self(query, *plan.read(query, key, value, mask, is_causal, dropout_p), dropout_p)
        return outputs

    def forward(
        self, query: Tensor, source: KeyValueSource, attendable: Attendable, dropout_p: float = 0.0
    ) -> Tensor:
        """The same for keys and values that may still be unprojected: what every layer calls.

        Forward hooks on a problem therefore see the queries, keys, values and masks of any model that holds it,
        and may change what its heads give.

        Args:
            query: (batch, heads, Nq, D).
            source: keys and values, finite where nobody attends.
            attendable: the masks.
            dropout_p: as :meth:`attend`.
        """
        if self.transform.observes:
            source = RememberedSource(source)
        outputs = plan.attend_source(self, query, source, attendable, dropout_p)
        observe(self, source, attendable, query)
        return outputs

    def init_state(
        self,
        batch: int,
        heads: int,
        head_dim: int,
        *,
        kv_heads: int | None = None,
        value_dim: int | None = None,
        capacity: int = 64,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> DecodingState:
        """What :meth:`step` needs of a batch of sequences that have no token yet.

        Args:
            batch: sequences.
            heads: query heads.
            head_dim: D.
            kv_heads: key and value heads, dividing heads; default ``heads``.
            value_dim: Dv; default ``head_dim``.
            capacity: tokens that there is room for at first; twice as many when they are more.
            dtype: of the tensors of every step; default torch's.
            device: likewise.

        Raises:
            ArgumentError: sizes below 1, or kv_heads that do not divide heads.
            UnsupportedError: a problem with a fixed number of positions (a mask, a grid).
        """
        sizes = Sizes.read(batch, heads, head_dim, kv_heads, value_dim, dtype, device)
        return DecodingState(self, sizes, capacity)

    def step(
        self, state: DecodingState, query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """The outputs of the next n tokens of every sequence, (batch, heads, n, Dv); the state takes them in.

        They are the last rows of ``attend(..., is_causal=True)`` on all tokens of the sequence so far, in
        inference: without dropout and gradients. n is 1 to generate, more for a prompt or a piece of one.

        Args:
            state: from :meth:`init_state`; changed in place.
            query: (batch, heads, n, D).
            key: (batch, kv heads, n, D).
            value: (batch, kv heads, n, Dv).
            valid: bool (batch, n), False = no token. Padding, wherever it stands, takes no place: a sequence gives
                what it gives alone. Its outputs are 0, and what it holds changes nothing.

        Raises:
            ShapeError: tensors that do not fit the state; the state is then as it was.
            ArgumentError: another dtype or device than the state's, or the state of another problem.

        Example:
            >>> problem = PrimalProblem()
            >>> query, key, value = torch.randn(3, 1, 2, 5, 8).unbind(0)
            >>> state = problem.init_state(batch=1, heads=2, head_dim=8)
            >>> tokens = zip(query.split(1, 2), key.split(1, 2), value.split(1, 2))
            >>> outputs = torch.cat([problem.step(state, *token) for token in tokens], 2)
            >>> torch.allclose(outputs, problem.attend(query, key, value, is_causal=True), atol=1e-6)
            True
        """
        return step(self, state, query, key, value, valid)

    def dense(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """The definition, term by term, without any fast form: the reference for :meth:`attend`."""
        check_shapes(query, key, value)
        groups = self._dense_groups(query, key, value, mask, is_causal)
        return _join((heads, dense.weighted_sum(weights, values)) for heads, weights, values, _ in groups)

    def weights(
        self, query: Tensor, key: Tensor, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor | list[Tensor]:
        """Kappa / h over the training pairs: (batch, heads, Nq, Nt), a list of (batch, Nq, Nt_h) if Nt differs."""
        check_shapes(query, key)
        groups = list(self._dense_groups(query, key, key, mask, is_causal))
        if len({weights.shape[-1] for _, weights, _, _ in groups}) == 1:
            return _join((heads, weights) for heads, weights, _, _ in groups)
        by_head = {head: weights[:, row] for heads, weights, _, _ in groups for row, head in enumerate(heads)}
        return [by_head[head] for head in range(len(by_head))]

    def attention_map(
        self, query: Tensor, key: Tensor, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Weights on the keys themselves, (batch, heads, Nq, Nk): a pooled pair's weight spread over its members.

        ``attention_map @ value`` is the output of the layer.
        """
        check_shapes(query, key)
        maps = []
        for heads, weights, _, shares in self._dense_groups(query, key, key, mask, is_causal):
            if shares is None:
                spread = weights
            else:
                spread = (weights.unsqueeze(-2) @ shares.to(weights.dtype)).squeeze(-2)
            maps.append((heads, spread))
        return _join(maps)

    def dense_heads(
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, heads: HeadSet
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The definition for heads that pool alike.

        Args:
            query: (batch, heads of the group, Nq, D), after :meth:`Transform.dense_queries`.
            key: (batch, heads of the group, Nk, D).
            value: (batch, heads of the group, Nk, Dv).
            allowed: bool broadcastable to (batch, heads of the group, Nq or 1, Nk).
            heads: which heads these are, and the window length of their pairs.

        Returns:
            Weights (batch, heads, Nq, Nt); training values (batch, heads, Nq or 1, Nt, Dv); the share of
            each position in each pair (batch, heads, Nq or 1, Nt, Nk), None if pairs are positions.
        """
        keys, values, valid, shares, log_weight = self.subset.dense_pairs(key, value, allowed, heads)
        changed, keys = self.transform.dense(query, keys, valid, heads)
        if keys.shape[2] == valid.shape[2]:
            keys = torch.where(valid.unsqueeze(-1), keys, 0.0)
        kernel_matrix = self._kernel_matrix(changed, keys, valid, log_weight)
        denominator = self.normalizer.denominator(kernel_matrix)
        return kernel_matrix / denominator.masked_fill(denominator == 0, 1.0), values, shares

    def _kernel_matrix(self, query: Tensor, keys: Tensor, valid: Tensor, log_weight: Tensor | None) -> Tensor:
        """kappa(query_i, key_j) by weight, 0 where not valid; rows scaled against overflow where h cancels it."""
        left, right = dense.per_query(query, keys)
        log_kernel = (
            self.feature_map.log_kernel(left, right) if self.normalizer.cancels_query_factors else None
        )
        if log_kernel is None:
            matrix = self.feature_map.kernel(left, right).reshape(*query.shape[:3], -1)
            weighted = matrix if log_weight is None else matrix * log_weight.exp()
            return torch.where(valid, weighted, 0.0)
        scores = log_kernel.reshape(*query.shape[:3], -1)
        scores = (scores if log_weight is None else scores + log_weight).masked_fill(~valid, -math.inf)
        largest = scores.detach().amax(-1, keepdim=True)
        return (scores - torch.where(largest.isfinite(), largest, 0.0)).exp()

    def _dense_groups(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool
    ) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor | None]]:
        """Heads, weights, training values and shares of every group of heads that pool alike."""
        batch, count, query_length, _ = query.shape
        attendable = read_mask(mask, is_causal, batch, count, query_length, key.shape[2])
        pattern = self.subset.allowed(query_length, key.shape[2], key.device)
        if pattern is not None:
            attendable = restrict(attendable, pattern)
        check_mixing(self.transform, attendable, query_length, key.shape[2])
        groups = count // key.shape[1]
        for heads in self.subset.head_sets(count):
            members = heads.members
            allowed = attendable.select(selection(members)).matrix(query_length, key.shape[2], key.device)
            shared = [head // groups for head in members]
            picked = query[:, members]
            if self.transform.mixes_queries:
                one_sequence = query_length == key.shape[2]
                picked = self.transform.dense_queries(picked, allowed if one_sequence else None, heads)
            yield members, *self.dense_heads(picked, key[:, shared], value[:, shared], allowed, heads)


P = TypeVar("P", bound=Part)


def _part(name: str, given: P | None, default: type[P], kind: type[P]) -> P:
    if given is None:
        return default()
    if not isinstance(given, kind):
        raise ArgumentError(f"{name} must be a {kind.__name__}; got {type(given).__name__}")
    return given


def _join(groups: Iterable[tuple[list[int], Tensor]]) -> Tensor:
    """Put groups of heads back in order: (batch, heads, ...)."""
    collected = list(groups)
    order = [head for heads, _ in collected for head in heads]
    return torch.cat([tensor for _, tensor in collected], 1)[
        :, [order.index(head) for head in range(len(order))]
    ]
