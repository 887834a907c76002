"""What every part of a primal problem has: a spec, its formula, and a moment to learn the sizes."""

import inspect
from typing import Any, ClassVar, Self

from torch import nn

from primaldual.errors import UnsupportedError
from primaldual.primal.token_inputs import TokenInput


class Part(nn.Module):
    """One of the choices that make a primal problem.

    Attributes:
        name: the word that names the part in a spec, "" for the default of its kind; None = the class name.
        choice: the argument of a PrimalProblem that the part is given for; its base class states it.
        summary: what the part is, in one line of a table; "" = the first line of its docstring.
        cost: what the attention costs, in a few words.
        examples: specs of the part that the contract runs on; () = the word alone. Tables show the first.
    """

    name: str | None = None
    choice: ClassVar[str]
    summary: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    examples: ClassVar[tuple[str, ...]] = ()

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        """What the part needs of every token beside query, key and value; a class states it as an attribute."""
        return ()

    def arguments(self) -> tuple[object, ...]:
        """Positional arguments in the spec; named ones are found by comparing with the defaults."""
        return ()

    def spec(self) -> str:
        """The part as it is written in a spec, e.g. ``bn(beta=0.8)``; "" when there is nothing to say.

        Example:
            >>> from primaldual.primal.batch_normalization import BatchNormalization
            >>> BatchNormalization(beta=0.8).spec()
            'bn(beta=0.8)'
        """
        name = type(self).__name__ if self.name is None else self.name
        if not name:
            return ""
        given = [written(value) for value in self.arguments()]
        for parameter in inspect.signature(type(self).__init__).parameters.values():
            if parameter.kind is not parameter.KEYWORD_ONLY:
                continue
            value = getattr(self, parameter.name, parameter.default)
            if value != parameter.default:
                given.append(f"{parameter.name}={written(value)}")
        return f"{name}({','.join(given)})" if given else name

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return self.spec()

    changes: ClassVar[int] = 0
    """How often an attribute of any part was set: what was found out about parts before holds no longer.

    One count for all, since a part may consist of others.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        Part.changes += 1

    def knowing(self, **numbers: Any) -> Self:
        """A copy for one call that knows more. Nothing that was found out about parts is forgotten for it.

        Args:
            numbers: attributes, and parts of the part, in place of its own.
        """
        copy = type(self).__new__(type(self))
        inner = {name: value for name, value in numbers.items() if isinstance(value, nn.Module)}
        own = {name: value for name, value in numbers.items() if name not in inner}
        vars(copy).update({**vars(self), **own, "_modules": {**self._modules, **inner}})
        return copy

    def bind(self, heads: int, head_dim: int) -> Self:
        """Learn the number of query heads and their dimension: create parameters, refuse what does not fit."""
        del heads, head_dim
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        """Forget all of the ``heads`` query heads but these, which are then numbered from 0.

        Raises:
            UnsupportedError: the part owns tensors, and its class does not say which of their numbers are a head's.
        """
        del members, heads
        owned = [name for name, _ in (*self.named_parameters(), *self.named_buffers())]
        if owned:
            raise UnsupportedError(
                f"{self.spec() or type(self).__name__} owns {', '.join(owned)} and does not say what of it belongs to "
                "which head: its class must define keep_heads"
            )

    @property
    def fixed_heads(self) -> int | None:
        """The number of query heads that the part was made for; None = any."""
        return None

    def formula(self, style: str) -> list[str]:
        """Lines of the equation that the part adds, for style "text" or "latex"."""
        del style
        return []

    facts: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Facts that forms and decoding read, each with the methods that it describes."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Let go of the facts about a method that the subclass replaces, unless it states them anew.

        A subclass of a default without a name of its own goes by the name of its class.
        """
        super().__init_subclass__(**options)
        if cls.name == "" and "name" not in vars(cls):
            cls.name = None
        for fact, described in cls.facts.items():
            if any(overrides(cls, method, fact) for method in described):
                default = next(base for base in reversed(cls.__mro__) if fact in vars(base))
                setattr(cls, fact, vars(default)[fact])


def overrides(cls: type, method: str, fact: str) -> bool:
    """Whether a class has the method from a more specific class than the fact about it."""
    return _place(cls, method) < _place(cls, fact)


def _place(cls: type, name: str) -> int:
    """How far up the class is that states an attribute."""
    return next(place for place, base in enumerate(cls.__mro__) if name in vars(base))


def written(value: object) -> str:
    """A value as specs write it.

    Example:
        >>> written(True), written((8, 4)), written(0.5)
        ('true', '8x4', '0.5')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value)
