"""Which attention a model asks transformers for by name: the functions that transformers calls are not told."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from transformers import PreTrainedModel

from primaldual.errors import CheckpointError
from primaldual.integrations import hf_layer_attributes as attributes
from primaldual.integrations.hf_entry import converts
from primaldual.integrations.hf_function import NAME

_models: WeakValueDictionary[int, PreTrainedModel] = WeakValueDictionary()
_prefixes: WeakKeyDictionary[PreTrainedModel, int] = WeakKeyDictionary()


def accept_names(
    prefix: str, register: Callable[[str], str], chosen: Callable[[PreTrainedModel, str], None]
) -> None:
    """Let ``set_attn_implementation`` and ``attn_implementation=`` accept every name that starts with ``prefix``.

    Transformers looks names up in a fixed table, so its look-up is preceded by ours, which also refuses to build a
    plain model from the config of a converted one. Doing it again changes nothing.

    Args:
        prefix: of our names.
        register: called with the rest of a name; gives the name under which it is registered.
        chosen: called with a built model and the name that it will attend by.
    """
    models: Any = PreTrainedModel
    look_up = models.get_correct_attn_implementation
    if hasattr(look_up, "primaldual_prefix"):
        return

    @wraps(look_up)
    def registered_first(
        self: PreTrainedModel, requested_attention: str | None, is_init_check: bool = False, **options: Any
    ) -> Any:
        if is_init_check and converts(self.config):
            raise CheckpointError(
                f"config.{NAME} says that layers of this {type(self).__name__} are converted, and a new model has none "
                "that are: load it with primaldual.integrations.hf_attention.from_pretrained, or build it from a config "
                "that it shares with no converted model"
            )
        if isinstance(requested_attention, str) and requested_attention.startswith(prefix):
            requested_attention = register(requested_attention.removeprefix(prefix))
            _models[id(self.config)] = self
            if not is_init_check:
                chosen(self, requested_attention)
        return look_up(self, requested_attention, is_init_check, **options)

    models.get_correct_attn_implementation = registered_first
    models.get_correct_attn_implementation.primaldual_prefix = prefix


def prefix_tokens(config: Any) -> int | None:
    """Tokens that stand before the patches in the model that asked for a name with this config; None = not known."""
    model = _models.get(id(config))
    if model is None or model.config is not config:
        return None
    if model not in _prefixes:
        _prefixes[model] = attributes.prefix_tokens(model)
    return _prefixes[model]
