"""Attention layers of torch: nn.MultiheadAttention, by itself or inside nn.Transformer's layers; and our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.pruning import check_prunable, keep_inputs, keep_outputs, pruned_problem
from primaldual.integrations.sites import Attending, AttentionSite
from primaldual.nn.multihead import MultiheadAttention


class ConvertedMultiheadAttention(MultiheadAttention):
    """A layer in the place of an nn.MultiheadAttention, which it can turn back into."""

    @classmethod
    def of(cls, layer: nn.MultiheadAttention, problem: Attending) -> ConvertedMultiheadAttention:
        """A layer with copies of the weights of another one."""
        weight = layer.out_proj.weight
        made = cls(
            layer.embed_dim,
            layer.num_heads,
            layer.dropout,
            layer.in_proj_bias is not None,
            kdim=layer.kdim,
            vdim=layer.vdim,
            batch_first=layer.batch_first,
            device=weight.device,
            dtype=weight.dtype,
            out_bias=layer.out_proj.bias is not None,
        )
        made.problem = problem.to(device=weight.device, dtype=weight.dtype)
        copied = {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
        made.load_state_dict(copied, strict=False)
        for projection, parameters in made.origins(layer):
            for name, source in parameters.items():
                projection.get_parameter(name).requires_grad_(source.requires_grad)
        return made.train(layer.training)

    def origins(self, layer: nn.MultiheadAttention) -> Iterator[tuple[nn.Linear, dict[str, Tensor]]]:
        """Our projections, and the parameters of the other layer that they come from."""
        packed = layer.in_proj_weight
        weights = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
        for place, projection in enumerate((self.q_proj, self.k_proj, self.v_proj)):
            weight = packed if packed is not None else weights[place]
            bias = {} if layer.in_proj_bias is None else {"bias": layer.in_proj_bias}
            yield projection, {"weight": weight, **bias}
        yield self.out_proj, dict(layer.out_proj.named_parameters())

    @torch.no_grad()
    def original(self) -> nn.MultiheadAttention:
        """An nn.MultiheadAttention with copies of the weights as they are now."""
        weight, kdim, vdim = self.out_proj.weight, self.k_proj.in_features, self.v_proj.in_features
        made = nn.MultiheadAttention(
            self.embed_dim,
            self.num_heads,
            self.dropout,
            self.q_proj.bias is not None,
            kdim=kdim,
            vdim=vdim,
            batch_first=self.batch_first,
            device=weight.device,
            dtype=weight.dtype,
        )
        if self.out_proj.bias is None:
            made.out_proj.bias = None
        projections = (self.q_proj, self.k_proj, self.v_proj)
        if made.in_proj_weight is not None:
            made.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
        else:
            for own, projection in zip(
                (made.q_proj_weight, made.k_proj_weight, made.v_proj_weight), projections, strict=True
            ):
                own.copy_(projection.weight)
        if made.in_proj_bias is not None:
            made.in_proj_bias.copy_(torch.cat([projection.bias for projection in projections]))
        made.out_proj.load_state_dict(self.out_proj.state_dict())
        trained = {id(made.out_proj.weight): self.out_proj.weight, id(made.out_proj.bias): self.out_proj.bias}
        for parameter in made.parameters():
            parameter.requires_grad_(trained.get(id(parameter), self.q_proj.weight).requires_grad)
        return made.train(self.training)


def find(model: nn.Module) -> list[AttentionSite]:
    """Every nn.MultiheadAttention, and every layer of ours, also one that stands in the place of such."""
    return [
        TorchSite(model, path)
        for path, module in model.named_modules()
        if type(module) is nn.MultiheadAttention or isinstance(module, MultiheadAttention)
    ]


class TorchSite(AttentionSite):
    """An nn.MultiheadAttention, or what stands in its place; or a MultiheadAttention of ours."""

    @property
    def heads(self) -> int:
        return int(self.module.num_heads)

    @property
    def kv_heads(self) -> int:
        return int(getattr(self.module, "kv_heads", self.heads))

    @property
    def head_dim(self) -> int:
        return int(self.module.head_dim)

    @property
    def problem(self) -> Attending | None:
        module = self.module
        return module.problem if isinstance(module, MultiheadAttention) else None

    @property
    def refusal(self) -> str | None:
        module = self.module
        if isinstance(module, nn.MultiheadAttention) and (module.bias_k is not None or module.add_zero_attn):
            return "extra keys (add_bias_kv or add_zero_attn), which belong to no training pair"
        return None

    def convert(self, problem: Attending) -> None:
        module = self.module
        if isinstance(module, MultiheadAttention):
            weight = module.out_proj.weight
            module.problem = problem.to(device=weight.device, dtype=weight.dtype)
        else:
            assert isinstance(module, nn.MultiheadAttention)
            self._replace(ConvertedMultiheadAttention.of(module, problem))

    def revert(self) -> None:
        module = self.module
        if isinstance(module, ConvertedMultiheadAttention):
            self._replace(module.original())

    def prune(self, keep: Sequence[int]) -> None:
        module = self.module
        assert isinstance(module, MultiheadAttention)
        if module.kv_heads != module.num_heads:
            raise UnsupportedError("heads that share keys with others, which cannot be cut one by one")
        inner = (module.q_proj, module.k_proj, module.v_proj)
        check_prunable(*inner, module.out_proj)
        module.problem = pruned_problem(module.problem, keep, module.num_heads)
        for projection in inner:
            keep_outputs(projection, keep, module.head_dim)
        keep_inputs(module.out_proj, keep, module.head_dim)
        module.num_heads = module.kv_heads = len(keep)

    def _replace(self, layer: nn.Module) -> None:
        """Put a layer wherever the present one stands; a layer may be shared."""
        old = self.module
        for hook in ("_forward_hooks", "_forward_pre_hooks"):
            getattr(layer, hook).update(getattr(old, hook))
        for parent in list(self.model.modules()):
            for name, child in parent.named_children():
                if child is old:
                    setattr(parent, name, layer)
