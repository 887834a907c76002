"""Build a saved transformers model again as it was: pruned, converted, with everything that was learned."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _get_model_class

from primaldual.errors import ArgumentError, CheckpointError, PrimalDualError
from primaldual.integrations import hf_entry
from primaldual.integrations.descriptions import rebuilt
from primaldual.integrations.hf_card import write_card
from primaldual.integrations.hf_function import NAME
from primaldual.integrations.hf_marks import base_of
from primaldual.integrations.hf_site import HuggingFaceSite, find_layers
from primaldual.integrations.layer_stacks import hand_on_values

STATISTICS = "problem.transform*averages"
"""Running statistics, by name: too precise for half precision, as everywhere in this library."""


def save(model: PreTrainedModel, folder: str | os.PathLike[str], **kwargs: Any) -> Path:
    """See :func:`primaldual.integrations.hf_attention.save_pretrained`."""
    if not marked(model.config):
        raise ArgumentError(
            f"model must be converted or pruned by primaldual; got a plain {type(model).__name__}, which its own "
            "save_pretrained saves"
        )
    if kwargs.get("push_to_hub"):
        raise ArgumentError(
            "push_to_hub must be False, as it uploads before there is a card; upload the folder afterwards"
        )
    model.save_pretrained(folder, **kwargs)
    return write_card(model.config, type(model).__name__, Path(folder))


def load(model_class: Any, folder: Any, **kwargs: Any) -> Any:
    """See :func:`primaldual.integrations.hf_attention.from_pretrained`."""
    config = kwargs.pop("config", None)
    if config is None:
        config = getattr(model_class, "config_class", None) or AutoConfig
        config = config.from_pretrained(folder)
    entries = [part for part in hf_entry.configs_in(config) if hasattr(part, NAME)]
    if not entries:
        raise CheckpointError(f"folder must hold a model that primaldual has converted; {folder} does not")
    for part in entries:
        part._attn_implementation = {"": hf_entry.checked(getattr(part, NAME))["previous"]}
    kind = _concrete(model_class, config)
    # transformers builds a model, then puts the weights in: what is in our own shape must be so in between.
    shaped: Any = type(kind.__name__, (kind,), {"__init__": _building(kind), "__module__": kind.__module__})
    shaped.__qualname__ = kind.__qualname__
    loaded = shaped.from_pretrained(folder, config=config, **kwargs)
    model: nn.Module = (
        loaded[0] if isinstance(loaded, tuple) else loaded
    )  # output_loading_info=True gives two
    model.__class__ = kind
    return loaded


def is_converted(folder: Any, **kwargs: Any) -> bool:
    """See :func:`primaldual.integrations.hf_attention.is_converted`."""
    return marked(AutoConfig.from_pretrained(folder, **kwargs))


def marked(config: Any) -> bool:
    """Whether a config, or one inside it, says what was converted or pruned."""
    return any(hasattr(part, NAME) for part in hf_entry.configs_in(config))


def rebuild(model: PreTrainedModel) -> None:
    """Prune and convert a model's layers as its config says, all weights being those of the start.

    Raises:
        CheckpointError: the config says what cannot be done.
    """
    sites: dict[int, HuggingFaceSite] = {
        id(site.module): site for site in find_layers(model) if isinstance(site, HuggingFaceSite)
    }
    for owner in {id(site.owner): site.owner for site in sites.values()}.values():
        if not hasattr(owner.config, NAME):
            continue
        entry = hf_entry.checked(getattr(owner.config, NAME))
        delattr(owner.config, NAME)
        for name, kept in entry["pruned"].items():
            _site(sites, owner, name).prune(_numbers(name, kept))
        for name, description in entry["layers"].items():
            site = _site(sites, owner, name)
            with torch.device("cpu"):  # parts draw numbers, which a device without storage cannot
                problem = rebuilt(description, site.heads, site.head_dim)
            if refusal := site.refusal:
                raise CheckpointError(f"config.{NAME} names a layer {name!r}, which has {refusal}")
            site.convert(problem)
    hand_on_values(model)


def _building(kind: type) -> Any:
    def build(self: PreTrainedModel, config: Any, *args: Any, **kwargs: Any) -> None:
        entries = [(part, getattr(part, NAME)) for part in hf_entry.configs_in(config) if hasattr(part, NAME)]
        for part, _ in entries:
            delattr(part, NAME)  # a plain model with an entry is refused
        kind.__init__(self, config, *args, **kwargs)  # type: ignore[misc] # the class is made here
        for part, entry in entries:
            setattr(part, NAME, entry)
        try:
            rebuild(self)
        except CheckpointError:
            raise
        except PrimalDualError as error:
            raise CheckpointError(f"config.{NAME} does not fit {kind.__name__}: {error}") from None
        precise = getattr(self, "_keep_in_fp32_modules_strict", None) or ()
        self._keep_in_fp32_modules_strict = {*precise, STATISTICS}

    return build


def _site(sites: dict[int, HuggingFaceSite], owner: PreTrainedModel, name: str) -> HuggingFaceSite:
    module = hf_entry.named_layer(owner, base_of(owner), name)
    if id(module) not in sites:
        raise CheckpointError(
            f"config.{NAME} names {name!r}, which is a {type(module).__name__} and no attention layer"
        )
    return sites[id(module)]


def _numbers(name: str, kept: Any) -> list[int]:
    if not isinstance(kept, list) or not all(isinstance(head, int) for head in kept):
        raise CheckpointError(f"config.{NAME} must list the heads that {name!r} kept; got {kept!r}")
    return kept


def _concrete(model_class: Any, config: Any) -> Any:
    """The class of model that an Auto class stands for."""
    mapping = getattr(model_class, "_model_mapping", None)
    return model_class if mapping is None else _get_model_class(config, mapping)  # type: ignore[no-untyped-call] # no types there
