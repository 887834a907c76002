"""A cache for models of transformers that keeps of every layer what its attention needs, as a DecodingState."""

from __future__ import annotations

import inspect
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.eager import is_compiled
from primaldual.integrations.hf_masks import sort_mask
from primaldual.primal.attention import Attention
from primaldual.primal.decoding.state import DecodingState
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.token_inputs import Inputs

_NAMES = "primaldual_"
"""The prefix of the names of this library's attention functions."""

_UNREACHED = (
    "keys of this cache did not reach this library's attention, because the call before failed, or the model changes or "
    "attends them by itself, or was reverted: call reset() and begin anew, or generate without this cache"
)

_SERVED = (DynamicLayer, DynamicSlidingWindowLayer)
"""Cache layers of transformers that hold keys and values alone."""


class AttentionCache(Cache):
    """The cache of a decoder-only model whose layers attend by this library; the other layers keep all keys and values.

    See :func:`primaldual.integrations.hf_attention.make_cache`.

    Raises:
        ArgumentError: no model of transformers with a decoder alone.
        UnsupportedError: a model none of whose layers was converted or attends by a name of this library.
    """

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, PreTrainedModel) or model.config.is_encoder_decoder:
            compiled = ", which torch.compile has made: give the model itself" if is_compiled(model) else ""
            raise ArgumentError(
                f"model must be a decoder of transformers without an encoder; got {type(model).__name__}{compiled}"
            )
        config = model.config.get_text_config(decoder=True)
        layers = DynamicCache(config=config).layers
        served = [number for number, layer in enumerate(layers) if type(layer) in _SERVED]
        named = str(config._attn_implementation).startswith(_NAMES)
        own = served if named else _converted(model)
        if not own:
            raise UnsupportedError(
                f"model must have layers that primaldual.convert has converted; {type(model).__name__} has none"
            )
        if not set(own) <= set(served):
            raise UnsupportedError(
                f"layers that keep a convolution or a state beside attention have no cache of decoding states; "
                f"{type(model).__name__} has converted ones"
            )
        for number in own:
            layers[number] = StateLayer()
        super().__init__(layers=layers)
        self._name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"

    @property
    def argument(self) -> dict[str, Cache]:
        """The cache by the name of the argument that takes it, which later versions of transformers call ``cache``."""
        return {self._name: self}

    @property
    def nbytes(self) -> int:
        """Bytes held for the tokens so far."""
        total = 0
        for layer in self.layers:
            if isinstance(layer, StateLayer):
                total += layer.nbytes
            else:
                total += sum(one.nbytes for one in vars(layer).values() if isinstance(one, Tensor))
        return total


class NewKeys(Tensor):
    """The keys of new tokens alone, for this library's attention, which knows of the others by :attr:`layer`.

    Every other use of them is an error, for it would leave the tokens before unattended.
    """

    layer: StateLayer

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if getattr(function, "__name__", "") == "__get__":  # of a shape, a type, a device
            with torch._C.DisableTorchFunctionSubclass():
                found = function(*arguments, **(options or {}))
            if not isinstance(found, Tensor):
                return found
        raise UnsupportedError(_UNREACHED)


class StateLayer(CacheLayerMixin):  # type: ignore[no-untyped-call] # transformers types some functions alone
    """The cache of one layer: a DecodingState that the layer's problem makes at its first call."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # transformers types some functions alone
        self._state: DecodingState | None = None
        self._owner: weakref.ref[nn.Module] | None = None  # the layer whose tokens the state holds
        self._seen = 0
        self._padded: Tensor | None = None  # bool (batch, seen), True = a token; None = no padding so far
        self._waiting = False

    @property
    def nbytes(self) -> int:
        """Bytes held for the tokens so far."""
        return 0 if self._state is None else self._state.nbytes

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The new keys and values alone, marked so that the attention function finds this layer."""
        if self._waiting:
            raise UnsupportedError(_UNREACHED)
        self.lazy_initialization(key_states, value_states)
        self._seen += key_states.shape[2]
        self._waiting = True
        marked = key_states.as_subclass(NewKeys)
        marked.layer = self
        return marked, value_states

    def attend(
        self,
        problem: Attention,
        owner: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        inputs: Inputs | None = None,
    ) -> Tensor:
        """The outputs (batch, heads, n, Dv) of new tokens of a layer, the owner, which the state takes in."""
        if not self._waiting:
            raise UnsupportedError(
                "several layers of this model attend the keys of one, which a cache of decoding states does not serve: "
                "generate without this cache"
            )
        if self._owner is not None and self._owner() is not owner:
            raise ArgumentError(
                "this cache holds tokens of another model: make one for each model, or call reset() first"
            )
        if torch.is_grad_enabled() and any(one.requires_grad for one in (query, key, value)):
            raise UnsupportedError(
                "a cache of decoding states has no gradients: call the model under torch.no_grad()"
            )
        assert isinstance(problem, PrimalProblem)
        if self._state is None:
            self._owner = weakref.ref(owner)
            self._state = problem.init_state(
                key.shape[0],
                query.shape[1],
                query.shape[3],
                kv_heads=key.shape[1],
                value_dim=value.shape[3],
                dtype=value.dtype,
                device=value.device,
            )
        padded = self._checked(problem, mask, query)
        tokens = None if padded is None else padded[:, self._seen - query.shape[2] :]
        valid = None if tokens is None or tokens.all() else tokens
        out = problem.step(self._state, query, key, value, valid, inputs=inputs)
        self._padded, self._waiting = padded, False
        return out

    def _checked(self, problem: Attention, mask: Tensor | None, query: Tensor) -> Tensor | None:
        """Bool (batch, seen), True = a token, not padding; None = all are tokens, in this call and those before."""
        batch, new = query.shape[0], query.shape[2]
        if mask is None and self._padded is None:
            return None
        valid = torch.ones(batch, self._seen, dtype=torch.bool, device=query.device)
        if mask is not None:
            valid = self._keys_of(problem, mask, valid, new)
        past = valid[:, : self._seen - new]
        before = torch.ones_like(past) if self._padded is None else self._padded
        if not torch.equal(past, before):
            raise ArgumentError(
                f"attention_mask must have the tokens of earlier calls where they were, {before.sum(1).tolist()} in each "
                f"row; got {past.sum(1).tolist()}; layers with a sliding window are not served beyond it"
            )
        return None if self._padded is None and bool(valid.all()) else valid

    def _keys_of(self, problem: Attention, mask: Tensor, valid: Tensor, new: int) -> Tensor:
        """Which of all keys a causal mask lets attend, like ``valid``."""
        found = sort_mask(mask, True, new, self._seen)
        attended = found.valid()
        if (
            found.pairs is not None
            or (new > 1 and not found.is_causal)
            or (found.keys is None) != (attended is None)
        ):
            raise UnsupportedError(
                f"{problem.spec()} over a cache of decoding states takes a causal mask and padding; the mask of this call "
                "differs from query to query otherwise"
            )
        if attended is None:
            return valid & (torch.arange(self._seen, device=valid.device) < found.length)
        return pad(attended, (0, self._seen - found.length)).expand(len(valid), -1)

    def get_mask_sizes(self, query_length: int | Tensor) -> tuple[int, int]:
        new = query_length.shape[0] if isinstance(query_length, Tensor) else query_length
        return self._seen + new, 0

    def get_seq_length(self) -> int:
        return self._seen

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:
        return -1

    def reset(self) -> None:
        self._state, self._owner, self._seen, self._padded, self._waiting = None, None, 0, None, False

    def offload(self) -> None:
        raise UnsupportedError("a cache of decoding states cannot be offloaded")

    def prefetch(self) -> None:
        self.offload()

    def crop(self, tokens_to_remove: int) -> None:
        raise UnsupportedError(
            "a cache of decoding states cannot forget tokens, so assisted generation needs the model's own cache"
        )

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self._state is not None:
            self.batch_select_indices(torch.arange(self._state.sizes.batch).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        if self._state is not None:
            self._state = self._state.select(indices)
            if self._padded is not None:
                self._padded = self._padded[indices.to(self._padded.device)]


def layer_of(key: Tensor) -> tuple[StateLayer | None, Tensor]:
    """The cache layer that handed out these keys, if one did, and the keys."""
    if not isinstance(key, NewKeys):
        return None, key
    with torch._C.DisableTorchFunctionSubclass():
        return key.layer, key.as_subclass(Tensor)


def _converted(model: nn.Module) -> list[int]:
    owners = [one for one in model.modules() if isinstance(getattr(one, "problem", None), PrimalProblem)]
    numbers = [getattr(owner, "layer_idx", None) for owner in owners]
    return [number for number in numbers if isinstance(number, int)]
