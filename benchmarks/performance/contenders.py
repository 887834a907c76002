"""Every contender by its name: a spec is ours, a family and a spec a peer's."""

from __future__ import annotations

from benchmarks.performance import blocks, decoding, ours, package_peers, torch_peers
from benchmarks.performance.families import Contender, Family
from primaldual.errors import ArgumentError

FAMILIES: dict[str, Family] = {
    family.name: family
    for part in (ours, blocks, decoding, torch_peers, package_peers)
    for family in part.FAMILIES
}


def contender(name: str) -> Contender:
    """A contender by name.

    Args:
        name: a spec, which is our attention; or a family, with a space and a spec unless it is the usual one.

    Raises:
        ArgumentError: no such family.

    Example:
        >>> str(contender("bn")), str(contender("SDPA")), str(contender("literal bn"))
        ('bn', 'SDPA', 'literal bn')
    """
    first, _, spec = name.partition(" ")
    if first in FAMILIES:
        family = FAMILIES[first]
        return Contender(family, spec or family.spec)
    if spec:
        raise ArgumentError(
            f"contender must be a spec or one of {', '.join(FAMILIES)} and a spec; got {name!r}"
        )
    return Contender(FAMILIES["primaldual"], first)


def reference(one: Contender) -> Contender:
    """What a contender's outputs and gradients are compared with before it is timed."""
    return Contender(FAMILIES[one.family.checked_against], one.spec)
