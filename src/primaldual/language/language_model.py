"""A decoder with its alphabet: generate, score, save, load."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from primaldual.errors import CheckpointError, PrimalDualError
from primaldual.language.alphabets import Alphabet, read_alphabet
from primaldual.language.generation import generate_tokens
from primaldual.language.next_token import TextScores, scores_of, token_losses
from primaldual.models import Decoder
from primaldual.reporting.files import saving, write_text
from primaldual.training.described_weights import config_change, save_described

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SIZES = (
    "context", "embed_dim", "num_heads", "num_layers", "feedforward_dim", "dropout", "attention", "kv_heads",
)  # fmt: skip
"""Arguments of `Decoder` that a config tells."""


class LanguageModel:
    """A decoder and the alphabet of its tokens.

    Args:
        decoder: of ``alphabet.size`` tokens.
        alphabet: what its tokens are.
        config: what `save` writes beside the alphabet: the arguments of the decoder, by name.

    Example:
        >>> from primaldual.language.alphabets import Bytes
        >>> sizes = {"context": 32, "embed_dim": 8, "num_heads": 2, "num_layers": 1, "attention": "sh(1,2)"}
        >>> model = LanguageModel.of(Bytes(), sizes)
        >>> len(model.generate("Once", length=5, seed=1).encode()) >= 5
        True
    """

    def __init__(self, decoder: Decoder, alphabet: Alphabet, config: dict[str, Any]) -> None:
        self.decoder, self.alphabet, self.config = decoder.eval(), alphabet, config

    @classmethod
    def of(cls, alphabet: Alphabet, config: dict[str, Any]) -> LanguageModel:
        """A model with fresh weights, of the sizes that a config tells."""
        sizes = {name: config[name] for name in SIZES if name in config}
        return cls(Decoder(alphabet.size, **sizes), alphabet, config)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> LanguageModel:
        """The model in a folder of ``primaldual train text``, or one that `save` wrote.

        Raises:
            CheckpointError: the folder holds no such model, a broken one, or a config that was changed since it was saved.
        """
        place = Path(folder).expanduser()
        for name in (CONFIG, WEIGHTS):
            if not (place / name).is_file():
                raise CheckpointError(
                    f"folder {str(folder)!r} holds no trained language model: it has no {name}"
                )
        try:
            config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
            with torch.random.fork_rng(devices=[]):
                model = cls.of(read_alphabet(config), config)
            model.decoder.load_state_dict(load_file(place / WEIGHTS))
            changed = config_change(place / WEIGHTS, config, (*model.alphabet.description(), *SIZES))
        except Exception as error:  # json, safetensors and torch each raise their own kinds
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"folder {str(folder)!r} holds no language model that can be read: {type(error).__name__}: {reason}"
            ) from error
        if changed:
            raise CheckpointError(
                f"folder {str(folder)!r} holds no language model that can be read: {changed}"
            )
        return model

    @property
    def attention(self) -> str | list[str]:
        """The spec of all layers, or one for each, also after :func:`primaldual.convert` or :func:`primaldual.compress`."""
        specs = [block.attention.problem.spec() for block in self.decoder.blocks()]
        return specs[0] if len(set(specs)) == 1 else specs

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write config and weights, each whole or not at all.

        Raises:
            CheckpointError: a place that cannot be written, or an attention that no spec describes.
        """
        place, config = Path(folder).expanduser(), {**self.config, "attention": self.attention}
        try:
            with torch.random.fork_rng(devices=[]):
                again = LanguageModel.of(self.alphabet, config)
            again.decoder.load_state_dict(self.decoder.state_dict())
        except (PrimalDualError, RuntimeError) as error:
            raise CheckpointError(
                f"attention {self.attention} cannot be saved, since no model is built from it: {error}"
            ) from error
        config = {**self.alphabet.description(), **config}
        with saving(place / WEIGHTS) as fresh:
            save_described(self.decoder.state_dict(), fresh, config)
        write_text(place / CONFIG, json.dumps(config, indent=2) + "\n")

    def generate(self, prompt: str, length: int = 200, **drawing: Any) -> str:
        """Text that continues a prompt, without the prompt.

        Args:
            prompt: one character or more.
            length: tokens to draw.
            drawing: ``temperature``, ``top_k`` and ``seed`` of :func:`primaldual.language.generate_tokens`.

        Raises:
            ArgumentError: characters that the model does not know, or a value out of range.
        """
        return "".join(self.stream(prompt, length, **drawing))

    def stream(self, prompt: str, length: int = 200, **drawing: Any) -> Iterator[str]:
        """The same, piece by piece, as it comes."""
        tokens = generate_tokens(self.decoder, self.alphabet.encode(prompt, "prompt"), length, **drawing)
        return self.alphabet.decode(tokens)

    def score(self, text: str) -> TextScores:
        """How well the model predicts a text of two tokens or more, see `token_losses`."""
        tokens = self.alphabet.encode(text)
        return scores_of(token_losses(self.decoder, tokens), tokens, self.alphabet)

    @torch.no_grad()
    def cache_bytes(self, length: int | None = None) -> int:
        """Bytes that decoding holds of one sequence.

        Args:
            length: tokens of the sequence; None = the context.
        """
        count = self.decoder.context if length is None else length
        state = self.decoder.init_state(batch=1)
        tokens = torch.zeros(1, count, dtype=torch.long, device=self.decoder.positions.device)
        self.decoder.step(state, tokens)
        return state.nbytes
