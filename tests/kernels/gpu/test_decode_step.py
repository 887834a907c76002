"""Steps of decoding by kernels equal the definition on the pairs of each prefix, typed out in float64."""

import pytest
import torch
from tests.quick import one_in
from torch.testing import assert_close

from primaldual.kernels.gpu.decode_step import DecodeStep, Normalization
from primaldual.kernels.gpu.decode_table import CachedHeads

LENGTH = 7


def cached(
    batch, dims, dtype, device, members, key_heads, size=1, prefix=0, normalized=False, slots=LENGTH + 1
):
    kept = len(key_heads)

    def vector(wanted, width):
        return torch.zeros(batch, kept, 1, width, device=device) if wanted else None

    keys, values = (torch.full((batch, kept, slots, width), torch.nan, dtype=dtype) for width in dims)
    return CachedHeads(
        keys.to(device),
        values.to(device),
        None,
        vector(size > 1, dims[0]),
        vector(size > 1, dims[1]),
        vector(normalized, dims[0]),
        vector(normalized, dims[0]),
        size,
        prefix,
        members,
        key_heads,
    )


def pairs(tensor, size, prefix):
    """The training pairs of all tokens, (N, D): single ones, means of windows and that of the last, shorter one."""
    parts = [*tensor[:prefix].split(1), *tensor[prefix:].split(size)]
    return torch.stack([part.mean(0) for part in parts if len(part)])


def expected(query, key, value, scale, size, prefix, normalization):
    """Rows of one head, (N, Dv)."""
    rows = []
    for row in range(len(query)):
        keys, values = (pairs(tensor[: row + 1].double(), size, prefix) for tensor in (key, value))
        moved = query[row].double()
        if normalization is not None:
            variance, mean = torch.var_mean(keys, 0, correction=0)
            divisor = 1 if normalization.eps is None else variance + normalization.eps
            moved = (moved - normalization.beta * mean) / divisor if len(keys) > 1 else 0 * moved
        rows.append((keys @ moved * scale).softmax(0) @ values)
    return torch.stack(rows)


def drawn(batch, heads, kv_heads, dims, dtype, device):
    generator = torch.Generator().manual_seed(0)
    shapes = [(heads, dims[0]), (kv_heads, dims[0]), (kv_heads, dims[1])]
    tensors = [torch.randn(batch, LENGTH, *shape, generator=generator) for shape in shapes]
    return [tensor.to(device, dtype).transpose(1, 2) for tensor in tensors]


CASES = {
    "softmax": {"sets": [([0, 1, 2, 3], 1, 0)]},
    "bn": {"sets": [([0, 1, 2, 3], 1, 0)], "normalization": Normalization(0.7, 1e-2)},
    "pooled": {"sets": [([0, 2], 1, 0), ([1], 2, 0), ([3], 3, 4)]},
    "pooled bn": {"sets": [([3, 1], 3, 1), ([0, 2], 2, 0)], "normalization": Normalization(1.0, 0.5)},
    "grouped": {"sets": [([0, 1, 2, 3], 1, 0)], "kv_heads": 2},
    "grouped and pooled": {
        "sets": [([0, 1], 2, 0), ([2, 3], 3, 0)],
        "kv_heads": 2,
        "normalization": Normalization(1.0, None),
    },
    "unequal groups": {"sets": [([0, 1, 2], 2, 0), ([3], 1, 0)], "kv_heads": 1},
}


@pytest.mark.parametrize("name", one_in(2, CASES))
def test_steps_equal_the_definition(name, device):
    check(device, 2, torch.float32, (8, 16), **CASES[name])


@pytest.mark.parametrize(
    ("name", "dtype"),
    one_in(2, [("pooled bn", torch.bfloat16), ("grouped", torch.float16), ("grouped", torch.bfloat16)]),
)
def test_half_precision(name, dtype, device):
    if device == "cpu" and (name, dtype) == ("grouped", torch.bfloat16):
        pytest.skip("Triton's interpreter multiplies matrices of bfloat16 as integers")
    check(device, 1, dtype, (16, 16), **CASES[name])


def check(device, splits, dtype, dims, sets, normalization=None, kv_heads=4):
    query, key, value = drawn(2, 4, kv_heads, dims, dtype, device)
    group = 4 // kv_heads
    caches, kept = [], {}
    for members, size, prefix in sets:
        key_heads = list(dict.fromkeys(head // group for head in members))
        kept |= dict.fromkeys(members, (size, prefix))
        caches.append(
            cached(2, dims, dtype, device, members, key_heads, size, prefix, normalization is not None)
        )
    step = DecodeStep(caches, [0, 0], 0.4, normalization, splits=splits, block=16)
    tokens = zip(*(tensor.split(1, 2) for tensor in (query, key, value)), strict=True)
    found = torch.cat([step(*token) for token in tokens], 2)
    assert step.positions.tolist() == [LENGTH, LENGTH]
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for batch in range(2):
        for head, (size, prefix) in kept.items():
            own = query[batch, head], key[batch, head // group], value[batch, head // group]
            wanted = expected(*own, 0.4, size, prefix, normalization)
            assert_close(found[batch, head].double(), wanted, rtol=tolerance, atol=tolerance)


def test_sequences_of_other_lengths_step_together(device):
    """A sequence in a batch gives what it gives alone; slots behind its own pair may hold anything."""
    query, key, value = drawn(2, 2, 2, (16, 16), torch.float32, device)
    together = DecodeStep([cached(2, (16, 16), torch.float32, device, [0, 1], [0, 1])], [0, 0], 0.3, block=16)
    for row in range(4):  # the second sequence starts anew behind four tokens of the first
        together(*(tensor[:, :, row : row + 1] for tensor in (query, key, value)))
    together.positions[1] = 0
    for row in range(3):
        places = [4 + row, row]
        token = [
            torch.stack([tensor[batch, :, place : place + 1] for batch, place in enumerate(places)])
            for tensor in (query, key, value)
        ]
        out = together(*token)
        for batch, place in enumerate(places):
            for head in range(2):
                own = (tensor[batch, head, : place + 1] for tensor in (query, key, value))
                wanted = expected(*own, 0.3, 1, 0, None)[-1]
                assert_close(out[batch, head, 0].double(), wanted, rtol=1e-5, atol=1e-5)


def test_queries_beyond_half_precision_stay_finite(device):
    """Where keys hardly differ q / (sigma^2 + eps) leaves the range of float16."""
    for kv_heads in (4, 2):
        query, key, value = drawn(2, 4, kv_heads, (16, 16), torch.float16, device)
        heads = list(range(kv_heads))
        store = cached(2, (16, 16), torch.float16, device, [0, 1, 2, 3], heads, normalized=True)
        step = DecodeStep([store], [0, 0], 0.25, Normalization(1.0, 1e-6), block=16)
        for row in range(3):
            out = step(query[:, :, row : row + 1], 1e-4 * key[:, :, :1], value[:, :, row : row + 1])
            assert out.isfinite().all()
