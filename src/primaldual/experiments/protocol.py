"""How a number was obtained: what chose the epoch, how often the test part was read, what the search cost."""

from __future__ import annotations

from dataclasses import dataclass

from primaldual.errors import ArgumentError, did_you_mean

NAMES = ("honest", "paper")


@dataclass(frozen=True)
class EvaluationProtocol:
    """The rules that a result was obtained by; part of every result.

    Args:
        name: "honest" reads the test part once, after training; a validation part of the train part chooses the
            epoch. "paper" trains on the whole train part and reports the epoch with the highest test accuracy, as
            many published tables do: an optimistic number, for comparison with those tables only.
        trials: settings that a search tried for every cell; 0 without a search.
        folds: folds of the train part that scored each of them.

    Raises:
        ArgumentError: an unknown name, or a search without folds.

    Example:
        >>> EvaluationProtocol().optimistic, EvaluationProtocol("paper").optimistic
        (False, True)
    """

    name: str = "honest"
    trials: int = 0
    folds: int = 0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ArgumentError(
                f"protocol must be one of {', '.join(NAMES)}; got {self.name!r}{did_you_mean(self.name, NAMES)}"
            )
        if self.trials < 0 or (self.trials and self.folds < 2):
            raise ArgumentError(
                f"trials must be 0, or positive with at least 2 folds; got {self.trials} trials and {self.folds} folds"
            )

    @property
    def optimistic(self) -> bool:
        """Whether the test part took part in a choice."""
        return self.name == "paper"

    @property
    def label(self) -> str:
        """What to write beside a number that needs a warning; "" for honest numbers."""
        return "optimistic: best test epoch" if self.optimistic else ""

    def described(self) -> dict[str, str]:
        """The rules in words, by topic."""
        epoch = (
            "the epoch with the highest accuracy on the test part"
            if self.optimistic
            else "a validation part of the train part"
        )
        search = f"{self.trials} settings, {self.folds} folds of the train part" if self.trials else "none"
        return {
            "name": self.name,
            "split": "train and test part of the data set, or 30 % of every class for a file without them",
            "epoch chosen by": epoch,
            "test part read": "after every epoch" if self.optimistic else "once, after training",
            "search": search,
        }
