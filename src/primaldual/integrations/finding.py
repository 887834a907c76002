"""Find the attention layers of a model, of whatever libraries it is made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module

from torch import nn

from primaldual.integrations import adapting, torch_layers
from primaldual.integrations.attention_sites import AttentionSite

ADAPTERS = {
    "timm": "primaldual.integrations.timm_layers",
    "transformers": "primaldual.integrations.hf_attention",
}
"""Libraries, and our modules for their layers. A model of a library that was never imported cannot exist."""


def find_sites(model: nn.Module) -> list[AttentionSite]:
    """The attention layers that can be named, converted or not, in the order of ``model.named_modules()``."""
    found = [*torch_layers.find(model), *adapting.find(model)]
    for library, adapter in ADAPTERS.items():
        if library in sys.modules:
            found += import_module(adapter).find(model)
    by_path = {site.path: site for site in found}
    return [by_path[path] for path, _ in model.named_modules() if path in by_path]


def other_attention(model: nn.Module, sites: list[AttentionSite]) -> list[tuple[str, str]]:
    """Path and class of the modules that attend, by their class's name, and are not sites of ours."""
    known = {id(site.module) for site in sites}
    around = {
        id(model.get_submodule(site.path.rpartition(".")[0])) for site in sites if site.path
    }  # BertAttention, which holds the BertSelfAttention that is a site
    return list(_others(model, "", known, around))


def _others(module: nn.Module, path: str, known: set[int], around: set[int]) -> Iterator[tuple[str, str]]:
    if id(module) in known:
        return
    name = type(module).__name__
    if (
        id(module) not in around
        and ("Attention" in name or "Attn" in name)
        and any(True for _ in module.parameters())
    ):
        yield path, name
        return
    for child_name, child in module.named_children():
        yield from _others(child, f"{path}.{child_name}".lstrip("."), known, around)
