"""What a converted model's config says about it, so that it can be saved and built again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from primaldual.errors import CheckpointError, PrimalDualError
from primaldual.integrations.hf_function import NAME
from primaldual.integrations.sites import Attending
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.head_groups import HeadGroups
from primaldual.primal.presets import faithful_spec, preset
from primaldual.primal.problem import PrimalProblem

Entry = dict[str, Any]
"""``config.primaldual``: the former implementation, and by path the layers' attentions and the heads that they kept."""

FORMAT = 1


def entry_of(config: Any) -> Entry:
    """A config's entry, an empty one if it has none."""
    found = getattr(config, NAME, None)
    if isinstance(found, dict):
        return found
    return {"format": FORMAT, "previous": None, "layers": {}, "pruned": {}}


def write_entry(config: Any, entry: Entry) -> None:
    """Put an entry into a config, or take it out if nothing is left to say."""
    if entry["layers"] or entry["pruned"]:
        setattr(config, NAME, entry)
    elif hasattr(config, NAME):
        delattr(config, NAME)


def described(problem: Attending) -> Entry:
    """A problem as numbers and words, for JSON."""
    if isinstance(problem, HeadGroups):
        groups = [{**_described(part), "heads": list(members)} for part, members in problem.problems()]
        return {"groups": groups}
    return _described(problem)


def rebuilt(description: Entry, heads: int, head_dim: int) -> Attending:
    """The problem that :func:`described` tells of, with parameters as they are at first.

    Raises:
        CheckpointError: a description that is none of ours, or of a problem that has no spec.
    """
    try:
        if "groups" in description:
            groups = description["groups"]
            return HeadGroups(
                (_rebuilt(group, len(group["heads"]), head_dim), group["heads"]) for group in groups
            )
        return _rebuilt(description, heads, head_dim)
    except CheckpointError:
        raise
    except (PrimalDualError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"config.{NAME} has a layer {description!r} that cannot be read: {error}"
        ) from None


def checked(entry: object) -> Entry:
    """An entry as it was read from a file.

    Raises:
        CheckpointError: it is none of ours, or of a later version.
    """
    if not isinstance(entry, dict):
        raise CheckpointError(f"config.{NAME} must be a dict; got {type(entry).__name__}")
    unknown = set(entry) - {"format", "previous", "layers", "pruned"}
    if unknown or entry.get("format") != FORMAT:
        raise CheckpointError(
            f"config.{NAME} must have format {FORMAT}, previous, layers and pruned; got {sorted(entry)} with "
            f"format {entry.get('format')!r}"
        )
    for name in ("layers", "pruned"):
        if not isinstance(entry.get(name), dict):
            raise CheckpointError(f"config.{NAME} must have {name} by path; got {entry.get(name)!r}")
    return entry


def named_layer(owner: nn.Module, base: nn.Module, path: str) -> nn.Module:
    """The layer of a path in an entry, which is one in the base model or, if it is not there, in the owner.

    Raises:
        CheckpointError: there is none.
    """
    for model in (base, owner):
        try:
            return model.get_submodule(path)
        except AttributeError:
            continue
    raise CheckpointError(f"config.{NAME} names a layer {path!r} that {type(owner).__name__} does not have")


def _described(problem: PrimalProblem) -> Entry:
    try:
        found: Entry = {"attention": faithful_spec(problem)}
    except CheckpointError as error:
        return {"attention": None, "reason": str(error)}
    layout = problem.subset.layout
    if layout != SEQUENCE:
        found["layout"] = {**asdict(layout), "grid": layout.grid and list(layout.grid)}
    return found


def _rebuilt(description: Entry, heads: int, head_dim: int) -> PrimalProblem:
    spec = description["attention"]
    if spec is None:
        raise CheckpointError(str(description.get("reason")))
    if not isinstance(spec, str):
        raise TypeError(f"attention must be a spec; got {spec!r}")
    problem = preset(spec)
    if layout := description.get("layout"):
        problem.subset.lay_out(Layout(**{**layout, "grid": layout["grid"] and tuple(layout["grid"])}))
    return problem.bind(heads, head_dim)
