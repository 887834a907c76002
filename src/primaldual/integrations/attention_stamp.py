"""The attention of a layer in its state_dict, so that its weights are not read into a layer of another one."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.integrations.laid_out import laid_out
from primaldual.kernels.layout import SEQUENCE
from primaldual.primal.attention import Attention

STAMP = "primaldual_attention"
"""The name in the state_dict, which a plain layer does not expect."""


class StampedAttention(nn.Module):
    """A layer with a problem, whose state_dict names it unless it is softmax, which every plain layer has.

    A state_dict without a name loads, as weights of a plain layer; one with the name of another attention does not.
    The layout of positions, which belongs to the inputs, is no part of the name.
    """

    problem: Attention
    num_heads: int

    @property
    def primaldual_attention(self) -> Tensor | None:
        """The spec in UTF-8, uint8; None for softmax."""
        spec = laid_out(self.problem, self.num_heads, SEQUENCE).spec()
        plain = spec.partition("(")[0] == "softmax" and not {"+", ","} & set(spec)
        return None if plain else torch.tensor(list(spec.encode()), dtype=torch.uint8)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if (spec := self.primaldual_attention) is not None:
            destination[prefix + STAMP] = spec

    def _load_from_state_dict(
        self, state_dict: MutableMapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved, own = state_dict.pop(prefix + STAMP, None), self.primaldual_attention
        if saved is not None and (own is None or not torch.equal(saved.cpu(), own)):
            errors: list[str] = args[-1]
            errors.append(
                f"{prefix.rstrip('.') or 'the layer'} attends with {_text(own)!r} and the weights are of "
                f"{_text(saved)!r}: convert the layer to that first"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _text(spec: Tensor | None) -> str:
    return "softmax" if spec is None else bytes(spec.tolist()).decode(errors="replace")
