from primaldual.images.evaluation import Evaluation
from primaldual.images.figures import corruption_figure, curve_figure


def test_curves_without_a_validation_part_and_of_one_epoch():
    drawn = curve_figure([{"epoch": 1, "train_loss": 1.0, "validation_loss": None}])
    assert "training" in drawn
    assert ">validation<" not in drawn


def test_nothing_is_drawn_of_corruptions_that_were_not_tried():
    assert corruption_figure(Evaluation(4, {}, 1.0, 0, {})) == ""
    drawn = corruption_figure(Evaluation(4, {}, 1.0, 4, {"noise": {1: 0.9, 3: 0.5}}))
    assert "noise" in drawn
