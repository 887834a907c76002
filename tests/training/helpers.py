import os
import subprocess
import sys
from pathlib import Path

import torch

import primaldual
from primaldual.models import TimeSeriesTransformer
from primaldual.training import Classification, Examples, Execution, TrainingSettings, train


def toy_examples(cases=24, length=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(cases, length, 2, generator=generator)
    padding = torch.arange(length) >= torch.randint(3, length + 1, (cases, 1), generator=generator)
    targets = (values[:, :3, 0].sum(1) > 0).long()
    return Examples(values, padding, targets, torch.ones(cases))


def toy_model(seed=0, dropout=0.1):
    torch.manual_seed(seed)
    return TimeSeriesTransformer(
        2, 8, 2, embed_dim=8, num_heads=2, num_layers=1, feedforward_dim=8, dropout=dropout, head="mean"
    )


def toy_settings(**changes):
    return TrainingSettings(**{"epochs": 4, "batch_size": 8, "learning_rate": 1e-2, **changes})


def toy_run(callbacks=(), checkpoint_dir=None, validation=True, execution=None, dropout=0.1, **changes):
    held_out = toy_examples(12, seed=1) if validation else None
    return train(
        toy_model(dropout=dropout),
        Classification(),
        toy_settings(**changes),
        toy_examples(),
        held_out,
        callbacks,
        execution or Execution(checkpoint_dir=checkpoint_dir),
    )


def without_seconds(history):
    """The records without what a clock says."""
    return [{name: value for name, value in record.items() if "seconds" not in name} for record in history]


def launched(code, *words, processes=1):
    """The finished process that ran some code, or the launcher of several of them."""
    paths = (Path(__file__).parents[2], Path(primaldual.__file__).parents[1])
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), str(code), *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
