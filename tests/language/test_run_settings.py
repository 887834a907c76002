import inspect
from pathlib import Path

import pytest

from primaldual.cli import text_options
from primaldual.cli.train_text import text
from primaldual.errors import ArgumentError
from primaldual.language.run_settings import SIZES, TextSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tokens": "words"}, "tokens must be one of bytes, characters; got 'words'"),
        ({"base": Path("model"), "embed_dim": 8}, "embed_dim must be left out beside base"),
        ({"base": Path("model"), "tokens": "bytes"}, "tokens must be left out beside base"),
        (
            {"cache": 0.5},
            "cache needs a trained model as base, and no attention, since it chooses the scales; got 0.5",
        ),
        (
            {"cache": 0.5, "base": Path("model"), "attention": "bn"},
            "cache needs a trained model as base, and no attention",
        ),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\); got 1.0"),
    ],
)
def test_bad_settings_are_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        TextSettings(Path("text"), **given)


def test_the_command_has_the_same_defaults():
    mine, theirs = (inspect.signature(one).parameters for one in (TextSettings, text))
    for name in (
        "epochs",
        "steps",
        "batch_size",
        "learning_rate",
        "validation",
        "test",
        "mixed_precision",
        "seed",
    ):
        assert mine[name].default == theirs[name].default
    for name, option in {"context": "Context", "embed_dim": "EmbedDim", "num_heads": "Heads", "num_layers": "Layers",
                         "dropout": "Dropout"}.items():  # fmt: skip
        assert getattr(text_options, option).__metadata__[0].show_default == str(SIZES[name])
