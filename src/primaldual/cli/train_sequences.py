"""``primaldual train lra``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from primaldual.cli import computing_options, options
from primaldual.cli import sequence_options as choices
from primaldual.cli.machine import cores


@computing_options.computing
def lra(
    task: choices.Task,
    attention: choices.Attention = "softmax",
    config: choices.ConfigName = "pytorch",
    data: choices.Data = None,
    out: choices.Out = None,
    data_dir: choices.DataDir = None,
    max_length: choices.MaxLength = None,
    truncate: choices.Truncate = False,
    difficulty: choices.Difficulty = None,
    cases: choices.Cases = None,
    columns: choices.Columns = None,
    skip_bad: choices.SkipBad = False,
    data_seed: choices.DataSeed = 0,
    processes: choices.Processes = None,
    heads: choices.Heads = None,
    batch_size: choices.BatchSize = None,
    steps: choices.Steps = None,
    validation: choices.Validation = 0.1,
    mixed_precision: choices.MixedPrecision = None,
    seed: choices.Seed = 0,
    *,
    execution: Mapping[str, Any],
    tracker: computing_options.Tracker = None,
    as_json: options.AsJson = False,
) -> None:
    """Train one classifier of long sequences with any attention, test it, and write a report.

    listops and pathfinder are generated once; pixels, text and retrieval need --data.
    The same command goes on after it was stopped or killed. Under torchrun or
    accelerate launch every process takes its share of each batch. Ctrl-C stops;
    SIGTERM stops after a checkpoint.

    Examples:
    $ primaldual train lra --task listops --max-length 512 --cases 10000 --steps 500
    $ primaldual train lra --task listops --attention "bn+sh(1,2)" --checkpoint-every 100
    $ primaldual train lra --task pathfinder --difficulty easy -a "sh(1,2,4,8)" --heads 4
    $ primaldual train lra --task pixels --data cifar10.tar.gz --config jax
    $ primaldual train lra --task text --data aclImdb --truncate
    $ primaldual train lra --task text --data reviews.csv --columns review,stars
    $ primaldual train lra --task retrieval --data pairs --columns left,right,same
    """
    from primaldual.cli.run_training import trained
    from primaldual.cli.sequence_view import SequenceNotes, told
    from primaldual.sequences.report import write_sequence_report
    from primaldual.sequences.run_numbers import numbers_of
    from primaldual.sequences.run_settings import RunSettings
    from primaldual.sequences.runs import PreparedRun
    from primaldual.training.run_folders import is_main_process

    settings = RunSettings(
        task=task,
        attention=options.one_spec(attention),
        config=config,
        data=data,
        data_dir=data_dir,
        max_length=max_length,
        truncate=truncate,
        difficulty=difficulty,
        cases=cases,
        columns=None if columns is None else tuple(name.strip() for name in columns.split(",")),
        skip_bad=skip_bad,
        heads=heads,
        batch_size=batch_size,
        steps=steps,
        mixed_precision=mixed_precision,
        validation=validation,
        seed=seed,
        data_seed=data_seed,
    )
    with SequenceNotes(shown=is_main_process()) as notes:
        notes.tell(f"Preparing {task}")
        run = PreparedRun(settings, out, processes or cores())
        notes.begin(run)
        state = trained(run, notes, tracker, execution)
        if state is None:
            return
        done = run.finish(state)
        page = write_sequence_report(done)
    numbers = numbers_of(done)
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        told(numbers, page)
