"""Exported layers and models give the same outputs, in torch and in onnxruntime."""

import onnxruntime
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual import MultiheadAttention
from primaldual.models import TimeSeriesTransformer
from tests.nn.export_table import rows
from tests.quick import one_in

# torch copies the program that it exports, and warns of its own class in doing so.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"
)

ANY_SIZE = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}


class CausalLayer(nn.Module):
    def __init__(self, spec):
        super().__init__()
        torch.manual_seed(0)
        self.layer = MultiheadAttention(12, 2, batch_first=True, attention=spec)

    def forward(self, inputs, padding_mask):
        return self.layer(
            inputs, inputs, inputs, key_padding_mask=padding_mask, need_weights=False, is_causal=True
        )[0]


def batch(size, length, width):
    """Inputs with NaN under their padding; the last sample of three or more is padding alone."""
    lengths = torch.tensor([length, max(1, length - 5), 0])[:size]
    padding_mask = torch.arange(length) >= lengths.repeat(size)[:size, None]
    inputs = torch.randn(size, length, width, generator=torch.Generator().manual_seed(length))
    return inputs.masked_fill(padding_mask.unsqueeze(-1), torch.nan), padding_mask


def run(session, inputs, padding_mask):
    names = [argument.name for argument in session.get_inputs()]
    fed = dict(zip(names, (inputs.numpy(), padding_mask.numpy()), strict=True))
    return torch.from_numpy(session.run(None, fed)[0])


def session_of(onnx_program):
    return onnxruntime.InferenceSession(
        onnx_program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def close(found, wanted):
    # Float32 sums in another order; unnormalised attentions have outputs far above 1.
    assert_close(found, wanted, rtol=1e-4, atol=1e-5 * max(1.0, float(wanted.abs().max())))


@pytest.mark.parametrize("spec", one_in(3, [row.spec for row in rows()[::8]]))
@torch.no_grad()
def test_exported_layer_equals_layer(spec):
    (row,) = (row for row in rows() if row.spec == spec)
    layer = CausalLayer(row.spec).eval()
    example = torch.randn(2, 19, 12), torch.zeros(2, 19, dtype=torch.bool)
    program = torch.export.export(layer, example, dynamic_shapes=(ANY_SIZE, ANY_SIZE))
    exported = program.module()
    session = session_of(torch.onnx.export(program, dynamo=True, verbose=False))
    for size, length in ((3, 23), (1, 67), (2, row.shortest_export)):
        inputs = batch(size, length, 12)
        close(exported(*inputs), layer(*inputs))
    for size, length in ((3, 24), (1, 67), (2, row.shortest_onnx)):
        inputs = batch(size, length, 12)
        close(run(session, *inputs), layer(*inputs))


@pytest.mark.long
@torch.no_grad()
def test_onnx_model_equals_model():
    torch.manual_seed(0)
    model = TimeSeriesTransformer(
        channels=3, length=40, outputs=4, embed_dim=12, num_heads=2, num_layers=1, attention="bn"
    ).eval()
    example = torch.randn(2, 19, 3), torch.zeros(2, 19, dtype=torch.bool)
    session = session_of(
        torch.onnx.export(model, example, dynamo=True, dynamic_shapes=(ANY_SIZE, ANY_SIZE), verbose=False)
    )
    for size, length in ((3, 24), (1, 40), (2, 3)):
        inputs = batch(size, length, 3)
        close(run(session, *inputs), model(*inputs))
