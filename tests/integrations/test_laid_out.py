"""One attention with several layouts at once."""

import torch

from primaldual import preset
from primaldual.integrations.laid_out import laid_out
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.head_groups import joined

GRID = Layout((2, 4), 1)


def tensors(heads):
    return torch.randn(3, 1, heads, 9, 8, generator=torch.Generator().manual_seed(0)).unbind(0)


def test_a_layout_is_an_argument_and_no_state():
    attention = preset("bn(learnable=true)+sh(1,2)").bind(2, 8)
    stated = preset("bn(learnable=true)+sh(1,2,grid=2x4,prefix=1)").bind(2, 8)
    before = attention.attend(*tensors(2))
    view = laid_out(attention, 2, GRID)
    torch.testing.assert_close(view.attend(*tensors(2)), stated.attend(*tensors(2)))
    assert torch.equal(attention.attend(*tensors(2)), before)
    assert attention.subset.layout == SEQUENCE
    assert not torch.allclose(view.attend(*tensors(2)), before)
    assert laid_out(view, 2, GRID) is view
    assert laid_out(attention, 2, SEQUENCE) is attention


def test_parameters_and_hooks_are_shared():
    attention, seen = preset("bn(learnable=true)+sh(1,2)").bind(2, 8), []
    view = laid_out(attention, 2, GRID)
    mine, theirs = dict(view.named_parameters()), dict(attention.named_parameters())
    assert mine
    assert all(mine[name] is theirs[name] for name in theirs)
    attention.register_forward_hook(lambda *_: seen.append(1))
    view.attend(*tensors(2))
    assert seen == [1]
    attention.double()
    assert {parameter.dtype for parameter in view.parameters()} == {torch.float64}
    assert laid_out(attention.eval(), 2, GRID).training is False


def test_every_group_of_heads_is_laid_out():
    groups = joined([(preset("sh(2)").bind(1, 8), [1]), (preset("anchored(2,1)").bind(2, 8), [0, 2])])
    view = laid_out(groups, 3, GRID)
    assert [part.subset.layout for part, _ in view.problems(3)] == [GRID, GRID]
    assert [part.subset.layout for part, _ in groups.problems(3)] == [SEQUENCE, SEQUENCE]
    first = laid_out(preset("sh(2)"), 1, GRID)
    alone = first.attend(*(tensor[:, 1:2] for tensor in tensors(3)))
    torch.testing.assert_close(view.attend(*tensors(3))[:, 1:2], alone)
