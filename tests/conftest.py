"""Small tensors run faster, and the same everywhere, on one thread."""

import torch

torch.set_num_threads(1)
