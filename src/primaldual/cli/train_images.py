"""``primaldual train images``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from primaldual.cli import computing_options, options
from primaldual.cli import image_options as choices


@computing_options.computing
def images(
    data: choices.Data = "digits",
    model: choices.Model = None,
    attention: choices.Attention = "softmax",
    recipe: choices.RecipeName = None,
    out: choices.Out = None,
    data_dir: choices.DataDir = None,
    image_size: choices.ImageSize = None,
    epochs: choices.Epochs = None,
    batch_size: choices.BatchSize = None,
    steps: choices.Steps = None,
    validation: choices.Validation = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    skip_bad: choices.SkipBad = False,
    corruptions: choices.Corruptions = True,
    mixed_precision: choices.MixedPrecision = None,
    workers: choices.Workers = 0,
    *,
    execution: Mapping[str, Any],
    tracker: computing_options.Tracker = None,
    as_json: options.AsJson = False,
) -> None:
    """Train one image classifier of timm with any attention, test it, and write a report.

    The same command goes on after it was stopped or killed. Under torchrun or
    accelerate launch every process takes its share of each batch. Ctrl-C stops;
    SIGTERM stops after a checkpoint.

    Examples:
    $ primaldual train images
    $ primaldual train images --data cifar10 --attention "bn+sh(1,1,2,4)"
    $ primaldual train images --data imagenet --model deit_tiny --attention "sh(1,2,4)" --mixed-precision bf16
    $ primaldual train images --data photos --skip-bad --out runs/photos --checkpoint-every 500
    $ torchrun --nproc-per-node 2 -m primaldual train images --data imagenet --steps 20
    """
    from primaldual.cli.image_view import ImageNotes, told
    from primaldual.cli.run_training import trained
    from primaldual.images.report import write_image_report
    from primaldual.images.run_numbers import numbers_of
    from primaldual.images.run_settings import RunSettings
    from primaldual.images.runs import PreparedRun
    from primaldual.training.run_folders import is_main_process

    settings = RunSettings(
        data=data,
        data_dir=data_dir,
        model=model,
        attention=options.one_spec(attention),
        recipe=recipe,
        image_size=image_size,
        epochs=epochs,
        batch_size=batch_size,
        mixed_precision=mixed_precision,
        steps=steps,
        validation=validation,
        skip_bad=skip_bad,
        seed=seed,
    )
    run = PreparedRun(settings, out, workers)
    with ImageNotes(shown=is_main_process()) as notes:
        notes.begin(run)
        state = trained(run, notes, tracker, execution)
        if state is None:
            return
        done = run.finish(state, corruptions, notes.tell)
        notes.tell("drawing the report")
        page = write_image_report(done)
    numbers = numbers_of(done)
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        told(numbers, page)
