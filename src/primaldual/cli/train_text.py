"""``primaldual train text``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from primaldual.cli import computing_options, options
from primaldual.cli import text_options as choices


@computing_options.computing
def text(
    file: choices.Text,
    attention: choices.Attention = None,
    base: choices.Base = None,
    cache: choices.Cache = None,
    out: choices.Out = None,
    tokens: choices.Tokens = None,
    context: choices.Context = None,
    embed_dim: choices.EmbedDim = None,
    heads: choices.Heads = None,
    kv_heads: choices.KvHeads = None,
    layers: choices.Layers = None,
    dropout: choices.Dropout = None,
    epochs: choices.Epochs = 5,
    steps: choices.Steps = None,
    batch_size: choices.BatchSize = 16,
    learning_rate: choices.LearningRate = 2e-3,
    validation: choices.Validation = 0.05,
    test: choices.Test = 0.05,
    mixed_precision: choices.MixedPrecision = "no",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    *,
    execution: Mapping[str, Any],
    tracker: computing_options.Tracker = None,
    as_json: options.AsJson = False,
) -> None:
    """Train a small causal decoder on a text file with any attention that decodes, and test it.

    The first part of the text trains, the next chooses the epoch, the last tests.
    The same command goes on after it was stopped or killed, as train images does.
    With --base a trained model is trained further, and with --cache 0.5 its heads
    get scales by which its cache takes half the bytes.

    Examples:
    $ primaldual train text poems.txt --out runs/poems
    $ primaldual train text poems.txt --tokens characters --attention "bn+sh(1,1,2,4)" --steps 2000
    $ primaldual train text poems.txt --kv-heads 2 --out runs/grouped
    $ primaldual train text poems.txt --base runs/poems --cache 0.5 --steps 300 --learning-rate 0.001
    $ primaldual train text poems.txt --base runs/poems -a "sh(1,2,4,4)" --steps 300
    $ primaldual generate runs/poems --prompt "Shall I"
    """
    from primaldual.cli.run_training import trained
    from primaldual.cli.text_view import TextNotes, told
    from primaldual.language import PreparedTextRun, TextSettings
    from primaldual.training.run_folders import is_main_process

    settings = TextSettings(
        text=file,
        base=base,
        cache=cache,
        tokens=tokens,
        attention=None if attention is None else options.one_spec(attention),
        kv_heads=kv_heads,
        context=context,
        embed_dim=embed_dim,
        num_heads=heads,
        num_layers=layers,
        dropout=dropout,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        mixed_precision=mixed_precision,
        validation=validation,
        test=test,
        seed=seed,
    )
    run = PreparedTextRun(settings, out)
    with TextNotes(shown=is_main_process()) as notes:
        notes.begin(run)
        state = trained(run, notes, tracker, execution)
        if state is None:
            return
        done = run.finish(state)
    if as_json:
        print(json.dumps(done.numbers, indent=2))
    else:
        told(done.numbers, run.folder.path)
