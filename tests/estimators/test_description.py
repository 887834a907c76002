import json

import numpy as np
import pytest

from primaldual.estimators.description import (
    describe,
    labels_from_json,
    labels_to_json,
    parameters_from,
)
from primaldual.primal.presets import faithful_spec, preset
from tests.estimators.helpers import classifier, labels, series


@pytest.mark.parametrize("values", [["a", "bc"], [1, 2], [True, False], [0.0, 1.0]])
def test_labels_survive_json(values):
    given = np.array(values)
    read = labels_from_json(json.loads(json.dumps(labels_to_json(given))))
    assert read.dtype == given.dtype
    assert (read == given).all()


def test_a_description_is_json_and_gives_the_parameters_back(tmp_path):
    fitted = classifier(
        attention=preset("bn+sh(1,2)"),
        class_weight={np.str_("up"): np.float64(2.0)},
        checkpoint_dir=tmp_path,
        random_state=np.random.RandomState(0),
    ).fit(series(), labels())
    described = json.loads(json.dumps(describe(fitted), allow_nan=False))
    parameters = parameters_from(described)
    assert parameters["class_weight"] == {"up": 2.0}
    assert parameters["attention"] == "bn+sh(1,2)"
    assert parameters["random_state"] is None
    assert set(fitted.get_params()) - set(parameters) == {"callbacks", "checkpoint_dir"}


def test_specs_are_taken_as_they_were_given():
    assert faithful_spec("bn + sh(1,2)") == "bn + sh(1,2)"
    assert faithful_spec(preset("bn(beta=0.5)")) == "bn(beta=0.5)"
