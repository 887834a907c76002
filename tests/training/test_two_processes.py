"""Two processes learn what one learns, also after one of them was killed."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.training.helpers import launched, toy_run

SETTINGS = {"epochs": 3, "batch_size": 7, "dropout": 0.0, "learning_rate": 1e-3, "ema_decay": 0.9}

SCRIPT = """
import os, signal, sys, json, torch
from accelerate.state import PartialState
from safetensors.torch import save_file
from primaldual.training import Callback, Execution
from primaldual.training.run import TrainingRun
from tests.training.helpers import toy_run

torch.set_num_threads(1)
folder, killed_at, settings = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
step = TrainingRun._step


def killing(run):
    step(run)
    if run.process == 1 and run.state.total_steps == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)


TrainingRun._step = killing
execution = Execution(checkpoint_dir=folder, checkpoint_every=3, accumulation=2)
state = toy_run(execution=execution, **settings)
save_file(state.best_weights, folder + os.environ["RANK"] + ".safetensors")
with open(folder + os.environ["RANK"] + ".json", "w") as file:
    json.dump(state.history, file)
torch.distributed.barrier()
os._exit(0)  # PyTorch's gloo threads now and then abort while the interpreter is taken down
"""


def test_two_processes_of_which_one_is_killed_learn_what_one_process_learns(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    words = (script, tmp_path / "run")
    killed = launched(*words, 7, json.dumps(SETTINGS), processes=2)
    assert killed.returncode != 0
    assert [path.name for path in tmp_path.glob("run/*/epoch-*")] == ["epoch-000001-step-00000002"]
    done = launched(*words, -1, json.dumps(SETTINGS), processes=2)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("run/*/epoch-*")] == ["epoch-000003"]
    expected = toy_run(**SETTINGS)
    for rank in (0, 1):
        history = json.loads((tmp_path / f"run{rank}.json").read_text())
        for record, wanted in zip(history, expected.history, strict=True):
            for name in ("train_loss", "validation_loss", "validation_metric"):
                assert record[name] == pytest.approx(wanted[name], abs=1e-5)
        for name, tensor in load_file(tmp_path / f"run{rank}.safetensors").items():
            torch.testing.assert_close(tensor, expected.best_weights[name], atol=1e-5, rtol=0)
