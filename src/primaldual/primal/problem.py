"""PrimalProblem: its choices, and everything that follows from them."""

from __future__ import annotations

from typing import Self, TypeVar

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.kernels.masks import Attendable
from primaldual.primal import composed_attention, composed_definition, definition
from primaldual.primal.attention import Attention
from primaldual.primal.checks import check_order, check_solver
from primaldual.primal.choices import Choices
from primaldual.primal.decoding.sizes import Sizes
from primaldual.primal.decoding.state import DecodingState
from primaldual.primal.decoding.step import step
from primaldual.primal.equation import equation
from primaldual.primal.feature_maps import Exponential, FeatureMap
from primaldual.primal.forms.choice import run
from primaldual.primal.forms.explanation import Explanation, explain
from primaldual.primal.normalizers import Constant, Normalizer, SumOfKernels
from primaldual.primal.observation import observe
from primaldual.primal.orders import Order
from primaldual.primal.pair_weights import PairWeights
from primaldual.primal.parts import Part
from primaldual.primal.remembered import attend_again, attend_as_before
from primaldual.primal.solvers import Solver
from primaldual.primal.sources import KeyValueSource, RememberedSource
from primaldual.primal.subsets import AllKeys, Subset
from primaldual.primal.token_inputs import Inputs, TokenInput, joined_needs
from primaldual.primal.transforms import Identity, Transform


class PrimalProblem(Attention):
    r"""A support vector regression whose support vector expansion is an attention layer.

        primal   f(x) = W Phi(T(x)) / h(x) + b,  eps-insensitive loss on (k_j, y_j), 1/2 ||W||_F^2
        dual     f(x) = sum_j kappa(T x, T k_j) / h(x) v_j + b,  v_j = (alpha_j - alpha~_j) / h(k_j)

    Shapes: query (batch, heads, Nq, D), key (batch, kv heads, Nk, D), value (batch, kv heads, Nk, Dv),
    with kv heads dividing heads. Masks are bool, True = may attend, broadcastable to
    (batch, heads, Nq, Nk). With ``is_causal`` query i stands at position i + Nk - Nq, and its output
    equals the bidirectional output on the keys up to there.

    Args:
        feature_map: Phi; default :class:`Exponential`.
        normalizer: h; default :class:`SumOfKernels`, with a solver that fits the kernel itself :class:`Constant`.
        transform: T; default :class:`Identity`.
        subset: the training pairs of each query and head; default :class:`AllKeys`.
        pair_weights: how much each pair counts; default all alike.
        solver: how the coefficients v_j follow from the targets; default the amortised one, which takes the values.
        order: the local model that is fitted at a query; default a constant.

    Raises:
        ArgumentError: a part that is not what its name says, or two with different inputs of one name.
        UnsupportedError: a convolution over a union, whose pairs have no order; a solver or an order that the
            other parts give no meaning.

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
        pair_weights: PairWeights | None = None,
        solver: Solver | None = None,
        order: Order | None = None,
    ) -> None:
        super().__init__()
        self.feature_map = _part("feature_map", feature_map, Exponential, FeatureMap)
        solver = _part("solver", solver, Solver, Solver)
        usual = Constant if solver.unnormalized else SumOfKernels
        self.normalizer = _part("normalizer", normalizer, usual, Normalizer)
        self.transform = _part("transform", transform, Identity, Transform)
        self.subset = _part("subset", subset, AllKeys, Subset)
        self.pair_weights = _part("pair_weights", pair_weights, PairWeights, PairWeights)
        self.solver = solver
        self.order = _part("order", order, Order, Order)
        joined_needs(self.parts())
        check_solver(self.parts())
        check_order(self.parts())
        if self.transform.of_positions and not self.subset.of_positions:
            raise UnsupportedError(
                f"{self.transform.spec()} needs training pairs that are positions; those of {self.subset.spec()} are not"
            )
        if self.transform.neighbours and not self.subset.ordered:
            raise UnsupportedError(
                f"{self.transform.spec()} takes pairs for neighbours in a row; those of {self.subset.spec()} have no order"
            )

    def parts(self) -> Choices:
        """The parts, in the order of a spec: feature map, normaliser, transform, subset, pair weights, solver, order."""
        return Choices(
            self.feature_map,
            self.normalizer,
            self.transform,
            self.subset,
            self.pair_weights,
            self.solver,
            self.order,
        )

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        return self.parts().token_inputs

    def problems(self, heads: int) -> list[tuple[Self, list[int]]]:
        return [(self, list(range(heads)))]

    def keep_heads(self, members: list[int], heads: int) -> Self:
        for part in self.parts():
            part.keep_heads(members, heads)
        return self

    def spec(self) -> str:
        """The problem as a spec that :func:`primaldual.preset` reads."""
        return self.parts().spec()

    def equation(self, style: str = "text") -> str:
        """The primal and the dual, as "text" or "latex"."""
        return equation(self.parts(), style)

    def explain(
        self,
        query_shape: tuple[int, ...],
        key_shape: tuple[int, ...] | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Explanation:
        """Which form computes the attention of tensors of these sizes, what it costs, and why not another.

        Args:
            query_shape: (batch, heads, Nq, D).
            key_shape: (batch, kv heads, Nk, D); default as the queries.
            mask: as :meth:`attend`; only what it distinguishes matters, not what it holds.
            is_causal: as :meth:`attend`.
            dtype: of the tensors.
            device: of the tensors.

        Raises:
            ShapeError: shapes or mask that do not fit together.

        Example:
            >>> print(PrimalProblem().explain((1, 2, 128, 16)))
            softmax  heads 0-1 of 2: form softmax, 2.10 M operations, 32.8 kB
              not pieces: gains nothing where one call of a kernel does everything
              not band: needs a subset that reaches a limited number of positions
        """
        return explain(self.parts(), query_shape, key_shape or query_shape, mask, is_causal, dtype, device)

    def compute_source(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        parts = self.parts()
        form = composed_attention.run if parts.solver.composed else run
        return form(parts, query, source, attendable, dropout_p, inputs)

    def attend_again(self, query: Tensor, key: Tensor, value: Tensor, is_causal: bool) -> Tensor | None:
        return attend_again(self, query, key, value, is_causal)

    def forward(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        if (
            source.tensors
            and not (dropout_p or inputs)
            and attendable.keys is None
            and attendable.pairs is None
        ):
            found = attend_as_before(self, query, *source.tensors, attendable.is_causal)
            if found is not None:
                return found
        parts = self.parts()
        form = composed_attention.run if parts.solver.composed else run
        if not parts.transform.observes:
            return form(parts, query, source, attendable, dropout_p, inputs)
        source = RememberedSource(source)
        outputs = form(parts, query, source, attendable, dropout_p, inputs)
        observe(parts, source, attendable, query, inputs)
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
        croppable: bool = False,
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
            croppable: keep every key and value, so that :meth:`DecodingState.crop` can forget the last tokens.
            dtype: of the tensors of every step; default torch's.
            device: likewise.

        Raises:
            ArgumentError: sizes below 1, or kv_heads that do not divide heads.
            UnsupportedError: a problem with a fixed number of positions (a mask, a grid).
        """
        sizes = Sizes.read(batch, heads, head_dim, kv_heads, value_dim, dtype, device)
        return DecodingState(self, sizes, capacity, croppable)

    def step(
        self,
        state: DecodingState,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        valid: Tensor | None = None,
        *,
        inputs: Inputs | None = None,
    ) -> Tensor:
        """The outputs of the next n tokens of every sequence, (batch, heads, n, Dv); the state takes them in.

        They are the last rows of ``attend(..., is_causal=True)`` on all tokens of the sequence so far, in
        inference: without dropout and gradients. n is 1 to generate, more for a prompt or a piece of one.

        Args:
            state: from :meth:`init_state`; changed in place.
            query: (batch, heads, n, D).
            key: (batch, kv heads, n, D).
            value: (batch, kv heads, n, Dv).
            valid: bool (batch, n), False = no token. Padding is skipped wherever it stands and does not
                advance positions: a sequence gives the outputs that it gives alone. Outputs at padding are 0.
            inputs: what the parts need of the n tokens, by name, as :meth:`attend` takes it.

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
        return step(self, state, query, key, value, valid, inputs)

    def dense(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        inputs: Inputs | None = None,
    ) -> Tensor:
        """The definition, term by term, without any fast form: the reference for :meth:`attend`."""
        form = composed_definition if self.solver.composed else definition
        return form.outputs(self.parts(), query, key, value, mask, is_causal, inputs)

    def weights(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        inputs: Inputs | None = None,
    ) -> Tensor | list[Tensor]:
        """Kappa / h over the training pairs: (batch, heads, Nq, Nt), a list of (batch, Nq, Nt_h) if Nt differs.

        A composed solver has weights on positions, those of :meth:`attention_map`.
        """
        if self.solver.composed:
            return self.attention_map(query, key, mask, is_causal, inputs=inputs)
        return definition.weights(self.parts(), query, key, mask, is_causal, inputs)

    def attention_map(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        inputs: Inputs | None = None,
    ) -> Tensor:
        form = composed_definition if self.solver.composed else definition
        return form.attention_map(self.parts(), query, key, mask, is_causal, inputs)


P = TypeVar("P", bound=Part)


def _part(name: str, given: P | None, default: type[P], kind: type[P]) -> P:
    if given is None:
        return default()
    if not isinstance(given, kind):
        raise ArgumentError(f"{name} must be a {kind.__name__}; got {type(given).__name__}")
    return given
