"""Attention layers of torch: nn.MultiheadAttention, by itself or inside nn.Transformer's layers; and our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.position_dependence import (
    PositionDependence,
    check_lengths,
)
from primaldual.integrations.pruning import (
    check_heads,
    check_prunable,
    keep_inputs,
    keep_outputs,
    keep_projected,
    key_heads,
    pruned_problem,
)
from primaldual.nn.input_projections import InputProjections
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.attention import Attention
from primaldual.primal.token_inputs import Inputs, learned

INPUTS = ("q_proj", "k_proj", "v_proj")
PARAMETERS = {"in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias"}
"""Names of the parameters of an nn.MultiheadAttention, except for the output projection's."""


class ConvertedMultiheadAttention(MultiheadAttention):
    """A layer that replaces an nn.MultiheadAttention, and can be turned back into it.

    In an nn.TransformerEncoder, padded sequences are packed in evaluation as they were before, so that its outputs
    there are exactly 0 at the padding, and its final norm's of 0; in training they are whatever comes out, as in torch.
    """

    @classmethod
    def of(cls, layer: nn.MultiheadAttention, problem: Attention) -> ConvertedMultiheadAttention:
        """A layer with copies of the weights of another one; no random number is drawn."""
        made = cls(
            layer.embed_dim,
            layer.num_heads,
            layer.dropout,
            layer.in_proj_bias is not None,
            kdim=layer.kdim,
            vdim=layer.vdim,
            batch_first=layer.batch_first,
            device="meta",
            out_bias=layer.out_proj.bias is not None,
        )
        for name, part in zip(INPUTS, _inputs(layer), strict=True):
            _fill(made.get_submodule(name), part)
        _fill(made.out_proj, dict(layer.out_proj.named_parameters()))
        made.train(layer.training)
        _attend_with(made, problem)
        return made

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
        """As :meth:`MultiheadAttention.forward`, but ``is_causal`` only hints at what ``attn_mask`` is, as in torch.

        The two differ between sequences of different lengths, where torch aligns the first positions.

        Raises:
            UnsupportedError: a window between two sequences of different lengths.
        """
        options = key_padding_mask, need_weights, attn_mask, average_attn_weights
        if query.is_nested:
            return super().forward(query, key, value, *options, is_causal, inputs=inputs)
        axis = -2 if self.batch_first or query.dim() == 2 else 0
        query_length, key_length = query.shape[axis], key.shape[axis]
        if query_length != key_length:
            is_causal = is_causal and attn_mask is None
            positions = PositionDependence.of(self.problem, self.num_heads)
            check_lengths(self.problem, positions, query_length, key_length, is_causal)
        out, weights = super().forward(query, key, value, *options, is_causal, inputs=inputs)
        fused = not self.training and query is key is value and not out.requires_grad
        if query.dim() == 3 and not (fused and self.batch_first):
            # torch computes length first, whatever its inputs are, and a dropout behind draws in this order.
            out = out.transpose(0, 1).contiguous().transpose(0, 1) if self.batch_first else out.contiguous()
        return out, weights

    def original(self) -> nn.MultiheadAttention:
        """An nn.MultiheadAttention with copies of the weights as they are now.

        Raises:
            UnsupportedError: projections that are not plain linear maps, or heads that were cut out.
        """
        projections = [cast(nn.Linear, self.get_submodule(name)) for name in INPUTS]
        check_prunable(*projections, self.out_proj)
        if self.num_heads * self.head_dim != self.embed_dim:
            raise UnsupportedError(
                f"nn.MultiheadAttention has embed_dim / head_dim = {self.embed_dim // self.head_dim} heads; got "
                f"{self.num_heads} that are left"
            )
        weights = [projection.weight for projection in projections]
        made = nn.MultiheadAttention(
            self.embed_dim,
            self.num_heads,
            self.dropout,
            any(projection.bias is not None for projection in projections),
            kdim=projections[1].in_features,
            vdim=projections[2].in_features,
            batch_first=self.batch_first,
            device="meta",
        )
        found = dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), weights, strict=True))
        if made._qkv_same_embed_dim:
            found = {"in_proj_weight": _packed(weights)}
        if made.in_proj_bias is not None:
            found["in_proj_bias"] = _packed([_bias(projection) for projection in projections])
        _fill(made, found)
        made.out_proj.register_parameter("bias", None)
        _fill(made.out_proj, dict(self.out_proj.named_parameters()))
        return made.train(self.training)


def find(model: nn.Module) -> list[AttentionSite]:
    """Every nn.MultiheadAttention, and every MultiheadAttention of this library, converted ones included."""
    return [
        TorchSite(model, path)
        for path, module in model.named_modules()
        if type(module) is nn.MultiheadAttention or isinstance(module, MultiheadAttention)
    ]


class TorchSite(AttentionSite):
    """An nn.MultiheadAttention before or after conversion, or a MultiheadAttention of this library.

    The module that everybody refers to stays, whatever it is at the moment, so a layer may be shared, be the model
    itself, and have hooks.
    """

    @property
    def module(self) -> nn.MultiheadAttention | MultiheadAttention:
        module = self.model.get_submodule(self.path)
        assert isinstance(module, nn.MultiheadAttention | MultiheadAttention)
        return module

    @property
    def heads(self) -> int:
        return self.module.num_heads

    @property
    def kv_heads(self) -> int:
        module = self.module
        return module.kv_heads if isinstance(module, MultiheadAttention) else module.num_heads

    @property
    def head_dim(self) -> int:
        return self.module.head_dim

    @property
    def problem(self) -> Attention | None:
        module = self.module
        return module.problem if isinstance(module, MultiheadAttention) else None

    @property
    def pools_before_projecting(self) -> bool:
        return True

    @property
    def token_widths(self) -> tuple[int, int]:
        module = self.module
        if isinstance(module, MultiheadAttention):
            return module.embed_dim, module.k_proj.in_features
        return module.embed_dim, module.kdim

    @property
    def refusal(self) -> str | None:
        module = self.module
        if not isinstance(module, nn.MultiheadAttention):
            return None
        if module.bias_k is not None or module.add_zero_attn:
            return "extra keys (add_bias_kv or add_zero_attn), which belong to no training pair"
        own = dict(module.named_parameters(recurse=False))
        output = dict(module.out_proj.named_parameters())
        linear = isinstance(module.out_proj, nn.Linear) and output.keys() <= {"weight", "bias"}
        if not linear or not own.keys() <= PARAMETERS or any(True for _ in module.buffers()):
            return "weights that are computed from others (pruned, parametrised, LoRA); make them permanent first"
        strange = {type(tensor).__name__ for tensor in module.parameters()} - {"Parameter"}
        if strange:
            return f"weights of type {', '.join(sorted(strange))} (sharded or quantised), which cannot be divided"
        if "forward" in vars(module) or "peft." in f"{type(self._parent()).__module__}.":
            return "a wrapper around its forward (LoRA, offloading); take it off first"
        tied = self._tied()
        return f"weights that {tied} has too, and conversion would untie them" if tied else None

    @property
    def is_cross_attention(self) -> bool:
        parent, _, name = self.path.rpartition(".")
        return name == "multihead_attn" and isinstance(
            self.model.get_submodule(parent), nn.TransformerDecoderLayer
        )

    def convert(self, problem: Attention) -> None:
        self.check(problem)
        module = self.module
        if isinstance(module, nn.MultiheadAttention):
            _become(module, ConvertedMultiheadAttention.of(module, problem))
            return
        if not isinstance(module, ConvertedMultiheadAttention):
            vars(module).setdefault("problem_before", (module.problem, module.input_proj))
        _attend_with(module, problem)

    def revert(self) -> None:
        module = self.module
        if isinstance(module, ConvertedMultiheadAttention):
            _become(module, module.original())
        elif isinstance(module, MultiheadAttention) and "problem_before" in vars(module):
            _attend_with(module, *vars(module).pop("problem_before"))

    def prune(self, keep: Sequence[int]) -> None:
        module = self.module
        if isinstance(module, nn.MultiheadAttention):
            raise UnsupportedError(
                "nn.MultiheadAttention has as many heads as its width says; convert it first"
            )
        heads, kv_heads = module.num_heads, module.kv_heads
        members = check_heads(keep, heads)
        keys = key_heads(members, heads, kv_heads)
        check_prunable(*(module.get_submodule(name) for name in (*INPUTS, "out_proj")))
        before = vars(module).get("problem_before")
        held = [module.input_proj] if before is None else [module.input_proj, before[1]]
        for projections in dict.fromkeys(each for each in held if each is not None):
            keep_projected(projections, members, module.head_dim)
        _attend_with(module, pruned_problem(module.problem, members, heads), module.input_proj)
        if before is not None:
            vars(module)["problem_before"] = pruned_problem(before[0], members, heads), before[1]
        keep_outputs(module.q_proj, members, module.head_dim)
        for projection in (module.k_proj, module.v_proj):
            keep_outputs(projection, keys, module.head_dim)
        keep_inputs(module.out_proj, members, module.head_dim)
        module.num_heads, module.kv_heads = len(members), len(keys)

    def _parent(self) -> nn.Module:
        return self.model.get_submodule(self.path.rpartition(".")[0])

    def _tied(self) -> str | None:
        """The name of a parameter or module elsewhere in the model that is one of the layer's own."""
        module = self.module
        inside = {id(part) for part in module.modules()}
        own = inside - {id(module)} | {id(tensor) for tensor in module.parameters()}
        for path, part in self.model.named_modules():
            if id(part) not in inside:
                for name, held in (*part._parameters.items(), *part._modules.items()):
                    if id(held) in own:
                        return f"{path}.{name}".lstrip(".")
        return None


def _become(module: nn.Module, other: nn.Module) -> None:
    """Turn a module into another one in place, so that every reference sees it; its hooks stay."""
    hooks = {name: value for name, value in vars(module).items() if "hook" in name}
    attributes = {**vars(other), **hooks}
    module.__class__ = type(other)
    vars(module).clear()
    vars(module).update(attributes)


def _attend_with(
    layer: MultiheadAttention, problem: Attention, projections: InputProjections | None = None
) -> None:
    """Give a layer another attention, with projections of what it needs of every token: given, present or fresh ones."""
    weight = layer.out_proj.weight
    if projections is None:
        same = layer.input_proj is not None and layer.input_proj.needs == learned(problem.token_inputs)
        projections = layer.input_proj if same else layer.input_projections(problem)
    for part in (problem, projections):
        if part is not None and isinstance(weight, Tensor):  # on quantised layers ``weight`` is a method
            part.to(device=weight.device, dtype=weight.dtype)
        if part is not None:
            part.train(layer.training)
    layer.register_module("problem", problem)
    layer.input_proj = projections


def _inputs(layer: nn.MultiheadAttention) -> list[dict[str, Tensor]]:
    """Weight and bias of the query, key and value projections, as views that say whether they are trained."""
    if layer._qkv_same_embed_dim:
        parts = [{"weight": rows} for rows in _rows(layer.in_proj_weight)]
    else:
        weights = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        parts = [{"weight": cast(Tensor, weight)} for weight in weights]
    if layer.in_proj_bias is not None:
        for part, rows in zip(parts, _rows(layer.in_proj_bias), strict=True):
            part["bias"] = rows
    return parts


def _rows(packed: Tensor) -> list[Tensor]:
    return [rows.detach().requires_grad_(packed.requires_grad) for rows in packed.chunk(3)]


def _packed(tensors: Sequence[Tensor]) -> Tensor:
    trained = any(tensor.requires_grad for tensor in tensors)
    return torch.cat([tensor.detach() for tensor in tensors]).requires_grad_(trained)


def _bias(projection: nn.Linear) -> Tensor:
    bias = projection._parameters["bias"]
    return projection.weight.new_zeros(projection.out_features) if bias is None else bias


def _fill(module: nn.Module, parameters: dict[str, Tensor]) -> None:
    """Give a module copies of these parameters."""
    for name, tensor in parameters.items():
        setattr(module, name, nn.Parameter(tensor.detach().clone(), tensor.requires_grad))
