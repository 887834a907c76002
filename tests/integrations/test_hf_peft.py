"""LoRA on the projections of converted models, in either order."""

from collections.abc import Callable

import pytest
import torch
from tests.integrations.hf_models import bert, gpt2, left_padded, llama, logits, made, tokens
from transformers import PreTrainedModel

from primaldual.errors import UnsupportedError
from primaldual.integrations.conversion import convert, revert
from primaldual.integrations.finding import find_sites

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # in peft

TARGETS = {bert: ["query", "value"], llama: ["q_proj", "v_proj"], gpt2: ["c_attn"]}


def adapted(model: PreTrainedModel, build: Callable[..., PreTrainedModel]) -> torch.nn.Module:
    """The model with low-rank changes of its projections that are not 0."""
    settings = {"fan_in_fan_out": True} if build is gpt2 else {}
    found = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=TARGETS[build], **settings))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return found.eval()


@pytest.mark.parametrize("build", list(TARGETS))
@pytest.mark.parametrize("first", ["convert", "adapt"])
def test_merged_is_unmerged_in_either_order(build: Callable[..., PreTrainedModel], first: str) -> None:
    model = made(build).double()
    plain = logits(model, tokens(2, 6))
    if first == "convert":
        convert(model, "bn(learnable=true)+sh", verbose=False)
        model = adapted(model, build)
    else:
        model = adapted(model, build)
        convert(model, "bn(learnable=true)+sh", verbose=False)
    model = model.double()
    ids, mask = tokens(2, 6), left_padded([6, 4])
    assert [site.heads for site in find_sites(model)] == [4, 4]
    unmerged = logits(model, ids, mask)[mask.bool()]
    assert (logits(model, ids) - plain).abs().max() > 1e-2
    model.train()(input_ids=ids)[0].sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert any("lora_A" in name for name in trained)
    assert any("head_beta" in name for name in trained) == (first == "adapt")
    model.eval()
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged, ids, mask)[mask.bool()], unmerged, atol=1e-9, rtol=0)
    assert len(revert(merged)) == 2


def test_adapted_projections_are_not_cut() -> None:
    model = adapted(made(bert), bert)
    with pytest.raises(UnsupportedError, match="plain"):
        find_sites(model)[0].prune([0])
