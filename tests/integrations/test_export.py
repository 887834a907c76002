"""Converted, pruned and compressed models leave torch: torch.export and ONNX, the same outputs."""

import warnings

import onnxruntime
import pytest
import timm
import torch
from torch.testing import assert_close
from transformers import BertConfig, BertModel

from primaldual.compression.compress import compress
from primaldual.compression.pruning import prune_heads
from primaldual.integrations.conversion import convert


class LastState(torch.nn.Module):
    """A BERT with plain arguments and one output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32
    )
    return LastState(BertModel(config)).eval()


def sentences(batch, length):
    torch.manual_seed(batch)
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[-1, length - 3 :] = 0
    return torch.randint(1, 50, (batch, length)), mask


def changed(model, how):
    if how == "pruned":
        prune_heads(model, {0: [0, 3]})
    elif how == "compressed":
        ids, mask = sentences(4, 16)
        compress(model, {"input_ids": ids, "attention_mask": mask}, 0.5, budgets=())
    elif how != "original":
        convert(model, how, verbose=False)
    return model


@pytest.mark.parametrize("how", ["softmax", "pruned", pytest.param("compressed", marks=pytest.mark.long)])
def test_bert_exports_with_dynamic_sizes(how):
    model = changed(bert(), how)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(model, sentences(2, 13), dynamic_shapes=(dynamic, dynamic)).module()
        for batch, length in ((2, 13), (3, 22)):
            inputs = sentences(batch, length)
            assert_close(program(*inputs), model(*inputs), atol=1e-5, rtol=1e-4)


def through_onnx(model, inputs, path):
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        torch.onnx.export(model, inputs, path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    return torch.from_numpy(session.run(None, given)[0])


@pytest.mark.long
@pytest.mark.parametrize("how", ["bn+sh(1,1,2,4)"])
def test_bert_runs_in_onnxruntime(how, tmp_path):
    model, inputs = changed(bert(), how), sentences(2, 16)
    with torch.no_grad():
        assert_close(through_onnx(model, inputs, tmp_path / "m.onnx"), model(*inputs), atol=1e-5, rtol=1e-4)


@pytest.mark.long
def test_vit_runs_in_onnxruntime(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, embed_dim=16, num_heads=4, num_classes=3
    ).eval()
    changed(model, "sh(1,1,2,4)")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert_close(through_onnx(model, (images,), tmp_path / "m.onnx"), model(images), atol=1e-5, rtol=1e-4)
