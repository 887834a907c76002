"""Fit every head of a trained model on as few pairs as it can do with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from torch import Tensor, nn

from primaldual.analysis.head_report import batches
from primaldual.analysis.latency import interleaved_latency
from primaldual.compression.anchors import mean_queries
from primaldual.compression.budget import cheapest, choose_scales, choose_within
from primaldual.compression.costs import Costs, Operations, work_of
from primaldual.compression.layer_costs import TRIED, Time, check_lengths
from primaldual.compression.layer_shapes import layer_shapes
from primaldual.compression.problem_maker import ProblemMaker
from primaldual.compression.readout import Readout, default_readout, similarity
from primaldual.compression.result import Compression, Point
from primaldual.compression.sensitivity import Sensitivity, measure_sensitivity
from primaldual.errors import ArgumentError
from primaldual.integrations.attention_hooks import AttentionCall, attending, call, evaluating, watching
from primaldual.integrations.attention_sites import AttentionSite, Layers
from primaldual.integrations.layer_stacks import hand_on_values
from primaldual.integrations.transaction import place_all
from primaldual.integrations.wrapping import refuse_wrapped
from primaldual.primal.problem import PrimalProblem

BUDGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Budgets of the Pareto curve."""


def compress(
    model: nn.Module,
    calibration_data: Any,
    budget: float = 0.6,
    *,
    measure: str = "operations",
    lengths: Sequence[int] | None = None,
    scales: Sequence[int] = (1, 2, 4, 8),
    attention: str = "anchored(...,kept=0.5)",
    layers: Layers = None,
    readout: Readout = default_readout,
    validation_data: Any = None,
    budgets: Sequence[float] = BUDGETS,
    metric: Callable[[nn.Module], float] | None = None,
    sensitivity: Sensitivity | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Compression:
    """Choose a scale for every head, such that outputs change least at a share of what attention costs, and apply it.

    How much a head's scale changes the outputs is measured one head at a time on calibration inputs; the scales are
    the exact minimum of the sum of these changes under the budget. No training: see :func:`uptrain` for more.

    Args:
        model: changed in place; after an error it is as it was.
        calibration_data: a batch (as the model is called: tensor, tuple or dict) or a list of batches of real inputs;
            about sixteen sequences of the lengths that matter.
        budget: what attention may cost, over what it costs in the model as it is, 0 to 1.
        measure: what is counted: "operations", the scores computed; "time", measured on the model's device from queries,
            keys and values to the outputs of heads, projections left out; "cache", the bytes that a causal layer keeps for
            decoding, and keys and values of all pairs in other layers. By time, ``anchored`` heads with ``kept`` also leave
            sequences unpooled that are so short that pooling was slower.
        lengths: of sequences for "time" and "cache", whose costs are added; None = that of the first batch.
        scales: what to choose from; 1 among them.
        attention: the spec of the compressed heads, with ``...`` for the scales. Pairs of ``anchored`` heads are exact
            at the mean queries of the calibration data; ``sh(...,prefix=1,suffix=1,weighted=true)`` needs no such
            data, counts members and keeps the first and the last token, and changes more.
        layers: which, as in :func:`primaldual.convert`; None = all. The budget is over these.
        readout: from outputs and batch, (cases, features) whose change counts; default the outputs as unit vectors.
        validation_data: batches that the choice does not see, for the similarities that are reported; None = those
            on the calibration data, which are a little too good.
        budgets: also chosen and measured, for the Pareto curve; () = none. Those below the cheapest choice are left out
            where time or bytes are counted.
        metric: of the model, measured at every budget of the curve too: accuracy on validation data, say.
        sensitivity: of an earlier report on the same model, data, scales and layers, for another budget in seconds.
        progress: called with what is being done, steps done and to do.

    Raises:
        UnsupportedError: a model without attention that is known, compiled or wrapped; a causal one among the layers.
        ArgumentError: a budget below what the largest scale costs (by time: below what was measured), a measure that is
            none, lengths beside operations, scales without 1, data without a batch.
        SpecError: an attention without "...".

    Example:
        >>> import torch
        >>> layer = nn.TransformerEncoderLayer(16, 4, batch_first=True).eval()
        >>> found = compress(layer, torch.randn(4, 16, 16), budget=0.5, budgets=())
        >>> found.work <= 0.5, sorted(set(found.scales["self_attn"]) - {1, 2, 4, 8})
        (True, [])
    """
    refuse_wrapped(model, "compressed")
    options, data = _scales(scales), batches(calibration_data)
    tried = check_lengths(measure, lengths)
    unseen = data if validation_data is None else batches(validation_data)
    if not 0 < budget <= 1:
        raise ArgumentError(f"budget must be above 0 and at most 1; got {budget}")
    step = (lambda *_: None) if progress is None else progress
    before = deepcopy(model)
    with evaluating(model), attending(model, layers) as sites:
        step("mean queries", 0, 1)
        make = ProblemMaker(attention, model, mean_queries(model, sites, data))
        found = sensitivity or measure_sensitivity(
            model,
            sites,
            lambda site, scale: make(site, [scale] * site.heads),
            options,
            data,
            readout,
            lambda done, total: step("sensitivity of heads", done, total),
        )
        found.check(sites, options)
        costs: Costs = Operations(found, sites)
        if measure != "operations":
            shapes = layer_shapes(model, sites, data[0])
            costs = TRIED[measure](found, sites, shapes, make, tried, partial(step, f"{measure} of layers"))
        chosen, share = choose_within(found, sites, costs, budget)
        if isinstance(costs, Time):
            make.min_length = costs.shortest(chosen)
        original = [readout(call(model, batch), batch) for batch in unseen]
        curve = []
        levels = [level for level in budgets if measure == "operations" or level >= cheapest(costs)]
        for place, level in enumerate(levels):
            step("other budgets", place, len(levels))
            scales_at = choose_scales(found, sites, costs, level)
            problems = {site.path: make(site, scales_at[site.path]) for site in sites}
            with watching(sites, _substitute(problems)):
                changed = [readout(call(model, batch), batch) for batch in unseen]
                value = None if metric is None else metric(model)
            curve.append(Point(level, work_of(found, sites, scales_at), similarity(original, changed), value))
        problems = {site.path: make(site, chosen[site.path]) for site in sites}
    undo = place_all(sites, [problems[site.path] for site in sites])
    try:
        hand_on_values(model)
        step("latency", 0, 1)
        with evaluating(model), evaluating(before):
            changed = [readout(call(model, batch), batch) for batch in unseen]
            timings = interleaved_latency(
                {"original": lambda: call(before, data[0]), "compressed": lambda: call(model, data[0])}, 10, 2
            )
    except BaseException:
        undo()
        raise
    return Compression(
        sensitivity=found,
        budget=budget,
        measure=measure,
        share=share,
        min_length=make.min_length if make.leaves_short else 0,
        work=work_of(found, sites, chosen),
        projections=_projections(sites),
        scales=chosen,
        similarity=similarity(original, changed),
        curve=tuple(curve),
        latency=timings["compressed"].median / timings["original"].median,
        unseen=validation_data is not None,
    )


def _substitute(problems: Mapping[str, PrimalProblem]) -> Callable[..., Tensor]:
    def look(seen: AttentionCall) -> Tensor:
        return seen.attend_with(problems[seen.site.path])

    return look


def _projections(sites: Sequence[AttentionSite]) -> float:
    """Key and value positions projected, over those of the model as it was."""
    shares = []
    for site in sites:
        if site.problem is None or not site.pools_before_projecting:
            shares += [1.0] * site.heads
            continue
        for problem, members in site.problem.problems(site.heads):
            scales = problem.subset.head_scales(len(members))
            # Pairs that depend on the keys themselves need all of them projected.
            shares += [1 / scale if problem.subset.repeatable else 1.0 for scale in scales]
    return sum(shares) / len(shares)


def _scales(scales: Sequence[int]) -> tuple[int, ...]:
    options = tuple(sorted(set(scales)))
    if 1 not in options or len(options) < 2 or options[0] < 1:
        raise ArgumentError(f"scales must hold 1 and larger integers; got {tuple(scales)}")
    return options
