"""A trained language model with another attention, or with fewer heads of keys and values."""

from __future__ import annotations

from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.language.language_model import LanguageModel

_OWN = (".attention.problem.", ".attention.input_proj.")
"""What belongs to an attention, in the names of weights."""


def converted(
    model: LanguageModel, attention: str | list[str] | None = None, kv_heads: int | None = None
) -> LanguageModel:
    """A new model with the weights of a trained one, to be trained further.

    Projections of keys and values that a group of query heads shares from now on are the means of those of the group
    (Ainslie et al., EMNLP 2023). What the new attention learns of its own starts as in a fresh model.

    Args:
        model: left as it is.
        attention: a spec, or one for each layer; None = that of the model.
        kv_heads: dividing the model's; None = the model's.

    Raises:
        ArgumentError: kv_heads that do not divide the model's.

    Example:
        >>> from primaldual.language.alphabets import Bytes
        >>> model = LanguageModel.of(Bytes(), {"context": 32, "embed_dim": 8, "num_heads": 4, "num_layers": 1})
        >>> smaller = converted(model, "sh(2)"), converted(model, kv_heads=2)
        >>> [round(one.cache_bytes() / model.cache_bytes(), 1) for one in smaller]
        [0.5, 0.5]
    """
    heads = model.config.get("kv_heads") or model.config["num_heads"]
    wanted = heads if kv_heads is None else kv_heads
    if wanted < 1 or heads % wanted:
        raise ArgumentError(f"kv_heads must divide the {heads} of the model; got {wanted}")
    config = {**model.config, "attention": model.attention if attention is None else attention}
    if wanted != heads:
        config["kv_heads"] = wanted
    new = LanguageModel.of(model.alphabet, config)
    weights = new.decoder.state_dict()
    own = {name for name in weights if any(part in name for part in _OWN)}
    same = new.attention == model.attention
    for name, tensor in model.decoder.state_dict().items():
        if name in weights and (same or name not in own):
            weights[name] = _pooled(tensor, heads, wanted) if _is_shared(name) else tensor
    new.decoder.load_state_dict(weights)
    return new


def _is_shared(name: str) -> bool:
    return ".k_proj." in name or ".v_proj." in name


def _pooled(weight: Tensor, heads: int, wanted: int) -> Tensor:
    """Rows of a projection, (heads * head_dim, ...): the means over heads that become one."""
    return weight.unflatten(0, (wanted, heads // wanted, -1)).mean(1).flatten(0, 1)
