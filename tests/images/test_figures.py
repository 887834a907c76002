from primaldual.images.evaluation import Evaluation
from primaldual.images.figures import corruption_figure


def test_nothing_is_drawn_of_corruptions_that_were_not_tried():
    assert corruption_figure(Evaluation(4, {}, 1.0, 0, {})) == ""
    drawn = corruption_figure(Evaluation(4, {}, 1.0, 4, {"noise": {1: 0.9, 3: 0.5}}))
    assert "noise" in drawn
