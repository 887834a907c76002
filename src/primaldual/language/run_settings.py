"""What a run learns from what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from primaldual.errors import ArgumentError
from primaldual.language.alphabets import ALPHABETS

SIZES = {"context": 256, "embed_dim": 128, "num_heads": 4, "num_layers": 3, "dropout": 0.1}
"""Sizes of a model that starts with fresh weights."""


@dataclass(frozen=True)
class TextSettings:
    """What a run learns from what.

    Args:
        text: the file.
        base: folder of a trained model to start from, with its sizes and its alphabet; None = fresh weights.
        tokens: "bytes" or "characters"; None = those of the base, else bytes.
        attention: a spec; None = that of the base, else "softmax".
        cache: share of the bytes of the base's cache; the scales of its heads are chosen by the text, see
            :func:`primaldual.language.with_cache_share`. None = all of it.
        kv_heads: key and value heads; None = those of the base, else ``num_heads``.
        context: most tokens that the model sees; None = 256.
        embed_dim: width; None = 128.
        num_heads: query heads; None = 4.
        num_layers: blocks; None = 3.
        dropout: None = that of the base, else 0.1.
        epochs: passes over the training part.
        steps: steps of all, in place of epochs.
        batch_size: windows per step.
        learning_rate: the highest one; it falls to 0 by a cosine.
        weight_decay: of AdamW, on matrices alone.
        mixed_precision: "no" or "bf16".
        validation: share of the text behind the training part, to choose the best epoch by; 0 = the last.
        test: share of the text at its end.
        seed: of everything random.

    Raises:
        ArgumentError: an unknown kind of tokens, sizes beside a base, or a cache without one.

    Example:
        >>> TextSettings(Path("poems.txt"), base=Path("model"), num_layers=5)
        Traceback (most recent call last):
        primaldual.errors.ArgumentError: num_layers must be left out beside base, whose sizes stay; got 5
    """

    text: Path
    base: Path | None = None
    tokens: str | None = None
    attention: str | None = None
    cache: float | None = None
    kv_heads: int | None = None
    context: int | None = None
    embed_dim: int | None = None
    num_heads: int | None = None
    num_layers: int | None = None
    dropout: float | None = None
    epochs: int = 5
    steps: int | None = None
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    mixed_precision: str = "no"
    validation: float = 0.05
    test: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens not in ALPHABETS:
            raise ArgumentError(f"tokens must be one of {', '.join(ALPHABETS)}; got {self.tokens!r}")
        if self.base is not None:
            for name in ("context", "embed_dim", "num_heads", "num_layers", "tokens"):
                if (value := getattr(self, name)) is not None:
                    raise ArgumentError(
                        f"{name} must be left out beside base, whose sizes stay; got {value!r}"
                    )
        if self.cache is not None and (self.base is None or self.attention is not None):
            raise ArgumentError(
                f"cache needs a trained model as base, and no attention, since it chooses the scales; got {self.cache!r}"
            )
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ArgumentError(f"dropout must lie in [0, 1); got {self.dropout!r}")
