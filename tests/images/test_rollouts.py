from types import SimpleNamespace

import numpy as np
import torch

from primaldual.analysis import attention_rollout, capture_attention
from primaldual.images.image_data import ImageData
from primaldual.images.networks import build_network
from primaldual.images.rollouts import example_rollouts
from primaldual.images.transforms import test_view as whole_view
from tests.images.helpers import pixel_set


def run_of(model):
    data = ImageData(pixel_set(), whole_view(8))
    return SimpleNamespace(test=data, model=model, config={"classes": ["dark", "bright"]})


def test_every_head_of_every_layer_shows_the_row_of_the_class_token():
    model = build_network("vit_micro", "bn+sh(1,1,2,4)", 2, 8).eval()
    first, second = example_rollouts(run_of(model), 2)
    assert (first.label, second.label) == ("dark", "bright")
    assert [layer.shape for layer in first.layers] == [(4, 4, 4)] * 4
    [batch] = run_of(model).test.load([torch.tensor([1])], seed=0)
    with torch.no_grad(), capture_attention(model) as maps:
        model(batch.images)
    expected = attention_rollout(maps)[2][0, 3, 0, 1:].reshape(4, 4).numpy()
    np.testing.assert_allclose(second.layers[2][3], expected, atol=1e-6)
    assert first.image.shape == (8, 8, 3)


def test_without_a_class_token_it_is_the_mean_of_all_tokens():
    model = build_network("vit_wee_patch16_reg1_gap_256", "softmax", 2, 32).eval()
    del model.blocks[2:]
    data = ImageData(pixel_set(), whole_view(32))
    [example] = example_rollouts(SimpleNamespace(**{**vars(run_of(model)), "test": data}), 1)
    [batch] = data.load([torch.tensor([0])], seed=0)
    with torch.no_grad(), capture_attention(model) as maps:
        model(batch.images)
    expected = attention_rollout(maps)[1][0, 2].mean(0)[1:].reshape(2, 2).numpy()
    np.testing.assert_allclose(example.layers[1][2], expected, atol=1e-6)
