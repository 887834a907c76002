import pytest
import torch
from examples import battery_life
from torch.testing import assert_close


def generator():
    return torch.Generator().manual_seed(0)


def test_simulated_batteries_follow_the_law():
    batteries = battery_life.simulate(500, generator())
    assert batteries.cycles.shape == (500, 20, 4)
    assert (batteries.losses(generator())[:, -1] - battery_life.DEAD).abs().max() < 0.01
    assert 0.5 < float(batteries.life.mean()) < 1.5
    assert (batteries.cycles.flatten(0, 1).std(0) < 5).all()


def test_a_prediction_does_not_depend_on_the_other_batteries():
    model, cycles = battery_life.LifeModel("bn").eval(), battery_life.simulate(6, generator()).cycles
    together, alone = model(cycles), [model(each) for each in cycles.split(1)]
    for place in (0, 1):
        assert_close(together[place], torch.cat([found[place] for found in alone]), atol=1e-5, rtol=1e-5)


def test_the_predicted_loss_at_the_predicted_life_is_that_of_its_end():
    model, batteries = battery_life.LifeModel("softmax"), battery_life.simulate(6, generator())
    with torch.no_grad():
        model.offset += 0.01
    _, losses = model(batteries.cycles)
    assert_close(losses[:, -1], torch.full((6,), battery_life.DEAD), atol=1e-5, rtol=1e-5)
    assert (losses.diff(dim=1) > 0).all()


def test_every_method_is_measured(capsys):
    battery_life.main(["--seeds", "2", "--steps", "2", "--batteries", "4", "--attention", "softmax"])
    shown = capsys.readouterr().out
    assert "simulated batteries" in shown
    for name in ("the mean of the training lives", "softmax, A and B", "softmax, life itself"):
        assert name in shown
    with pytest.raises(SystemExit):
        battery_life.main(["--steps", "0"])
