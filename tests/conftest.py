"""Small tensors run faster, and the same everywhere, on one thread; CI draws the same examples every time."""

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
