"""Saved models, small enough for tests."""

from __future__ import annotations

import torch


def save_bert(folder, tokenizer=True):
    """A BERT with random weights and a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = [
        "[PAD]",
        "[UNK]",
        *["the", "a", "of", "and", "to", "is", "keys", "on", "table", "rain", "river", "sold", "<b>"],
    ]
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=16,
        max_position_embeddings=12,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    if tokenizer:
        inner = Tokenizer(
            models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]")
        )
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        outer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")
        outer.save_pretrained(folder)


def save_vit(folder):
    """A vision transformer of transformers with random weights, for images of 16 x 16."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )  # fmt: skip
    torch.manual_seed(0)
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)


def save_images(folder, count=3):
    """Images of noise in two folders."""
    from PIL import Image

    for place in range(count):
        path = folder / "ab"[place % 2]
        path.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((20 + place, 24), 60).save(path / f"{place}.png")
