"""Models put back to what they were: classes, attributes, parameters, modules, hooks and configurations."""

from types import SimpleNamespace

import pytest
import torch
from tests.integrations import torch_models as models
from torch import nn

from primaldual import preset
from primaldual.integrations.finding import find_sites
from primaldual.integrations.transaction import all_or_nothing, place_all, placed, snapshot


class Other(nn.Linear):
    pass


def build():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm1d(3))
    model.config = model[0].config = SimpleNamespace(attention="sdpa")
    model.plan = {"depth": 1}
    return model, model[1].register_forward_hook(lambda *_: None)


def spoil(model):
    model[0].__class__ = Other
    model[0].weight = nn.Parameter(torch.zeros(9, 2))
    model[0].bias = None
    model[0].extra = nn.Parameter(torch.zeros(1))
    model[2].running_mean = torch.zeros(1)
    model[1].register_forward_hook(lambda *_: None)
    model[0].register_full_backward_hook(lambda *_: None)
    model[0].note = "new"
    model.config.attention = "primaldual"
    model.config.new = 1
    del model.plan
    model[1] = nn.Identity()
    model.append(nn.Linear(3, 3))
    return model.eval()


def test_everything_is_put_back():
    model, handle = build()
    modules, parameters, buffers = list(model.modules()), list(model.parameters()), list(model.buffers())
    names, attributes = list(model.state_dict()), [dict(vars(module)) for module in modules]
    put_back = snapshot(model)
    spoil(model)
    put_back()
    assert list(model.state_dict()) == names
    for found, wanted in (
        (model.modules(), modules),
        (model.parameters(), parameters),
        (model.buffers(), buffers),
    ):
        assert all(each is former for each, former in zip(found, wanted, strict=True))
    assert [vars(module) for module in modules] == attributes
    assert [type(module) for module in modules] == [nn.Sequential, nn.Linear, nn.ReLU, nn.BatchNorm1d]
    assert vars(model.config) == {"attention": "sdpa"}
    assert len(model[1]._forward_hooks) == 1
    handle.remove()
    assert not model[1]._forward_hooks


def test_only_after_an_error():
    model, _ = build()
    before = list(model.state_dict())
    with pytest.raises(ZeroDivisionError), all_or_nothing(model):
        spoil(model).append(1 / 0)
    assert list(model.state_dict()) == before
    with all_or_nothing(model):
        spoil(model)
    assert list(model.state_dict()) != before


def test_layers_are_placed_until_it_is_undone():
    model = models.encoder(layers=2)
    sites, before = find_sites(model), list(model.modules())
    undo = place_all(sites, [preset("bn").bind(4, 4) for _ in sites])
    assert [site.problem.spec() for site in sites] == ["bn", "bn"]
    undo()
    assert all(found is wanted for found, wanted in zip(model.modules(), before, strict=True))
    with placed(sites[1:], [preset("linear").bind(4, 4)]):
        assert [site.problem and site.problem.spec() for site in sites] == [None, "linear"]
    assert all(found is wanted for found, wanted in zip(model.modules(), before, strict=True))
    assert place_all([], [])() is None
    with pytest.raises(ValueError, match="shorter"):
        place_all(sites, [preset("bn").bind(4, 4)])
    assert [site.problem for site in sites] == [None, None]
