"""Two processes learn what one learns, also with divided weights, and after one of them was killed."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.quick import one_in
from tests.training.helpers import launched, toy_run

SETTINGS = {"epochs": 3, "batch_size": 7, "dropout": 0.0, "learning_rate": 1e-3, "ema_decay": 0.9}
OPTIMIZERS = {"ddp": "radam", "fsdp": "adamw_matrices"}

SCRIPT = """
import os, signal, sys, json, torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from primaldual.training import Callback, Execution, accelerators
from primaldual.training.run import TrainingRun
from tests.quick import one_in
from tests.training.helpers import toy_run

torch.set_num_threads(1)
folder, killed_at, settings, divided = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4] == "fsdp"
step = TrainingRun._step


def dividing(**arguments):
    # Accelerate divides weights on accelerators only; what it then does runs on CPUs too.
    accelerator = Accelerator(**arguments)
    for state in (AcceleratorState, PartialState):
        state._shared_state["distributed_type"] = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        cpu_ram_efficient_loading=False,
        auto_wrap_policy="TRANSFORMER_BASED_WRAP",
        transformer_cls_names_to_wrap=["EncoderBlock"],
    )
    return accelerator


if divided:
    accelerators.Accelerator = dividing


def killing(run):
    step(run)
    assert all(isinstance(weight, DTensor) is divided for weight in run.model.parameters())
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


@pytest.mark.parametrize(
    ("how", "killed"), one_in(4, [("ddp", False), ("ddp", True), ("fsdp", False), ("fsdp", True)])
)
def test_two_processes_learn_what_one_process_learns_and_again_after_one_was_killed(tmp_path, how, killed):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    words, settings = (script, tmp_path / "run"), SETTINGS | {"optimizer": OPTIMIZERS[how]}
    if killed:
        assert launched(*words, 7, json.dumps(settings), how, processes=2).returncode != 0
        assert [path.name for path in tmp_path.glob("run/*/epoch-*")] == ["epoch-000001-step-00000002"]
    done = launched(*words, -1, json.dumps(settings), how, processes=2)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("run/*/epoch-*")] == ["epoch-000003"]
    expected = toy_run(**settings)
    for rank in (0, 1):
        history = json.loads((tmp_path / f"run{rank}.json").read_text())
        for record, wanted in zip(history, expected.history, strict=True):
            for name in ("train_loss", "validation_loss", "validation_metric"):
                assert record[name] == pytest.approx(wanted[name], abs=1e-5)
        for name, tensor in load_file(tmp_path / f"run{rank}.safetensors").items():
            if name.endswith("k_proj.bias"):
                continue  # softmax ignores it, so its gradient is rounding, which AdamW scales up
            torch.testing.assert_close(tensor, expected.best_weights[name], atol=1e-5, rtol=0)
