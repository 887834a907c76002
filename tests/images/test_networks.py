import pytest
import torch

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.images.networks import build_network
from primaldual.integrations.timm_attention import PrimalDualAttention


def test_scaled_heads_pool_patches_of_the_grid():
    model = build_network("vit_micro", "bn+sh(1,1,2,4)", 3, 32)
    layers = [module for module in model.modules() if isinstance(module, PrimalDualAttention)]
    assert len(layers) == 4
    assert layers[0].problem.subset.grid == (8, 8)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_the_seed_gives_the_weights_and_leaves_the_generator_alone():
    before = torch.get_rng_state()
    first, again, other = (build_network("vit_micro", "softmax", 2, 8, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.head.weight, other.head.weight)


def test_any_model_of_timm_with_its_attention():
    model = build_network("vit_tiny_patch16_224", "sh(1,2,4)", 5, 32)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "size", "error", "message"),
    [
        ("vit_tny", 8, ArgumentError, "model must be one of vit_micro, .*; did you mean .*vit_tiny"),
        ("resnet18", 32, ArgumentError, "model resnet18 cannot be made for images of 32 pixels"),
        ("swin_tiny_patch4_window7_224", 224, UnsupportedError, "model must hold"),
    ],
)
def test_models_that_cannot_be_used_are_named(name, size, error, message):
    with pytest.raises(error, match=message):
        build_network(name, "bn", 2, size)
