"""A fitted estimator in terms of JSON: its parameters, what it learnt, but not its weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from primaldual.estimators.preparation import SeriesPreparation
from primaldual.primal.presets import faithful_spec

_NOT_SAVED = ("callbacks", "checkpoint_dir")


def describe(estimator: Any) -> dict[str, Any]:
    """Everything about a fitted estimator but its weights.

    Raises:
        CheckpointError: the attention has parts that its spec does not name.
    """
    parameters = {
        name: _plain(value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in _NOT_SAVED
    }
    preparation, settings = estimator._preparation, estimator._model_settings
    return {
        "parameters": parameters | estimator._specs(),
        "model": {**settings, "attention": faithful_spec(settings["attention"])},
        "preparation": {
            "mean": preparation.mean.tolist(),
            "deviation": preparation.deviation.tolist(),
            "length": preparation.length,
        },
        "channel_names": estimator.channel_names_,
        "series": {name: _plain(value) for name, value in estimator.metadata_.items()},
        "targets": estimator._describe_targets(),
        **{name.removesuffix("_"): getattr(estimator, name) for name in estimator._reports},
    }


def apply_description(estimator: Any, described: Mapping[str, Any]) -> None:
    """Give an unfitted estimator what `describe` wrote."""
    learnt = described["preparation"]
    estimator._preparation = SeriesPreparation(
        np.array(learnt["mean"]), np.array(learnt["deviation"]), learnt["length"]
    )
    estimator._model_settings = dict(described["model"])
    estimator.metadata_ = dict(described["series"])
    names = described.get("channel_names")
    estimator.channel_names_ = None if names is None else tuple(names)
    estimator._apply_targets(described["targets"])
    for name in estimator._reports:
        setattr(estimator, name, described[name.removesuffix("_")])


def parameters_from(described: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the constructor."""
    parameters = dict(described["parameters"])
    if isinstance(parameters.get("class_weight"), list):
        parameters["class_weight"] = dict(parameters["class_weight"])
    if "attentions" in parameters:
        parameters["attentions"] = tuple(parameters["attentions"])
    return parameters


def labels_to_json(labels: npt.NDArray[np.generic]) -> dict[str, Any]:
    """Labels with their dtype.

    Example:
        >>> labels_from_json(labels_to_json(np.array(["a", "b"])))
        array(['a', 'b'], dtype='<U1')
    """
    values = labels.astype(np.int64).tolist() if labels.dtype.kind in "mM" else labels.tolist()
    if labels.dtype.kind == "S":
        values = [value.decode("latin-1") for value in values]
    return {"dtype": labels.dtype.str, "values": values}


def labels_from_json(described: Mapping[str, Any]) -> npt.NDArray[np.generic]:
    """The opposite of `labels_to_json`."""
    values, dtype = described["values"], np.dtype(described["dtype"])
    if dtype.kind == "S":
        values = [value.encode("latin-1") for value in values]
    return (
        np.array(values, dtype=np.int64).astype(dtype)
        if dtype.kind in "mM"
        else np.array(values, dtype=dtype)
    )


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.random.RandomState):
        return None
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(entry)] for key, entry in value.items()]
    return value
