"""What a converted model's config says about it, so that it can be saved and built again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from primaldual.errors import CheckpointError
from primaldual.integrations.hf_function import NAME

Entry = dict[str, Any]
"""``config.primaldual``: the former implementation, and by path the layers' attentions and the heads that they kept."""

FORMAT = 1


def entry_of(config: Any) -> Entry:
    """A config's entry, an empty one if it has none."""
    found = getattr(config, NAME, None)
    if isinstance(found, dict) and isinstance(found.get("layers"), dict):
        return found
    return {"format": FORMAT, "previous": None, "layers": {}, "pruned": {}}


def write_entry(config: Any, entry: Entry) -> None:
    """Put an entry into a config, or remove it if it is empty."""
    if entry["layers"] or entry["pruned"]:
        setattr(config, NAME, entry)
    elif hasattr(config, NAME):
        delattr(config, NAME)
    write_implementation(config)


def write_implementation(config: Any) -> None:
    """Name our implementation where a saved config states its own and those of the configs inside it.

    Transformers then refuses to load what was converted, unless this library has registered the name and can refuse
    itself; without it the weights would be read into plain softmax without a word.
    """
    inner = {name: getattr(config, name, None) for name in getattr(config, "sub_configs", {})}
    found: Any = {name: NAME for name, part in inner.items() if part is not None and converts(part)}
    if converts(config):
        found = {"": NAME, **found} if inner else NAME
    if found:
        config.attn_implementation = found
    elif "attn_implementation" in vars(config):
        del config.attn_implementation


def converts(config: Any) -> bool:
    """Whether a config says that layers are converted."""
    return bool(entry_of(config)["layers"])


def configs_in(config: Any) -> Iterator[Any]:
    """A config and those inside it."""
    yield config
    for name in getattr(config, "sub_configs", {}):
        if (part := getattr(config, name, None)) is not None:
            yield from configs_in(part)


def checked(entry: object) -> Entry:
    """Check an entry that was read from a file.

    Raises:
        CheckpointError: the entry is invalid, or was written by a later version.
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
    """The layer at a path of an entry, looked up in the base model first and then in the owner.

    Raises:
        CheckpointError: neither has such a layer.
    """
    for model in (base, owner):
        try:
            return model.get_submodule(path)
        except AttributeError:
            continue
    raise CheckpointError(f"config.{NAME} names a layer {path!r} that {type(owner).__name__} does not have")
