"""One run: a text into a trained, tested and saved language model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from primaldual.language.conversion import converted
from primaldual.language.corpus import Corpus, check_length, read_corpus
from primaldual.language.language_model import LanguageModel
from primaldual.language.next_token import NextToken, TextScores, scores_of, token_losses
from primaldual.language.run_settings import SIZES, TextSettings
from primaldual.language.scale_choice import with_cache_share
from primaldual.language.token_windows import TokenWindows
from primaldual.training import Callback, Execution, TrainingSettings, TrainingState, train
from primaldual.training.randomness import derive_seed
from primaldual.training.run_folders import RunFolder


@dataclass(frozen=True)
class TextRun:
    """A finished run.

    Attributes:
        model: with the weights that were kept.
        corpus: the text.
        state: of training.
        scores: by the name of the part, "validation" and "test", as far as the text has them.
        numbers: everything that was found, as JSON takes it.
        folder: where everything is saved.
    """

    model: LanguageModel
    corpus: Corpus
    state: TrainingState
    scores: dict[str, TextScores]
    numbers: dict[str, Any]
    folder: RunFolder


class PreparedTextRun:
    """A run whose text, model and folder are checked.

    Args:
        settings: what is learned from what.
        out: folder of the run; None = one named after text, attention and seed, in runs/text.

    Raises:
        ArgumentError: a value that is not accepted, or a place that cannot be written.
        DataError: a text that cannot be used.
        UnsupportedError: an attention that does not decode step by step.
        CheckpointError: the folder holds a run with another config; lists the differences.
    """

    def __init__(self, settings: TextSettings, out: Path | None = None) -> None:
        self.settings = settings
        base = None if settings.base is None else LanguageModel.load(settings.base)
        tokens = (settings.tokens or "bytes") if base is None else base.alphabet.name
        self.corpus = read_corpus(
            settings.text, tokens, settings.validation, settings.test, None if base is None else base.alphabet
        )
        self.model = _model(settings, self.corpus, base)
        context = self.model.decoder.context
        for name, share in {
            "training": 1.0,
            "validation": settings.validation,
            "test": settings.test,
        }.items():
            if share:
                check_length(getattr(self.corpus, name), name, context)
        self.training = TokenWindows(self.corpus.training, context, shifted=True)
        self.validation = TokenWindows(self.corpus.validation, context) if settings.validation else None
        self.training_settings = _training_settings(settings, len(self.training))
        self.config = _config(settings, self.corpus, self.model, self.training_settings)
        self.folder = RunFolder.open(
            _default_folder(settings, self.config) if out is None else out, self.config
        )

    def train(self, execution: Execution, callbacks: Sequence[Callback] = ()) -> TrainingState:
        """Train, or go on from the newest checkpoint in the run's folder.

        Args:
            execution: where and how; the run's folder of checkpoints is ``folder.checkpoints``.
            callbacks: see :func:`primaldual.training.train`.
        """
        return train(
            self.model.decoder,
            NextToken(),
            self.training_settings,
            self.training,
            self.validation,
            callbacks,
            execution,
        )

    def finish(self, state: TrainingState) -> TextRun:
        """Score the weights that were kept on validation and test part, and save them with the numbers."""
        self.model.decoder.load_state_dict(state.best_weights)
        self.model.decoder.eval()
        parts = {"validation": self.corpus.validation, "test": self.corpus.test}
        scores = {
            name: scores_of(token_losses(self.model.decoder, part), part, self.corpus.alphabet)
            for name, part in parts.items()
            if len(part)
        }
        numbers = self._numbers(state, scores)
        self.folder.save(self.model.decoder, numbers)
        return TextRun(self.model, self.corpus, state, scores, numbers, self.folder)

    def _numbers(self, state: TrainingState, scores: dict[str, TextScores]) -> dict[str, Any]:
        seconds = sum(float(record["training_seconds"] or 0) for record in state.history)
        windows = min(state.total_steps, state.last_step) * len(self.training) / state.steps
        return {
            "config": self.config,
            "parameters": sum(weight.numel() for weight in self.model.decoder.parameters()),
            "tokens": {name: len(getattr(self.corpus, name)) for name in ("training", "validation", "test")},
            "best_epoch": state.best_epoch,
            "history": state.history,
            "training": {
                "seconds": seconds,
                "tokens_per_second": windows * self.model.decoder.context / max(seconds, 1e-9),
            },
            "cache_bytes": self.model.cache_bytes(),
            **{name: {**asdict(one), "perplexity": one.perplexity} for name, one in scores.items()},
        }


def _model(settings: TextSettings, corpus: Corpus, base: LanguageModel | None) -> LanguageModel:
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(settings.seed, 1))
        if base is not None:
            if settings.dropout is not None:
                base.config["dropout"] = settings.dropout
            start = converted(base, settings.attention, settings.kv_heads)
            if settings.cache is None:
                return start
            check_length(corpus.training, "training", start.decoder.context)
            return with_cache_share(start, corpus.training, settings.cache)
        sizes = {
            name: default if getattr(settings, name) is None else getattr(settings, name)
            for name, default in SIZES.items()
        }
        others = {"attention": settings.attention or "softmax", "kv_heads": settings.kv_heads}
        return LanguageModel.of(corpus.alphabet, sizes | others)


def _training_settings(settings: TextSettings, windows: int) -> TrainingSettings:
    given = TrainingSettings(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optimizer="adamw_matrices",
        mixed_precision=settings.mixed_precision,
        steps=settings.steps,
        seed=settings.seed,
    )
    if settings.steps is None:
        return given
    return replace(given, epochs=-(-settings.steps // -(-windows // settings.batch_size)))


def _config(
    settings: TextSettings, corpus: Corpus, model: LanguageModel, training: TrainingSettings
) -> dict[str, Any]:
    """Everything that decides what is learned."""
    return {
        **corpus.alphabet.description(),
        **model.config,
        "text": settings.text.name,
        "fingerprint": corpus.fingerprint,
        "base": None if settings.base is None else str(settings.base),
        "cache": settings.cache,
        "validation": settings.validation,
        "test": settings.test,
        **{
            name: getattr(training, name)
            for name in (
                "epochs",
                "steps",
                "batch_size",
                "learning_rate",
                "weight_decay",
                "mixed_precision",
                "seed",
            )
        },
    }


def _default_folder(settings: TextSettings, config: dict[str, Any]) -> Path:
    shared = "" if config["kv_heads"] is None else f"kv{config['kv_heads']}"
    further = "" if settings.base is None else "further"
    attention = config["attention"] if settings.cache is None else f"cache{settings.cache}"
    words = (settings.text.name, attention, shared, further, f"seed{config['seed']}")
    return Path("runs") / "text" / re.sub(r"[^\w+,().=-]", "_", "-".join(filter(None, words)))[:120]
