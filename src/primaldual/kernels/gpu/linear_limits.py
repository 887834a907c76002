"""What the kernels of linear attention serve, readable without Triton."""

import torch

WIDEST = 128
"""Largest number of features, and largest Dv: the state of a head, F x Dv in float32, stands in registers."""

DTYPES = torch.bfloat16, torch.float16, torch.float32
