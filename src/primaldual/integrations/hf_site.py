"""Attention layers of transformers' models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from primaldual.integrations import hf_layer_attributes as attributes
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.descriptions import described
from primaldual.integrations.hf_entry import entry_of, write_entry, write_implementation
from primaldual.integrations.hf_function import IMAGE, NAME
from primaldual.integrations.hf_images import embedded_image
from primaldual.integrations.hf_marks import Registration, check_implementation, name_in
from primaldual.integrations.hf_pruning import prune_heads
from primaldual.integrations.hf_register import register_converted
from primaldual.integrations.pruning import pruned_problem
from primaldual.kernels.layout import Layout
from primaldual.primal.attention import Attention


def find_layers(model: nn.Module) -> list[AttentionSite]:
    """The attention layers inside models of transformers that call the attention function their config names."""
    owners = _owners(model)
    found: list[AttentionSite] = []
    for path, module in model.named_modules():
        owner = owners.get(id(getattr(module, "config", None)))
        if owner is None or not attributes.calls_interface(module):
            continue
        if attributes.heads(module) is None or attributes.head_dim(module) is None:
            continue
        found.append(HuggingFaceSite(model, path, owner))
    return found


class HuggingFaceSite(AttentionSite):
    """An attention layer of a transformers model; converted, it holds a problem, and the model calls our function.

    Attributes:
        owner: the outermost model with the config that the layer reads its implementation from.
    """

    def __init__(self, model: nn.Module, path: str, owner: PreTrainedModel) -> None:
        super().__init__(model, path)
        self.owner = owner

    @property
    def heads(self) -> int:
        return attributes.heads(self.module) or 0

    @property
    def kv_heads(self) -> int:
        return attributes.kv_heads(self.module) or 0

    @property
    def head_dim(self) -> int:
        return attributes.head_dim(self.module) or 0

    @property
    def score_scale(self) -> float | None:
        return attributes.score_scale(self.module)

    @property
    def layout(self) -> Layout:
        return attributes.vision_layout(self.module.config, attributes.prefix_tokens(self.owner))

    @property
    def problem(self) -> Attention | None:
        found = getattr(self.module, "problem", None)
        return found if isinstance(found, Attention) else None

    @property
    def values_by_hook(self) -> bool:
        return False  # rows and documents reach the problem by themselves, and caches of states pass it by

    @property
    def refusal(self) -> str | None:
        if feature := attributes.unsupported_feature(self.module):
            return feature
        if not self.owner._can_set_attn_implementation():
            return f"a model, {type(self.owner).__name__}, whose attention implementation cannot be set"
        implementation = self.owner.config._attn_implementation
        if self.problem is not None and implementation != NAME:
            return (
                f"an attention that was converted, under the implementation {implementation!r} that was set later, which "
                "passes it by: call primaldual.revert first"
            )
        if isinstance(implementation, str) and implementation.startswith(f"{NAME}_"):
            return f"an attention chosen by name, {implementation!r}: convert instead, after set_attn_implementation('sdpa')"
        return None

    @property
    def is_causal(self) -> bool | None:
        stated = getattr(self.module, "is_causal", None)
        return stated if isinstance(stated, bool) else None

    @property
    def is_cross_attention(self) -> bool:
        return attributes.is_cross_attention(self.module)

    def convert(self, problem: Attention) -> None:
        self.check(problem)
        module, config = self.module, self.owner.config
        entry = self._entry()
        register_converted()
        weight = next((found for found in module.parameters() if found.is_floating_point()), None)
        if weight is not None and not weight.is_meta:
            problem = problem.to(device=weight.device, dtype=weight.dtype)
        self._forget_image()
        image = embedded_image(self.owner, self._around(), self.layout, problem, self.heads)
        if image is not None:
            setattr(module, IMAGE, image)
        module.problem = problem.train(module.training)
        module.__dict__["_primaldual"] = Registration()
        if check_implementation not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(check_implementation)
        entry["layers"][self._name()] = described(problem, self.heads)
        if config._attn_implementation != NAME:
            entry["previous"] = config._attn_implementation
            self.owner.set_attn_implementation({"": NAME})
        write_entry(config, entry)
        self._mark()

    def revert(self) -> None:
        module, config = self.module, self.owner.config
        if self.problem is None:
            return
        entry = self._entry()
        self._forget_image()
        del module.problem, module.__dict__["_primaldual"]
        for key, hook in list(module._forward_pre_hooks.items()):
            if hook is check_implementation:
                del module._forward_pre_hooks[key]
        entry["layers"].pop(self._name(), None)
        if not any(True for _ in _converted(self.owner)) and config._attn_implementation == NAME:
            self.owner.set_attn_implementation({"": entry["previous"] or "sdpa"})
        write_entry(config, entry)
        self._mark()

    def prune(self, keep: Sequence[int]) -> None:
        module, heads = self.module, self.heads
        kept = sorted(set(keep))
        prune_heads(self.owner, module, kept, heads, self.kv_heads, self.head_dim)
        if self.problem is not None:
            module.problem = pruned_problem(self.problem, kept, heads)
        entry, name = self._entry(), self._name()
        former = entry["pruned"].get(name, list(range(heads)))
        entry["pruned"][name] = [former[head] for head in kept]
        if self.problem is not None:
            entry["layers"][name] = described(self.problem, len(kept))
        write_entry(self.owner.config, entry)

    def _forget_image(self) -> None:
        image = self.module.__dict__.pop(IMAGE, None)
        if image is not None:
            image.forget()

    def _around(self) -> list[nn.Module]:
        """The modules below the owner that hold the layer, and the layer."""
        names = self.path.split(".")
        within = {id(module) for module in self.owner.modules()} - {id(self.owner)}
        modules = [self.model.get_submodule(".".join(names[: count + 1])) for count in range(len(names))]
        return [module for module in modules if id(module) in within]

    def _mark(self) -> None:
        """Let the config of the whole model tell too, if it holds that of the owner."""
        outer = getattr(self.model, "config", None)
        if outer is not self.owner.config and hasattr(outer, "sub_configs"):
            write_implementation(outer)

    def _entry(self) -> dict[str, Any]:
        """A copy of the config's entry without layers that are not converted."""
        entry = entry_of(self.owner.config)
        there = {name_in(self.owner, module) for module in _converted(self.owner)}
        layers = {name: layer for name, layer in entry["layers"].items() if name in there}
        return {**entry, "layers": layers, "pruned": dict(entry["pruned"])}

    def _name(self) -> str:
        return name_in(self.owner, self.module)


def _converted(owner: nn.Module) -> Iterator[nn.Module]:
    """Layers of a model that hold a problem and read its config."""
    for module in owner.modules():
        if "problem" in module._modules and "_primaldual" in module.__dict__:
            yield module


def _owners(model: nn.Module) -> dict[int, PreTrainedModel]:
    """The outermost model with each config."""
    owners: dict[int, PreTrainedModel] = {}
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            owners.setdefault(id(module.config), module)
    return owners
