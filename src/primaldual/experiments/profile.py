"""What is measured of trained models once the runs are done: size, work, time, memory, heads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.analysis import (
    LayerMaps,
    capture_attention,
    head_distances,
    head_regressions,
    interleaved_latency,
    model_flops,
    peak_memory,
)
from primaldual.data import Dataset
from primaldual.errors import UnsupportedError
from primaldual.experiments.store import Store
from primaldual.integrations.attention_hooks import evaluating
from primaldual.svr import ImpliedRegression

LATENCY_CASES = 32
MAP_CASES = 32


@dataclass(frozen=True)
class Profile:
    """Measurements of one attention.

    Attributes:
        parameters: trained numbers in the model.
        attention_projections: operations of the projections, one series of the longest length.
        attention_mixing: operations of scores and weighted sums, likewise.
        total_flops: operations of the whole forward pass, likewise.
        latency: median, lower and upper quartile of one forward pass of a batch, seconds.
        latency_cases: cases in that batch.
        memory: bytes that one training step on that batch needs on top of the model.
        redundancy: distance between heads, one list over layers per seed.
        maps: attention maps of the first test case, layer by layer, (layers, heads, N, N).
        text: the equation.
        latex: the equation.
        regressions: of the first test case, layer by layer and head by head, the implied regression of the
            output that varies most: targets, fitted, share (|coefficient| over C) by position, epsilon;
            empty for an attention that fits every query on keys of its own.
    """

    parameters: int
    attention_projections: int
    attention_mixing: int
    total_flops: int
    latency: tuple[float, float, float]
    latency_cases: int
    memory: int
    redundancy: list[list[float]]
    maps: list[Any]
    text: str
    latex: str
    regressions: list[list[dict[str, Any]]] = field(default_factory=list)


def profiles(
    folders: Mapping[str, Sequence[Path]],
    test: Dataset,
    store: Store,
    key: str,
    on_step: Callable[[str], None],
) -> dict[str, Profile]:
    """Measure the saved models of every attention, or take what the store remembers.

    Latency is measured with nothing else running, the attentions in turn, on one thread; memory in a
    process of its own; the heads' distances on the first `MAP_CASES` test cases, without labels.

    Args:
        folders: the models of every attention.
        test: test part.
        store: remembers the measurements.
        key: names these models there.
        on_step: hears what is measured.
    """
    remembered = store.profile(key)
    if remembered is not None:
        return {attention: Profile(**content) for attention, content in remembered.items()}
    models = {attention: [_load(folder) for folder in saved] for attention, saved in folders.items()}
    first = {attention: classifiers[0] for attention, classifiers in models.items()}
    cases = min(LATENCY_CASES, len(test.X))
    on_step("inference time")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        latencies = interleaved_latency({name: _forward(one, test.X[:cases]) for name, one in first.items()})
    finally:
        torch.set_num_threads(threads)
    on_step("peak memory")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = {name: one.prepare(test.X[:cases]) for name, one in first.items()}
        pending = {name: pool.submit(peak_memory, first[name].model_, *batches[name]) for name in first}
        memory = {name: future.result() for name, future in pending.items()}
    found = {}
    for attention, classifiers in models.items():
        on_step(f"the heads of {attention}")
        timing = latencies[attention]
        quartiles = (timing.median, timing.lower, timing.upper)
        found[attention] = _profile(classifiers, test, cases, quartiles, memory[attention])
    store.save_profile(key, {attention: asdict(profile) for attention, profile in found.items()})
    return found


def _captured(model: nn.Module, batch: tuple[Tensor, ...]) -> list[LayerMaps]:
    with evaluating(model), capture_attention(model) as maps:
        model(*batch)
    return maps


def _profile(
    classifiers: Sequence[Any], test: Dataset, cases: int, latency: tuple[float, float, float], memory: int
) -> Profile:
    model = classifiers[0].model_
    flops = model_flops(model, model.length)
    captured = [_captured(one.model_, one.prepare(test.X[:MAP_CASES])) for one in classifiers]
    problem = next(module.problem for module in model.modules() if hasattr(module, "problem"))
    maps = []
    for layer in captured[0]:
        length = int(layer.valid[0].sum())
        maps.append(layer.weights[0, :, :length, :length].double().numpy().round(5).tolist())
    return Profile(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        attention_projections=flops.attention.projections,
        attention_mixing=flops.attention.mixing,
        total_flops=flops.total,
        latency=latency,
        latency_cases=cases,
        memory=memory,
        redundancy=[[head_distances(layer) for layer in layers] for layers in captured],
        maps=maps,
        text=problem.equation(),
        latex=problem.equation("latex"),
        regressions=_regressions(model, *classifiers[0].prepare(test.X[:1])),
    )


def _regressions(model: nn.Module, values: Tensor, padding: Tensor) -> list[list[dict[str, Any]]]:
    try:
        layers = head_regressions(model, values, padding)
    except UnsupportedError:
        return []
    length = int((~padding[0]).sum())
    return [
        [_regression(layer, head, length) for head in range(layer.targets.shape[1])]
        for layer in layers.values()
    ]


def _regression(layer: ImpliedRegression, head: int, length: int) -> dict[str, Any]:
    fitted = layer.fitted[0, head, :length]
    output = int(fitted.var(0, correction=0).argmax())
    share = layer.coefficients[0, head, :length, output].abs() / layer.C[0, head]
    columns = {
        "fitted": fitted[:, output],
        "targets": layer.targets[0, head, :length, output],
        "share": share,
    }
    return {
        **{name: column.numpy().round(5).tolist() for name, column in columns.items()},
        "epsilon": round(layer.epsilon, 5),
    }


def _forward(classifier: Any, cases: Any) -> Callable[[], object]:
    values, padding = classifier.prepare(cases)
    model = classifier.model_.eval()

    def run() -> object:
        with torch.no_grad():
            return model(values, padding)

    return run


def _load(folder: Path) -> Any:
    from primaldual.estimators import AttentionClassifier

    return AttentionClassifier.load(folder)
