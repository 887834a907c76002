"""Documents packed into one row: every one gets what it gets alone."""

from typing import Any

import pytest
import torch
from tests.integrations.hf_models import bert, gpt2, llama, made, qwen3, tokens
from torch import Tensor
from transformers import PreTrainedModel

from primaldual.errors import UnsupportedError
from primaldual.integrations.conversion import convert
from primaldual.integrations.hf_attention import register
from primaldual.integrations.hf_documents import one_document, packed_documents

LENGTHS = 6, 3, 1, 5
POSITIONS = torch.cat([torch.arange(length) for length in LENGTHS])[None]
SPECS = [
    "sh(1,2,2,4)",
    "bn+sh(1,1,2,3)",
    "conv(3)+bn",
    "conv(3,queries=true)",
    "window(2)",
    "bn",
    "sh(2,2,2,2,prefix=1)",
]


def alone(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """The outputs of every document by itself, one behind the other."""
    return torch.cat([model(input_ids=one)[0] for one in ids.split(LENGTHS, 1)], 1)


@torch.no_grad()
@pytest.mark.parametrize("build", [llama, qwen3])
@pytest.mark.parametrize("spec", SPECS)
def test_documents_in_a_row_are_as_alone(build: Any, spec: str) -> None:
    model, ids = made(build).double(), tokens(2, sum(LENGTHS))
    convert(model, spec, verbose=False)
    model.eval()
    packed = model(input_ids=ids, position_ids=POSITIONS, use_cache=False)[0]
    torch.testing.assert_close(packed, alone(model, ids), atol=1e-9, rtol=0)
    both = torch.cat([POSITIONS, torch.arange(sum(LENGTHS))[None]])
    mixed = model(input_ids=ids, position_ids=both, use_cache=False)[0]
    torch.testing.assert_close(mixed[0], packed[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(mixed[1:], model(input_ids=ids[1:])[0], atol=1e-9, rtol=0)


@torch.no_grad()
def test_documents_by_name_and_their_maps() -> None:
    register()
    model, ids = made(llama), tokens(1, sum(LENGTHS))
    model.set_attn_implementation("primaldual_bn+sh")
    found = model(input_ids=ids, position_ids=POSITIONS, use_cache=False, output_attentions=True)
    torch.testing.assert_close(found.logits, alone(model, ids), atol=1e-5, rtol=0)
    first = model(input_ids=ids[:, :6], output_attentions=True)
    for packed, single in zip(found.attentions, first.attentions, strict=True):
        torch.testing.assert_close(packed[:, :, :6, :6], single)
        torch.testing.assert_close(packed.sum(-1), torch.ones_like(packed[..., 0]))
        assert not packed[:, :, :6, 6:].any()
        assert not packed[:, :, 6:9, :6].any()


def test_gradients_of_documents_are_as_alone() -> None:
    model, ids = made(gpt2).double(), tokens(1, sum(LENGTHS))
    convert(model, "bn(learnable=true)+sh(1,2,2,4)", verbose=False)
    model.eval()
    outputs = model(input_ids=ids, position_ids=POSITIONS, use_cache=False)[0], alone(model, ids)
    wanted, found = (
        torch.autograd.grad(each.square().sum(), list(model.parameters()), allow_unused=True)
        for each in reversed(outputs)
    )
    torch.testing.assert_close(found, wanted)


def test_documents_of_encoders_lie_in_a_mask_of_pairs() -> None:
    model, ids = made(bert).double(), tokens(1, 9)
    convert(model, "bn+sh(1,2,2,4)", verbose=False)
    number = torch.tensor([[1] * 5 + [2] * 4])
    mask = (number[:, None, :, None] == number[:, None, None, :]).clone()
    places = torch.cat([torch.arange(5), torch.arange(4)])[None]
    with torch.no_grad():
        packed = model(input_ids=ids, attention_mask=mask, position_ids=places)[0]
        single = torch.cat([model(input_ids=one)[0] for one in ids.split((5, 4), 1)], 1)
    torch.testing.assert_close(packed, single, atol=1e-9, rtol=0)


@pytest.mark.long
def test_a_compiled_graph_refuses_documents_that_it_cannot_tell_apart() -> None:
    torch._dynamo.reset()
    model, ids = made(llama), tokens(1, sum(LENGTHS))
    convert(model, "sh(1,2,2,4)", verbose=False)
    compiled = torch.compile(model, backend="aot_eager")
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False)[0]
        torch.testing.assert_close(compiled(input_ids=ids, use_cache=False)[0], expected, atol=1e-5, rtol=0)
        with pytest.raises(RuntimeError, match="without compilation, or pad the documents"):
            compiled(input_ids=ids, position_ids=POSITIONS, use_cache=False)


def test_lengths_that_the_mask_does_not_know_are_refused() -> None:
    model, ids = made(llama), tokens(1, 9)
    convert(model, "bn", verbose=False)
    ends = torch.tensor([0, 5, 9], dtype=torch.int32)
    with pytest.raises(UnsupportedError, match="cu_seq_lens_q packs 2 documents"):
        model(input_ids=ids, cu_seq_lens_q=ends, cu_seq_lens_k=ends, use_cache=False)
    places = torch.cat([torch.arange(5), torch.arange(4)])[None]
    kept = model(input_ids=ids, position_ids=places, cu_seq_lens_q=ends, cu_seq_lens_k=ends, use_cache=False)
    torch.testing.assert_close(kept[0], model(input_ids=ids, position_ids=places, use_cache=False)[0])


def test_masks_that_say_more_than_documents() -> None:
    causal = torch.ones(1, 1, 5, 5).tril().bool()
    number, is_causal = packed_documents(causal) or (None, None)
    assert number is not None
    assert (number.tolist(), is_causal) == ([[1] * 5], True)
    assert packed_documents(causal.triu(-1)) is None
    assert packed_documents(torch.zeros(1, 1, 3, 3, dtype=torch.bool))[0].tolist() == [[0, 0, 0]]
    padded = causal & torch.tensor([False, True, True, True, True])
    assert packed_documents(padded)[0].tolist() == [[0, 2, 2, 2, 2]]
    assert one_document(padded)
    assert one_document(causal)
    assert not one_document(torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).bool()[None, None])
