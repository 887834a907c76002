import subprocess
import sys

import pytest
import torch
from benchmarks.performance.child import answer, footprint
from benchmarks.performance.programs import BOTH
from benchmarks.performance.settings import Setting

from primaldual.errors import UnsupportedError

MIB = 2**20


HELD = """
import torch
from benchmarks.performance.child import rise

def task():
    first = torch.ones(16 * 2**20)  # 64 MiB
    del first
    torch.ones(8 * 2**20)

print(rise(task))
"""


def test_rise_is_what_a_call_holds_at_its_highest():
    found = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True).stdout
    assert 60 * MIB < int(found) < 90 * MIB  # in a process that has no freed memory to take it from


def test_a_fresh_process_measures_a_contender():
    setting = Setting(512, heads=4, head_dim=16)
    found = footprint("literal softmax", setting, BOTH, 1)
    matrix = 4 * 4 * 512**2
    assert found.first_call > 0
    assert 2 * matrix < found.memory < 12 * matrix


def test_a_failing_child_says_why():
    with pytest.raises(UnsupportedError, match="not typed out"):
        footprint("literal linear", Setting(8, heads=2, head_dim=4), BOTH, 1)


def test_the_answer_of_the_child():
    request = {
        "name": "bn",
        "setting": {"length": 16, "heads": 2, "head_dim": 4},
        "direction": BOTH,
        "threads": torch.get_num_threads(),
    }
    assert answer(request).first_call > 0
