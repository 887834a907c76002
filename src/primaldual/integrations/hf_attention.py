"""Hugging Face transformers: attention of this library inside its models, by conversion or by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from primaldual.integrations.attention_sites import AttentionSite
from primaldual.primal.problem import PrimalProblem

if TYPE_CHECKING:
    from primaldual.integrations.hf_cache import AttentionCache


def find(model: nn.Module) -> list[AttentionSite]:
    """Every attention layer of a transformers model that attends by a registered function."""
    if "transformers.modeling_utils" not in sys.modules:
        return []  # so that no model of it exists, and a second of imports is saved
    from primaldual.integrations.hf_site import find_layers

    return find_layers(model)


def register(attention: str | PrimalProblem | None = None) -> list[str]:
    """Give transformers this library's attentions by name, masks included; doing it again changes nothing.

    From then on a model accepts ``"primaldual_<spec>"`` with any spec, as ``set_attn_implementation`` and
    ``attn_implementation=`` take it.

    Args:
        attention: a spec or problem without parameters, for the name ``"primaldual_<spec>"``; None = the usual ones.

    Returns:
        The names, for ``model.set_attn_implementation(name)`` or ``attn_implementation=name``.

    Raises:
        UnsupportedError: an attention with something to learn, which needs :func:`primaldual.convert`.

    Example:
        >>> register("bn(beta=0.8)")
        ['primaldual_bn(beta=0.8)']
    """
    from primaldual.integrations.hf_register import register_names

    return register_names(attention)


def make_cache(model: nn.Module) -> AttentionCache:
    """A cache for ``generate`` that keeps of every converted layer a :class:`DecodingState`, not all keys and values.

    Scaled heads then keep their pooled pairs, windows their last tokens and linear attentions their sums: outputs are
    those without the cache. Layers that were not converted, or only in some heads, keep what transformers keeps.
    Padding on the left, beams and prompts in pieces work. Outputs at padding are 0, so with padding on the right read the
    logits at the last token of each row. Assisted generation, gradients and dropout are refused.

    Args:
        model: a decoder of transformers, converted by :func:`primaldual.convert` or set to a name of :func:`register`.

    Returns:
        The cache of one generation, empty. ``nbytes`` is what it holds; ``argument`` is it by the name under which
        the installed version of transformers takes it.

    Raises:
        ArgumentError: no model of transformers with a decoder alone.
        UnsupportedError: no layer of the model attends by this library.

    Example:
        >>> import torch
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from primaldual.integrations.conversion import convert
        >>> words = {"vocab_size": 9, "bos_token_id": 0, "eos_token_id": 8}
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=4, **words)).eval()
        >>> _ = convert(model, "sh(1,2,4,8)", verbose=False)
        >>> cache, prompt = make_cache(model), torch.ones(1, 64, dtype=torch.long)
        >>> options = {"max_new_tokens": 2, "do_sample": False, "pad_token_id": 0}
        >>> model.generate(prompt, **cache.argument, **options).shape, cache.nbytes
        (torch.Size([1, 66]), 8032)
    """
    from primaldual.integrations.hf_cache import AttentionCache

    return AttentionCache(model)


def is_converted(folder: Any, **kwargs: Any) -> bool:
    """Whether a folder of ``save_pretrained`` holds a converted or pruned model, which :func:`from_pretrained` loads.

    Args:
        folder: where it was saved.
        **kwargs: as for ``AutoConfig.from_pretrained``.
    """
    from primaldual.integrations import hf_saving

    return hf_saving.is_converted(folder, **kwargs)


def from_pretrained(model_class: Any, folder: Any, **kwargs: Any) -> Any:
    """A converted or pruned model that was saved with ``save_pretrained``, as it was.

    ``model_class.from_pretrained`` itself refuses such a folder: it would read the weights into plain softmax.

    Args:
        model_class: a model class or an Auto class of transformers.
        folder: where it was saved.
        **kwargs: as for ``model_class.from_pretrained``, which also say what is returned beside the model.

    Raises:
        CheckpointError: a folder whose config has no entry of ours, or one that cannot be read.
    """
    from primaldual.integrations.hf_saving import load

    return load(model_class, folder, **kwargs)


def save_pretrained(model: Any, folder: str | os.PathLike[str], **kwargs: Any) -> Path:
    """Save a converted or pruned model by its ``save_pretrained``, and beside it a model card.

    The card is ``README.md``: the attention of every layer with its equation, and how to load the folder. A
    ``README.md`` that this library has not written is kept, and the card is ``README.primaldual.md`` then.

    Args:
        model: of transformers, converted by :func:`primaldual.convert` or pruned.
        folder: where to save it.
        **kwargs: as for ``model.save_pretrained``.

    Returns:
        The file of the card.

    Raises:
        ArgumentError: a model that is neither converted nor pruned, or ``push_to_hub``.

    Example:
        >>> import tempfile
        >>> from transformers import BertConfig, BertModel
        >>> from primaldual.integrations.conversion import convert
        >>> sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 9}
        >>> model = BertModel(BertConfig(num_hidden_layers=1, **sizes))
        >>> _ = convert(model, "bn", verbose=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     card = save_pretrained(model, folder)
        ...     print(card.name, "`bn`" in card.read_text())
        README.md True
    """
    from primaldual.integrations import hf_saving

    return hf_saving.save(model, folder, **kwargs)
