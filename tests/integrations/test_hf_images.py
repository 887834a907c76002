"""Vision models of transformers with images of other sizes than their config states."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.integrations.hf_models import bert, made, vit

from primaldual.errors import ShapeError
from primaldual.integrations.conversion import convert, revert
from primaldual.integrations.finding import find_sites
from primaldual.integrations.hf_attention import from_pretrained
from primaldual.kernels.layout import Layout

SIZES = (16, 16), (32, 8), (8, 32), (20, 20), (12, 24)
"""Heights and widths in pixels; patches are 4 x 4, and the first three have as many."""


def image(height: int, width: int) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height))


def outputs(model, size):
    return model(image(*size).to(model.dtype), interpolate_pos_encoding=True)[0]


@torch.no_grad()
@pytest.mark.parametrize("spec", ["sh(1,1,2,4)", "bn+sh(1,1,2,3)"])
def test_pools_are_patches_of_the_image_at_hand(spec: str, tmp_path) -> None:
    model = made(vit)
    convert(model, spec, verbose=False)
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    model.save_pretrained(tmp_path)
    loaded = from_pretrained(type(model), tmp_path, add_pooling_layer=False)
    for height, width in SIZES:
        still = made(vit)
        stated = f"{spec[:-1]},grid={height // 4}x{width // 4},prefix=1)"
        convert(still, stated, verbose=False)
        expected = outputs(still, (height, width))
        for each in (model, *copies, loaded):
            torch.testing.assert_close(outputs(each, (height, width)), expected)


def test_a_stated_layout_holds_for_one_size() -> None:
    model = made(vit)
    for layout in (None, Layout((4, 4), 1)):
        convert(model, "sh(1,1,2,4,grid=2x8,prefix=1)", layout=layout, verbose=False)
        with pytest.raises(ShapeError, match="grid 2x8 with prefix 1 needs 17 positions; got 26"):
            outputs(model, (20, 20))


def test_reverting_takes_every_hook_out() -> None:
    model, sites = made(vit), 2
    for spec in ("sh", "bn+sh", "bn", "sh"):
        convert(model, spec, verbose=False)
        assert len(model.embeddings.patch_embeddings.projection._forward_hooks) == sites * ("sh" in spec)
    revert(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all("_primaldual_image" not in vars(site.module) for site in find_sites(model))
    text = made(bert)
    convert(text, "sh", verbose=False)
    assert all("_primaldual_image" not in vars(site.module) for site in find_sites(text))


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_:FutureWarning")
def test_recomputation_and_threads_find_their_own_grid() -> None:
    model = made(vit).double()
    convert(model, "sh(1,1,2,4)", verbose=False)
    model.train()

    def both() -> list[torch.Tensor]:
        model.zero_grad()
        sum(outputs(model, size).square().sum() for size in SIZES[:3]).backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    expected = both()
    model.gradient_checkpointing_enable()
    torch.testing.assert_close(both(), expected)
    model.gradient_checkpointing_disable()
    model.eval()
    alone = [outputs(model, size) for size in SIZES[:2]]

    def run(place: int) -> bool:
        return all(torch.allclose(outputs(model, SIZES[place]), alone[place], atol=1e-5) for _ in range(20))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(run, range(2)))
