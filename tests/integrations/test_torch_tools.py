"""Converted models under what torch offers: checkpointing, autocast, compilers, export, quantisation, processes."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from tests.integrations import torch_models as models
from torch import distributed, nn
from torch.ao.nn.quantized.dynamic import Linear as QuantisedLinear
from torch.ao.quantization import quantize_dynamic
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from primaldual import convert, revert
from primaldual.errors import UnsupportedError
from primaldual.kernels.layout import Layout

pytestmark = [
    # torch copies the program that it exports, and warns of its own class in doing so.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning"),
]

CONVERSIONS = {
    "softmax": ("softmax", None),
    "bn+sh": ("bn+sh(1,1,2,2)", None),
    "some heads": ("bn+sh(1,2)", [0, 3]),
}


def converted(conversion, **options):
    attention, heads = CONVERSIONS[conversion]
    model = models.encoder(**options)
    convert(model, attention, heads=heads, verbose=False)
    return model


def batch(size, length):
    """Sequences in single precision and their padding, of a few positions."""
    lengths = torch.tensor([length, length - 4, length - 2])[:size]
    blocked = torch.arange(length) >= lengths.repeat(size)[:size, None]
    return models.sequences(length, size, torch.float32), blocked


@pytest.mark.parametrize("spec", ["bn(learnable=true)+sh(1,1,2,4)", "bn(running=true)", "conv(3)", "linear"])
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_changes_no_gradient(spec, use_reentrant):
    model = models.encoder(layers=2)
    convert(model, spec, verbose=False)
    other, inputs, blocked = copy.deepcopy(model), models.sequences(30), models.padding(30)
    results = []
    for each in (model, other):
        hidden = start = inputs.clone().requires_grad_()
        for layer in each.layers:
            if each is other:
                hidden = checkpoint(layer, hidden, None, blocked, use_reentrant=use_reentrant)
            else:
                hidden = layer(hidden, None, blocked)
        hidden[~blocked].square().sum().backward()
        results.append([start.grad, *(parameter.grad for parameter in each.parameters())])
    assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
    assert_close(model.state_dict(), other.state_dict(), rtol=0, atol=0)  # statistics are taken once


@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_autocast(conversion):
    model = converted(conversion, dtype=torch.float32, nested=True)
    inputs, blocked = batch(3, 40)
    exact = model(inputs, src_key_padding_mask=blocked)[~blocked]
    for training in (True, False):
        model.train(training).zero_grad()
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(training):
            found = model(inputs, src_key_padding_mask=blocked)[~blocked].float()
        error = (found - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        assert error < 0.05
        if training:
            found.square().mean().backward()
            assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.long
def test_one_compiled_graph():
    model = converted("some heads", layers=1, dtype=torch.float32, nested=True)
    inputs, blocked = batch(3, 11)
    causal = nn.Transformer.generate_square_subsequent_mask(11)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for options in ({"src_key_padding_mask": blocked}, {"mask": causal, "is_causal": True}):
        found, wanted = (each(inputs, **options) for each in (compiled, model))
        assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        gradients = [
            torch.autograd.grad(each.square().sum(), list(model.parameters())) for each in (found, wanted)
        ]
        assert_close(*gradients, rtol=1e-3, atol=1e-3)
    with pytest.raises(UnsupportedError, match="before it is wrapped"):
        convert(compiled, "bn")


@torch.no_grad()
def test_exported_programs_and_onnx():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = converted("bn+sh", layers=1, dtype=torch.float32, nested=True)

        def forward(self, inputs, blocked):
            return self.encoder(inputs, src_key_padding_mask=blocked)

    model = Padded().eval()
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.export.export(model, batch(2, 19), dynamic_shapes=(any_size, any_size))
    exported = program.module()
    stored = torch.onnx.export(program, dynamo=True, verbose=False).model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(stored, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    for size, length in ((3, 24), (2, 33)):
        inputs, blocked = batch(size, length)
        wanted = model(inputs, blocked)[~blocked]
        (run,) = session.run(None, dict(zip(names, (inputs.numpy(), blocked.numpy()), strict=True)))
        for found in (exported(inputs, blocked), torch.from_numpy(run)):
            assert_close(found[~blocked], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning")
@pytest.mark.parametrize("conversion", CONVERSIONS)
@torch.no_grad()
def test_dynamic_quantisation(conversion):
    """torch's own encoder fails once its linear layers are quantised; the converted one has them all in int8."""
    model = converted(conversion, dtype=torch.float32, nested=True).eval()
    quantised = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    layer = quantised.layers[0].self_attn
    assert {type(each) for each in (layer.q_proj, layer.k_proj, layer.v_proj, layer.out_proj)} == {
        QuantisedLinear
    }
    inputs, blocked = batch(3, 40)
    for options in ({}, {"src_key_padding_mask": blocked}):
        found, wanted = (each(inputs, **options)[~blocked] for each in (quantised, model))
        error = (found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
        assert 0 < error < 0.05
    with pytest.raises(
        UnsupportedError, match=r"plain linear maps, .*; got torch\.ao\.nn\.quantized\.dynamic"
    ):
        revert(quantised)
    convert(quantised, "softmax", verbose=False)
    state = layer.init_state(3)
    tokens = torch.cat([layer.step(state, token) for token in inputs[:, :5].split(1, 1)], 1)
    whole, _ = layer(inputs[:, :5], inputs[:, :5], inputs[:, :5], is_causal=True)
    assert_close(tokens, whole, rtol=0.1, atol=0.1)


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
def test_lora_comes_after_conversion():
    peft = pytest.importorskip("peft")
    inputs = models.sequences(dtype=torch.float32)
    for targets in (["self_attn"], ["out_proj"]):
        wrapped = peft.get_peft_model(
            models.encoder(dtype=torch.float32), peft.LoraConfig(target_modules=targets)
        )
        with pytest.raises(UnsupportedError, match=r"self_attn.* has (weights that are computed|a wrapper)"):
            convert(wrapped, "bn")
    model = converted("bn+sh", dtype=torch.float32, nested=True)
    plain = model(inputs)
    settings = peft.LoraConfig(target_modules=["q_proj", "v_proj", "out_proj"], r=2, init_lora_weights=False)
    tuned = peft.get_peft_model(model, settings).eval()
    wanted = tuned(inputs)
    assert (wanted - plain).abs().max() > 0.01
    with torch.no_grad():  # the encoder does not pack sequences for maps that it does not know
        padded = tuned(inputs, src_key_padding_mask=models.padding(models.LENGTH))
    assert padded.isfinite().all()
    with pytest.raises(
        UnsupportedError, match=r"cannot be reverted: .*; got peft\.tuners\.lora\.layer\.Linear"
    ):
        revert(tuned)
    merged = tuned.merge_and_unload()
    assert_close(merged(inputs), wanted, rtol=1e-4, atol=1e-4)
    assert len(revert(merged)) == 2


def test_an_image_model_of_torchvision():
    vision = pytest.importorskip("torchvision.models.vision_transformer")
    torch.manual_seed(0)
    model = vision.VisionTransformer(
        32, 8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=32, num_classes=5
    ).eval()
    nn.init.normal_(model.heads.head.weight)
    images = torch.randn(2, 3, 32, 32)
    before = model(images)
    assert convert(model, "softmax", sample=images, verbose=False).change < 1e-5
    assert_close(model(images), before, rtol=1e-4, atol=1e-5)
    patches = Layout(grid=(4, 4), prefix=1)
    report = convert(model, "bn+sh(1,1,2,2)", layout=patches, sample=images, verbose=False)
    assert report.change > 0.01
    assert {layer.self_attention.problem.subset.layout for layer in model.encoder.layers} == {patches}
    assert len(revert(model)) == 2
    assert torch.equal(model(images), before)


TWO_PROCESSES = """
import copy, os, sys
import torch
from torch import distributed
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed._composable.replicate import replicate
from torch.nn.parallel import DistributedDataParallel
from tests.integrations import torch_models as models
from primaldual import convert
from primaldual.errors import UnsupportedError

torch.set_num_threads(1)
distributed.init_process_group("gloo")
rank = distributed.get_rank()
plain = models.encoder()
model = copy.deepcopy(plain)
convert(model, "bn(learnable=true)+sh(1,1,2,2)", verbose=False)
inputs = models.sequences(8, 4)

def trained(model, inputs):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    return model

def sharded(model):
    for layer in model.layers:
        fully_shard(layer)
    return fully_shard(model)

wanted = list(trained(copy.deepcopy(model), inputs).parameters())
mine = inputs[2 * rank : 2 * rank + 2]
replicated = trained(DistributedDataParallel(copy.deepcopy(model)), mine)
in_shards = trained(sharded(copy.deepcopy(model)), mine)
flat = FullyShardedDataParallel(copy.deepcopy(model), device_id=torch.device("cpu"), use_orig_params=True)
trained(flat, mine)
with FullyShardedDataParallel.summon_full_params(flat):
    gathered = [each.full_tensor() for each in in_shards.parameters()]
    for found in (list(replicated.parameters()), gathered, list(flat.parameters())):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
for wrapped in (replicated, in_shards, flat, sharded(copy.deepcopy(plain)), replicate(plain)):
    kinds = [type(module) for module in wrapped.modules()]
    try:
        convert(wrapped, "bn(learnable=true)", verbose=False)
    except UnsupportedError as error:
        assert "before it is wrapped" in str(error), error
    else:
        raise AssertionError("converted")
    assert [type(module) for module in wrapped.modules()] == kinds
open(sys.argv[1] + str(rank), "w").write("done")
distributed.barrier()
os._exit(0)  # PyTorch's gloo threads now and then abort while the interpreter is taken down
"""


def test_two_processes_train_what_one_does(tmp_path):
    root, script = Path(__file__).parents[2], tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, str(script), str(tmp_path / "rank")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["done", "done"]


def test_sharded_parameters_are_refused(tmp_path):
    """Tensor parallelism leaves the classes of modules as they are, and shards their parameters."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = models.encoder(layers=1)
        parallelize_module(model, init_device_mesh("cpu", (1,)), {"layers.0.linear1": ColwiseParallel()})
        with pytest.raises(
            UnsupportedError, match=r"before it is sharded; layers\.0\.linear1 has .* DTensor"
        ):
            convert(model, "bn")
    finally:
        distributed.destroy_process_group()
