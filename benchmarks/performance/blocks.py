"""Whole encoder blocks: ours, and `nn.TransformerEncoderLayer` with the same weights."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.performance.families import Family, rows
from benchmarks.performance.ours import rounded_parameters, sequence
from benchmarks.performance.programs import Program
from benchmarks.performance.settings import DTYPES, Setting, key_mask
from primaldual.analysis import layer_flops
from primaldual.errors import UnsupportedError
from primaldual.nn.encoder import EncoderBlock

NAMES = {
    "self_attn.": "attention.",
    "linear1.": "feedforward.0.",
    "linear2.": "feedforward.3.",
    "norm1.": "attention_norm.",
    "norm2.": "feedforward_norm.",
}
"""torch's names of the parts of a block, and ours."""


def torch_source(setting: Setting) -> nn.TransformerEncoderLayer:
    """torch's block, post-norm, twice as wide inside; without dropout, which would draw differently."""
    width = setting.heads * setting.head_dim
    block = nn.TransformerEncoderLayer(width, setting.heads, 2 * width, 0.0, "gelu", batch_first=True)
    rounded_parameters(block)
    return block.to(DTYPES[setting.dtype])


def our_block(spec: str, setting: Setting) -> EncoderBlock:
    """Our block with the same weights."""
    width = setting.heads * setting.head_dim
    block = EncoderBlock(width, setting.heads, 2 * width, attention=spec)
    state = {}
    for name, tensor in torch_source(setting).state_dict().items():
        old = next(old for old in NAMES if name.startswith(old))
        state[NAMES[old] + name.removeprefix(old)] = tensor
    block.load_state_dict(state)
    return block.to(DTYPES[setting.dtype])


def padded_positions(setting: Setting) -> Tensor | None:
    """True at padding, (batch, N)."""
    mask = key_mask(setting)
    return None if mask is None else ~mask[:, 0, 0]


def ours(spec: str, setting: Setting) -> Program:
    """`EncoderBlock`."""
    block, padding = our_block(spec, setting), padded_positions(setting)
    if setting.is_causal:
        raise UnsupportedError("encoder blocks are compared without a causal mask")
    return Program(
        lambda inputs: block(inputs, padding),
        (sequence(setting).requires_grad_(),),
        sequence(setting, 3),
        tuple(block.parameters()),
    )


def theirs(spec: str, setting: Setting) -> Program:
    """`nn.TransformerEncoderLayer` in training mode."""
    if spec != "softmax" or setting.is_causal:
        raise UnsupportedError("nn.TransformerEncoderLayer is compared on softmax without a causal mask")
    block, padding = torch_source(setting), padded_positions(setting)
    return Program(
        lambda inputs: block(inputs, src_key_padding_mask=padding),
        (sequence(setting).requires_grad_(),),
        sequence(setting, 3),
        tuple(block.parameters()),
    )


def flops(spec: str, setting: Setting) -> int:
    """Operations of attention and feed-forward network."""
    width = setting.heads * setting.head_dim
    inside = 2 * 2 * setting.length * width * 2 * width
    return setting.batch * (layer_flops(our_block(spec, setting).attention, setting.length).total + inside)


FAMILIES = (
    Family("block", ours, rows(16), "nn.TransformerEncoderLayer", flops=flops, ours=True),
    Family("nn.TransformerEncoderLayer", theirs, rows(16), "block", flops=flops),
)
