"""Multi-head attention of any primal problem, in place of torch.nn.MultiheadAttention."""

from collections.abc import MutableMapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.kernels.arguments import is_number, shown
from primaldual.kernels.masks import Attendable
from primaldual.nn.input_projections import InputProjections
from primaldual.nn.inputs import batch_first, clean, read_masks
from primaldual.nn.nested import InProjection, from_nested, in_projection, to_nested
from primaldual.nn.projection import ProjectedSource, pools_first, split_heads
from primaldual.nn.state_dicts import rename
from primaldual.primal.attention import Attention
from primaldual.primal.decoding.state import DecodingState
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.sources import KeyValueSource, TensorSource
from primaldual.primal.token_inputs import Inputs, with_values


class MultiheadAttention(nn.Module):
    """A sum of heads, each a support vector regression: out = concat_h(attend(x W_q, x W_k, x W_v)) W_o.

    Arguments, masks and results are those of :class:`torch.nn.MultiheadAttention` (True = blocked,
    ``batch_first=False`` by default), whose state_dict loads, as do timm's and transformers'
    attention weights. Projections are separate ``nn.Linear`` modules; keys and values of scaled heads
    are pooled before they are projected. What the attention needs of every token besides, such as the gates of
    ``forget``, is projected from the tokens by ``input_proj``, which changes nothing at first.

    Args:
        embed_dim: width of queries and output; divisible by ``num_heads`` unless ``head_dim`` is given.
        num_heads: H.
        dropout: probability of dropping an attention weight in training.
        bias: whether the input projections have a bias.
        add_bias_kv: must be False.
        add_zero_attn: must be False.
        kdim: width of keys; default ``embed_dim``.
        vdim: width of values; default ``embed_dim``.
        batch_first: inputs are (batch, length, features) instead of (length, batch, features).
        device: of the parameters.
        dtype: of the parameters.
        attention: a spec for :func:`primaldual.preset`, or a PrimalProblem, of which the layer keeps a copy.
        kv_heads: key and value heads, dividing ``num_heads`` (grouped queries); default ``num_heads``.
        head_dim: width of a head; default ``embed_dim / num_heads``.
        out_bias: whether the output projection has a bias; default as ``bias``.

    Raises:
        ArgumentError: sizes that do not divide, or scales that do not match the heads.
        UnsupportedError: add_bias_kv or add_zero_attn.

    Example:
        >>> layer = MultiheadAttention(64, 4, attention="bn+sh(1,1,2,4)", batch_first=True)
        >>> inputs = torch.randn(2, 10, 64)
        >>> out, weights = layer(inputs, inputs, inputs)
        >>> out.shape, weights.shape
        (torch.Size([2, 10, 64]), torch.Size([2, 10, 10]))
    """

    # nn.TransformerEncoderLayer reads this to decide on a fused path that knows only softmax; it keeps it off.
    _qkv_same_embed_dim = False

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        attention: str | PrimalProblem = "softmax",
        kv_heads: int | None = None,
        head_dim: int | None = None,
        out_bias: bool | None = None,
    ) -> None:
        super().__init__()
        if add_bias_kv or add_zero_attn:
            raise UnsupportedError(
                "add_bias_kv and add_zero_attn must be False: such keys belong to no training pair"
            )
        given = {"embed_dim": embed_dim, "num_heads": num_heads, "kv_heads": kv_heads, "head_dim": head_dim}
        for name, size in given.items():
            if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
                raise ArgumentError(f"{name} must be an integer; got {shown(size)}")
        if num_heads < 1 or embed_dim < 1 or (head_dim is None and embed_dim % num_heads):
            raise ArgumentError(
                f"num_heads must divide embed_dim; got embed_dim {embed_dim} and num_heads {num_heads}"
            )
        if head_dim is not None and head_dim < 1:
            raise ArgumentError(f"head_dim must be 1 or more; got {head_dim}")
        kv_heads = num_heads if kv_heads is None else kv_heads
        if kv_heads < 1 or num_heads % kv_heads:
            raise ArgumentError(
                f"kv_heads must divide num_heads; got num_heads {num_heads} and kv_heads {kv_heads}"
            )
        if not (is_number(dropout) and 0 <= dropout < 1):
            raise ArgumentError(f"dropout must be at least 0 and below 1; got {shown(dropout)}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.kv_heads = kv_heads
        self.head_dim = embed_dim // num_heads if head_dim is None else head_dim
        self.dropout = dropout
        self.batch_first = batch_first
        width = kv_heads * self.head_dim
        self.q_proj = nn.Linear(embed_dim, num_heads * self.head_dim, bias, device, dtype)
        self.k_proj = nn.Linear(kdim or embed_dim, width, bias, device, dtype)
        self.v_proj = nn.Linear(vdim or embed_dim, width, bias, device, dtype)
        self.out_proj = nn.Linear(
            num_heads * self.head_dim, embed_dim, bias if out_bias is None else out_bias, device, dtype
        )
        self.problem = (
            deepcopy(preset(attention)).bind(num_heads, self.head_dim).to(device=device, dtype=dtype)
        )
        self.input_proj = self.input_projections(self.problem, device, dtype)
        self.reset_parameters()

    def extra_repr(self) -> str:
        shared = "" if self.kv_heads == self.num_heads else f", kv_heads={self.kv_heads}"
        return f"{self.embed_dim}, num_heads={self.num_heads}{shared}, head_dim={self.head_dim}, dropout={self.dropout}"

    def reset_parameters(self) -> None:
        """Draw the weights as torch.nn.MultiheadAttention does: Xavier, biases 0."""
        fan_in = self.embed_dim + (self.num_heads + 2 * self.kv_heads) * self.head_dim
        for linear in (self.q_proj, self.k_proj, self.v_proj):
            bound = (6 / max(fan_in, linear.in_features + linear.out_features)) ** 0.5
            nn.init.uniform_(linear.weight, -bound, bound)
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        if self.input_proj is not None:
            self.input_proj.reset_parameters()

    def input_projections(
        self,
        attention: Attention,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> InputProjections | None:
        """Fresh projections of what an attention needs of every token beside query, key and value; None = nothing."""
        return InputProjections.of(
            attention,
            self.num_heads,
            self.head_dim,
            query_width=self.embed_dim,
            key_width=self.k_proj.in_features,
            device=device,
            dtype=dtype,
        )

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        inputs: Inputs | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: (length, batch, embed_dim), batch first if so set; or without batch.
            key: (Nk, batch, kdim), likewise.
            value: (Nk, batch, vdim), likewise.
            key_padding_mask: (batch, Nk), bool True = blocked, or float 0 / -inf.
            need_weights: also return the attention map, which costs O(N^2); False is faster.
            attn_mask: (Nq, Nk) or (batch * heads, Nq, Nk), bool True = blocked, or float 0 / -inf.
            average_attn_weights: whether the map is averaged over heads.
            is_causal: query i attends no key after its own position (as well as what the masks say).
            inputs: what the attention needs of every token and the layer does not project, such as the values of another
                layer; by name, as :meth:`primaldual.PrimalProblem.attend` takes it.

        Returns:
            The output, shaped as ``query``, and the map (batch, [heads,] Nq, Nk) without dropout, or None.
            A query with no key to attend to gets the output projection of 0.

        Raises:
            ShapeError: inputs or masks that do not fit.
        """
        if query.is_nested:
            padded, padding = from_nested(query, key, value, self.batch_first)
            options = padding, need_weights, attn_mask, average_attn_weights, is_causal
            outputs, weights = self.forward(padded, padded, padded, *options, inputs=inputs)
            return to_nested(outputs, padding), weights
        batched = query.dim() == 3
        widths = (self.embed_dim, self.k_proj.in_features, self.v_proj.in_features)
        query, key, value = batch_first((query, key, value), widths, self.batch_first)
        size = (query.shape[0], self.num_heads, query.shape[1], key.shape[1])
        attendable = read_masks(key_padding_mask, attn_mask, is_causal, size)
        query, key, value = clean((query, key, value), attendable)
        dropout_p = self.dropout if self.training else 0.0
        heads = split_heads(self.q_proj(query), self.head_dim)
        inputs = self._inputs(query, key, inputs)
        if attendable.pairs is None:
            mixed = self.problem(heads, self._source(key, value), attendable, dropout_p, inputs)
        else:
            keys = split_heads(self.k_proj(key), self.head_dim)
            values = split_heads(self.v_proj(value), self.head_dim)
            mask = attendable.pairs if attendable.keys is None else attendable.pairs & attendable.keys
            mixed = self.problem.attend(
                heads, keys, values, mask, attendable.is_causal, dropout_p, inputs=inputs
            )
        out = self.out_proj(mixed.transpose(1, 2).flatten(2))
        weights = None
        if need_weights:
            weights = self._map(heads, key, value, attendable, average_attn_weights, inputs)
        if not batched:
            return out[0], None if weights is None else weights[0]
        return out if self.batch_first else out.transpose(0, 1), weights

    def _source(self, key: Tensor, value: Tensor) -> KeyValueSource:
        if pools_first(self.problem, self.num_heads, key.device):
            return ProjectedSource(key, value, self.k_proj, self.v_proj, self.num_heads, self.head_dim)
        keys, values = self.k_proj(key), self.v_proj(value)
        return TensorSource(
            split_heads(keys, self.head_dim), split_heads(values, self.head_dim), self.num_heads
        )

    @property
    def in_proj_weight(self) -> InProjection:
        """What nn.TransformerEncoder looks at before it packs padded sequences."""
        return in_projection(self.q_proj, self.k_proj, self.v_proj)

    in_proj_bias = in_proj_weight

    def init_state(
        self,
        batch: int,
        *,
        capacity: int = 64,
        croppable: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> DecodingState:
        """What :meth:`step` needs of a batch of sequences that have no token yet.

        Args:
            batch: sequences.
            capacity: tokens that there is room for at first; twice as many when they are more.
            croppable: keep every key and value, so that :meth:`DecodingState.crop` can forget the last tokens.
            dtype: that keys and values are kept in; default the parameters'.
            device: default the parameters'.

        Raises:
            UnsupportedError: keys or values of another width than the queries, or positions of a fixed number.
        """
        if self.k_proj.in_features != self.embed_dim or self.v_proj.in_features != self.embed_dim:
            raise UnsupportedError(
                f"step by step a layer attends its own inputs, of width {self.embed_dim}; got kdim "
                f"{self.k_proj.in_features} and vdim {self.v_proj.in_features}"
            )
        weight = self.out_proj.weight  # of a quantised map a method
        return self.problem.init_state(
            batch,
            self.num_heads,
            self.head_dim,
            kv_heads=self.kv_heads,
            capacity=capacity,
            croppable=croppable,
            dtype=dtype or (weight.dtype if isinstance(weight, Tensor) else None),
            device=device or (weight.device if isinstance(weight, Tensor) else None),
        )

    @torch.no_grad()
    def step(
        self,
        state: DecodingState,
        inputs: Tensor,
        valid: Tensor | None = None,
        *,
        given: Inputs | None = None,
    ) -> Tensor:
        """The causal layer's outputs for the next n tokens of every sequence, without dropout and gradients.

        Args:
            state: from :meth:`init_state`; changed in place.
            inputs: (n, batch, embed_dim), batch first if so set.
            valid: bool (batch, n), False = no token; padding is skipped and does not advance positions.
            given: what the attention needs of these tokens and the layer does not project, by name.

        Returns:
            As ``inputs``; at padding, the output projection of 0.

        Raises:
            ShapeError: inputs that do not fit the state; the state is then as it was.

        Example:
            >>> layer = MultiheadAttention(16, 4, batch_first=True, attention="bn").eval()
            >>> inputs, state = torch.randn(1, 6, 16), layer.init_state(batch=1)
            >>> outputs = torch.cat([layer.step(state, token) for token in inputs.split(1, 1)], 1)
            >>> whole, _ = layer(inputs, inputs, inputs, is_causal=True, need_weights=False)
            >>> torch.allclose(outputs, whole, atol=1e-5)
            True
        """
        if inputs.dim() != 3 or inputs.shape[2] != self.embed_dim:
            order = "batch, n" if self.batch_first else "n, batch"
            raise ShapeError(f"inputs must be ({order}, {self.embed_dim}); got shape {tuple(inputs.shape)}")
        tokens = inputs if self.batch_first else inputs.transpose(0, 1)
        query, key, value = (
            split_heads(projection(tokens), self.head_dim).to(state.sizes.dtype)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        needed = self._inputs(tokens, tokens, given)
        mixed = self.problem.step(state, query, key, value, valid, inputs=needed)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2).to(inputs.dtype))
        return out if self.batch_first else out.transpose(0, 1)

    def _inputs(self, query: Tensor, key: Tensor, given: Inputs | None) -> Inputs | None:
        """What the attention needs of every token, given and from the tokens of queries and keys."""
        if self.input_proj is None:
            return given
        projected: Inputs = self.input_proj(query, key)
        return projected if given is None else {**projected, **given}

    def _map(
        self,
        heads: Tensor,
        key: Tensor,
        value: Tensor,
        attendable: Attendable,
        average: bool,
        inputs: Inputs | None,
    ) -> Tensor:
        keys = split_heads(self.k_proj(key), self.head_dim)
        merged = Attendable(attendable.keys, attendable.pairs).matrix(
            heads.shape[2], keys.shape[2], keys.device
        )
        if any(need.of_value for need in self.problem.token_inputs):
            values = split_heads(self.v_proj(value), self.head_dim)
            inputs = with_values(self.problem.token_inputs, inputs, self.num_heads, values)
        maps = self.problem.attention_map(heads, keys, merged, attendable.is_causal, inputs=inputs)
        return maps.mean(1) if average else maps

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        width = self.kv_heads * self.head_dim
        rename(state_dict, prefix, (self.num_heads * self.head_dim, width, width))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
