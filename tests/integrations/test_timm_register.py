import pytest
import timm
import torch
from timm.models import vision_transformer

from primaldual.errors import ArgumentError, SpecError
from primaldual.integrations.timm_layers import SquareImage, attention_class, register

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 2}


@pytest.fixture(autouse=True)
def names_as_before(monkeypatch):
    monkeypatch.setattr(vision_transformer, "ATTN_LAYERS", dict(vision_transformer.ATTN_LAYERS))


def built(attention):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", attn_layer=attention, **SMALL).eval()


def test_a_name_builds_what_the_class_builds():
    layout = SquareImage(prefix=1)
    [name] = register("bn+sh(1,2,4)", layout=layout)
    assert name == "primaldual_bn+sh(1,2,4)"
    image = torch.randn(2, 3, 32, 32)
    expected = built(attention_class("bn+sh(1,2,4)", layout=layout))(image)
    assert torch.equal(built(name)(image), expected)


def test_again_is_the_same_and_another_layout_is_refused():
    assert register() == ["primaldual_softmax", "primaldual_linear", "primaldual_bn"]
    assert register("bn") == ["primaldual_bn"]
    register("sh(1,2,4)", layout=SquareImage(prefix=1))
    with pytest.raises(
        ArgumentError, match=r"primaldual_sh\(1,2,4\) is registered with layout SquareImage.*got None"
    ):
        register("sh(1,2,4)")
    with pytest.raises(SpecError, match="unknown part 'softmx'"):
        register("softmx")
