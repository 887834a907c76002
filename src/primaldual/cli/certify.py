"""``primaldual certify``."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from primaldual.cli import options
from primaldual.errors import ArgumentError

if TYPE_CHECKING:
    from primaldual.primal.problem import PrimalProblem


def certify(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="diabetes, linnerud, Covid3Month, or a path to a .csv file of numbers whose last columns are targets.",
        ),
    ] = "diabetes",
    attention: Annotated[
        str, typer.Option("--attention", "-a", help="Attention spec, one head.")
    ] = "softmax",
    penalty: Annotated[
        float, typer.Option("--penalty", "-C", help="C in units of the kernel, above 0.")
    ] = 1.0,
    epsilon: Annotated[
        float, typer.Option(help="Half width of the tube, in deviations of the target.")
    ] = 0.1,
    gamma: Annotated[float, typer.Option(help="Keys are multiplied by its root, above 0.")] = 1.0,
    no_intercept: Annotated[
        bool, typer.Option("--no-intercept", help="Fit no intercept; attention layers have none.")
    ] = False,
    tolerance: Annotated[float, typer.Option(help="Largest relative duality gap.")] = 1e-6,
    targets: Annotated[
        int | None,
        typer.Option(min=1, help="Last columns of a .csv file that are targets.", show_default="1"),
    ] = None,
    cases: Annotated[
        int | None, typer.Option(min=1, help="The first cases only.", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with <name>/<name>_TRAIN.ts.", show_default=False)
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Solve the regression behind an attention and prove it: duality gap, and scikit-learn's answer beside it.

    Features and targets are standardised. Exit code 1: the tolerance was not reached.

    Examples:
    $ primaldual certify
    $ primaldual certify linnerud -a bn -C 10
    $ primaldual certify Covid3Month --gamma 0.2
    $ primaldual certify my_table.csv --targets 2 --no-intercept --json
    """
    import torch

    from primaldual.cli.certificate import certified
    from primaldual.cli.certificate_view import certificate_json, certificate_table, times
    from primaldual.cli.screen import Screen, words
    from primaldual.data import load_table
    from primaldual.estimators import AttentionSVR
    from primaldual.estimators.attention_svr import bound_problem, standard_units

    spec = options.one_spec(attention)
    AttentionSVR(spec, C=penalty, epsilon=epsilon, gamma=gamma, tolerance=tolerance).check_parameters()
    table = load_table(data, data_dir, targets=targets)
    X, Y = table.X[:cases], table.Y[:cases]
    problem = bound_problem(spec, X.shape[1]).requires_grad_(False)
    _check_one_head(problem)
    (centre, scale), (mean, deviation) = standard_units(X, True), standard_units(Y, True)
    facts: dict[str, Any] = {
        "data": table.name,
        "attention": problem.spec(),
        "cases": len(X),
        "features": X.shape[1],
        "penalty": penalty,
        "epsilon": epsilon,
        "gamma": gamma,
        "intercept": not no_intercept,
        "tolerance": tolerance,
    }
    notes = Screen(stderr=True)
    with notes.status("Loading") as status:
        found = certified(
            problem,
            torch.from_numpy((X - centre) / scale) * gamma**0.5,
            torch.from_numpy((Y - mean) / deviation),
            table.targets,
            penalty,
            epsilon,
            not no_intercept,
            tolerance,
            lambda step: status.update(words(step)),
        )
    if as_json:
        print(certificate_json(found, facts))
    else:
        screen = Screen()
        pooled = "" if found.pairs == len(X) else f" pooled to {found.pairs} pairs"
        outputs = f"{len(table.targets)} output{'s'[: len(table.targets) != 1]}"
        screen.print(
            words((table.name, "bold")),
            f": N = {len(X)} cases{pooled}, D = {X.shape[1]} features, {outputs}\n"
            f"{problem.spec()}, gamma {gamma:g}, epsilon {epsilon:g}, {'no ' if no_intercept else ''}intercept\n"
            f"C = {penalty:g} in units of the kernel = {found.box:.4g}",
            sep="",
        )
        screen.print(certificate_table(found, screen.width))
        screen.print(times(found))
    if not found.converged:
        notes.print(f"The solver stopped above the tolerance {tolerance:g}; the gap says how good this is.")
        sys.exit(1)


def _check_one_head(problem: PrimalProblem) -> None:
    """Refuse an attention that lays out its heads by their number, which is one: it would be another one here.

    Raises:
        ArgumentError: what it would be, by its own spec.
    """
    spec, alone = problem.spec(), copy.deepcopy(problem)
    alone.keep_heads([0], 1)
    if alone.spec() != spec:
        raise ArgumentError(
            f"attention {spec!r} chooses by the number of heads; with the single head of a regression it is "
            f"{alone.spec()!r}. State what is meant, such as {alone.spec()!r}"
            + (f" or {alone.spec().replace('sh(1)', 'sh(2)')!r}" if "sh(1)" in alone.spec() else "")
        )
