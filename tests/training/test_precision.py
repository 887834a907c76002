import torch

from primaldual.training.precision import PRECISIONS


def product_dtype(name):
    with PRECISIONS[name](torch.device("cpu")):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_only_bf16_changes_products():
    assert product_dtype("no") == torch.float32
    assert product_dtype("bf16") == torch.bfloat16
