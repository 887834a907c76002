"""Who takes part: kinds of implementation, each able to build a program for an attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.performance.programs import Program
from benchmarks.performance.settings import Setting


@dataclass(frozen=True)
class Family:
    """A kind of implementation, ours or a peer's.

    Attributes:
        name: first word of its contenders.
        build: program for a spec and a setting; raises UnsupportedError, with the reason, for what the
            implementation does not offer, and ImportError when its package is missing.
        needs: bytes of the tensors that live at once, inputs included, with and without a backward pass.
        checked_against: family whose outputs and gradients it must reproduce, on the same spec.
        spec: the attention if none is named.
        flops: operations of one forward pass, None where they are not counted.
        ours: part of primaldual.
        package: distribution to install.
        backward: gradients are offered.
        compiled: builds code at the first call, which takes many seconds.
    """

    name: str
    build: Callable[[str, Setting], Program]
    needs: Callable[[Setting, bool], int]
    checked_against: str
    spec: str = "softmax"
    flops: Callable[[str, Setting], int] | None = None
    ours: bool = False
    package: str = "torch"
    backward: bool = True
    compiled: bool = False


@dataclass(frozen=True)
class Contender:
    """An implementation of one attention."""

    family: Family
    spec: str

    def __str__(self) -> str:
        if self.family.name == "primaldual":
            return self.spec
        return self.family.name + f" {self.spec}" * (self.spec != self.family.spec)

    def build(self, setting: Setting) -> Program:
        """The program for a setting."""
        return self.family.build(self.spec, setting)

    def flops(self, setting: Setting) -> int | None:
        """Operations of one forward pass of what it computes, None where they are not counted."""
        return None if self.family.flops is None else self.family.flops(self.spec, setting)

    def needs(self, setting: Setting, backward: bool) -> int:
        """Bytes of the tensors that live at once."""
        return self.family.needs(setting, backward and self.family.backward)


def matrices(forward: int, both: int) -> Callable[[Setting, bool], int]:
    """Needs of an implementation that holds so many matrices (batch, heads, N, N).

    Example:
        >>> matrices(2, 4)(Setting(4096), False) / 2**30
        1.09375
    """

    def needs(setting: Setting, backward: bool) -> int:
        squares = (both if backward else forward) * setting.batch * setting.heads * setting.length**2
        return setting.itemsize * (squares + 12 * setting.numbers)

    return needs


def states(forward: int, both: int) -> Callable[[Setting, bool], int]:
    """Needs of an implementation that holds so many tensors (batch, heads, N, D, D)."""

    def needs(setting: Setting, backward: bool) -> int:
        return setting.itemsize * setting.numbers * (12 + (both if backward else forward) * setting.head_dim)

    return needs


def rows(count: int) -> Callable[[Setting, bool], int]:
    """Needs of an implementation that holds so many tensors (batch, heads, N, D)."""

    def needs(setting: Setting, backward: bool) -> int:
        return setting.itemsize * setting.numbers * (12 + count * (1 + backward))

    return needs
