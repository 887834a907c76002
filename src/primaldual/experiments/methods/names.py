"""The classifiers beside the attentions, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from primaldual.errors import ArgumentError, did_you_mean
from primaldual.experiments.methods.others import Description, OtherMethod

OTHERS: Mapping[str, Description] = {
    "AttentionRidge": Description(
        "primaldual.estimators",
        "AttentionRidgeClassifier",
        "One attention head over the training series, on random convolutions, solved in closed form.",
        ours=True,
    ),
    "MultiRocketHydra": Description(
        "aeon.classification.convolution_based",
        "MultiRocketHydraClassifier",
        "A ridge classifier on random convolutions and competing kernels (aeon).",
        equal_length=True,
    ),
    "QUANT": Description(
        "aeon.classification.interval_based",
        "QUANTClassifier",
        "Extremely randomised trees on quantiles of intervals (aeon).",
        equal_length=True,
    ),
    "1-NN": Description(
        "aeon.classification.distance_based",
        "KNeighborsTimeSeriesClassifier",
        "The label of the nearest training series under dynamic time warping (aeon).",
        {"n_neighbors": 1, "distance": "dtw"},
    ),
}
"""Classifiers that a grid knows by name; attentions are named by their specs."""

BASELINES = ("MultiRocketHydra", "QUANT", "1-NN")
"""What every comparison contains unless told otherwise."""


def method_named(name: str, options: Mapping[str, Any] | None = None) -> OtherMethod:
    """A classifier by name.

    Args:
        name: a key of `OTHERS`.
        options: arguments that differ from its defaults.

    Raises:
        ArgumentError: an unknown name, or an argument that the classifier does not have.

    Example:
        >>> method_named("1-NN").parameters()["distance"]
        'dtw'
    """
    if name not in OTHERS:
        raise ArgumentError(
            f"methods has {name!r}{did_you_mean(name, OTHERS)}; accepted: {', '.join(OTHERS)}; "
            "specs of attentions belong under attentions"
        )
    return OtherMethod(name, OTHERS[name], options or {})
