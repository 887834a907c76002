"""Small models of torch's own layers, and what they may be called with."""

from itertools import product

import torch
from torch import nn

BATCH, LENGTH, MEMORY, WIDTH, HEADS = 3, 7, 9, 16, 4


def encoder(layers=2, dtype=torch.float64, nested=False, **options):
    return nn.TransformerEncoder(
        encoder_layer(dtype=dtype, **options), layers, nn.LayerNorm(WIDTH, dtype=dtype), nested
    )


def encoder_layer(**options):
    return seeded(lambda: nn.TransformerEncoderLayer(WIDTH, HEADS, 32, **_options(options)))


def decoder_layer(**options):
    return seeded(lambda: nn.TransformerDecoderLayer(WIDTH, HEADS, 32, **_options(options)))


def decoder(**options):
    return nn.TransformerDecoder(decoder_layer(**options), 2)


def transformer(**options):
    return seeded(lambda: nn.Transformer(WIDTH, HEADS, 2, 2, 32, **_options(options)))


def attention(**options):
    return seeded(lambda: nn.MultiheadAttention(WIDTH, HEADS, **_options(options)))


def _options(given):
    return {"dropout": 0.0, "dtype": torch.float64, "batch_first": True} | given


def seeded(build):
    """A model with random numbers in its biases too, which are 0 at first."""
    torch.manual_seed(0)
    model = build()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0.5)
    return model


def padding(length):
    """True = blocked, at the end of all sequences but the first."""
    lengths = torch.tensor([length, length - 4, length - 2])
    return torch.arange(length) >= lengths[:, None]


def sequences(length=LENGTH, batch=BATCH, dtype=torch.float64):
    return torch.randn(batch, length, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(length))


def additive(mask):
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(mask, -torch.inf)


def patterns():
    """Attention masks, and whether each of them is the causal one."""
    causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    sparse = torch.rand(LENGTH, LENGTH, generator=torch.Generator().manual_seed(1)) < 0.4
    sparse[:, 0] = False
    by_head = sparse.expand(BATCH * HEADS, -1, -1) & (torch.arange(BATCH * HEADS) % 2 == 0)[:, None, None]
    for mask in (causal, additive(causal)):
        yield from ((mask, False), (mask, True))
    for mask in (None, sparse, additive(sparse), by_head, additive(by_head)):
        yield mask, False


def encoder_calls(mask_name):
    for (mask, is_causal), blocked in product(patterns(), (None, padding(LENGTH), additive(padding(LENGTH)))):
        if mask is not None and blocked is not None and mask.dtype != blocked.dtype:
            continue  # torch warns of these
        yield {mask_name: mask, "src_key_padding_mask": blocked, "is_causal": is_causal}


def decoder_calls(memory):
    blocked = torch.rand(LENGTH, memory, generator=torch.Generator().manual_seed(2)) < 0.4
    blocked[:, 0] = False
    for (mask, is_causal), memory_mask in product(patterns(), (None, blocked)):
        for padded in (False, True):
            if padded and mask is not None and mask.dtype != torch.bool:
                continue
            yield {
                "tgt_mask": mask,
                "tgt_is_causal": is_causal,
                "memory_mask": memory_mask,
                "tgt_key_padding_mask": padding(LENGTH) if padded else None,
                "memory_key_padding_mask": padding(memory) if padded else None,
            }
    corner = torch.ones(LENGTH, memory, dtype=torch.bool).triu(1)
    yield {"memory_mask": corner, "memory_is_causal": True}
