"""Running statistics follow the batches of training, and stand for every sequence in evaluation."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from primaldual import BatchNormalization, MultiheadAttention, PrimalProblem, Window, preset, solve
from primaldual.errors import ArgumentError, SpecError, UnsupportedError
from primaldual.svr import SupportVectorExpansion, implied_regression, kernel_scale
from primaldual.testing.fed_problem import fed


def tensors(batch=3, heads=2, length=7, head_dim=4, kv_heads=None, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, count, length, head_dim) for count in (heads, kv_heads or heads, kv_heads or heads)]
    query, key, value = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return query.to(dtype), (1.5 * key + 0.7).to(dtype), value.to(dtype)


def bound(spec, heads=2, head_dim=4):
    return preset(spec).bind(heads, head_dim).double()


def averages(problem):
    found = (
        problem.transform
        if isinstance(problem.transform, BatchNormalization)
        else problem.transform.steps()[-1]
    )
    return found.averages


def of_sequences(keys):
    """Mean over sequences of mu and sigma^2, (heads, D)."""
    return keys.mean(-2).mean(0), keys.var(-2, correction=0).mean(0)


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.5, 1.0])
def test_averages_equal_a_hand_computation(momentum):
    problem = bound(f"bn(running=true,momentum={momentum})")
    mean, variance = torch.zeros(2, 4).double(), torch.ones(2, 4).double()
    for batch in range(15):
        query, key, value = tensors(seed=batch)
        problem.attend(query, key, value)
        share = max(momentum, 1 / (batch + 1))
        for former, new in zip((mean, variance), of_sequences(key), strict=True):
            former.mul_(1 - share).add_(share * new)
    assert_close(averages(problem).running_mean, mean, rtol=1e-12, atol=1e-12)
    assert_close(averages(problem).running_variance, variance, rtol=1e-12, atol=1e-12)
    assert averages(problem).batches.tolist() == [15, 15]


def test_averages_equal_those_of_instance_norm():
    """Its variance is unbiased, and it starts from 0 and 1, which counts less and less."""
    problem = bound("bn(running=true,momentum=0.2)", heads=1)
    norm = torch.nn.InstanceNorm1d(4, momentum=0.2, track_running_stats=True).double()
    length, start = 7, 0.8**80
    for batch in range(80):
        query, key, value = tensors(heads=1, seed=batch)
        problem.attend(query, key, value)
        norm(key[:, 0].mT)
        if batch < 5:  # until then ours is the plain mean; give both the same history
            norm.running_mean.copy_(averages(problem).running_mean[0])
            norm.running_var.copy_(averages(problem).running_variance[0] * length / (length - 1))
    ours = averages(problem)
    assert_close(ours.running_mean[0], norm.running_mean, rtol=1e-9, atol=start)
    assert_close(ours.running_variance[0] * length / (length - 1), norm.running_var, rtol=1e-9, atol=start)


def test_training_is_as_without_the_option():
    inputs = [tensor.requires_grad_() for tensor in tensors()]
    for spec in ("bn", "linear+bn", "conv(3)+bn", "bn+sh(1,2)"):
        for is_causal in (False, True):
            found, wanted = (
                bound(each).attend(*inputs, is_causal=is_causal)
                for each in (spec.replace("bn", "bn(running=true)"), spec)
            )
            assert_close(found, wanted, rtol=0, atol=0)
            for gradients in zip(
                *(torch.autograd.grad(out.square().sum(), inputs) for out in (found, wanted)), strict=True
            ):
                assert_close(*gradients, rtol=0, atol=0)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("spec", ["bn", "linear+bn", "bn+window(2)", "constant+bn", "linear+bn+window(2)"])
def test_statistics_are_those_of_whole_sequences(spec, is_causal):
    problem = bound(spec.replace("bn", "bn(running=true)"))
    query, key, value = tensors()
    problem.attend(query, key, value, is_causal=is_causal)
    for found, wanted in zip(averages(problem).of([0, 1], key.dtype)[:2], of_sequences(key), strict=True):
        assert_close(found[0, :, 0], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("is_causal", [False, True])
def test_statistics_of_scaled_heads_are_those_of_their_pools(is_causal):
    problem = bound("bn(running=true)+sh(1,3)")
    query, key, value = tensors()
    problem.attend(query, key, value, is_causal=is_causal)
    pools = torch.stack([part.mean(-2) for part in key[:, 1].split(3, -2)], -2)
    for found, first, second in zip(
        averages(problem).of([0, 1], key.dtype)[:2], of_sequences(key[:, 0]), of_sequences(pools), strict=True
    ):
        assert_close(found[0, :, 0], torch.stack([first, second]), rtol=1e-12, atol=1e-12)


def test_statistics_in_a_chain_are_those_of_what_comes_before():
    problem = bound("conv(3)+bn(running=true)")
    with torch.no_grad():
        problem.transform.steps()[0].weight.normal_(generator=torch.Generator().manual_seed(0))
    query, key, value = tensors()
    mask = torch.arange(7) < torch.tensor([7, 5, 4])[:, None, None, None]
    valid = mask.expand(3, 2, 1, 7)
    _, convolved = problem.transform.steps()[0].dense(
        query, key.unsqueeze(2), valid, problem.subset.head_sets(2)[0]
    )
    means = [row[:, :count].mean(-2) for row, count in zip(convolved.squeeze(2), (7, 5, 4), strict=True)]
    for is_causal in (False, True):
        other = copy.deepcopy(problem)
        other.attend(query, key, value, mask, is_causal)
        assert_close(averages(other).running_mean, torch.stack(means).mean(0), rtol=1e-12, atol=1e-12)


def test_masked_keys_are_left_out_and_so_are_sequences_without_keys():
    query, key, value = tensors(batch=4)
    counts = (7, 5, 1, 0)
    mask = torch.arange(7) < torch.tensor(counts)[:, None, None, None]
    key = torch.where(mask.mT, key, torch.nan)
    kept = [row[:, :count] for row, count in zip(key, counts[:3], strict=False)]
    mean = torch.stack([row.mean(-2) for row in kept]).mean(0)
    variance = torch.stack([row.var(-2, correction=0) for row in kept]).mean(0)
    for given in (mask, mask.expand(4, 2, 7, 7)):
        for is_causal in (False, True):
            problem = bound("bn(running=true)")
            problem.attend(query, key, value, given, is_causal)
            assert_close(averages(problem).running_mean, mean, rtol=1e-12, atol=1e-12)
            assert_close(averages(problem).running_variance, variance, rtol=1e-12, atol=1e-12)


def test_a_batch_without_any_key_changes_nothing():
    problem = bound("bn(running=true)")
    query, key, value = tensors()
    by_head = torch.tensor([True, False])[:, None, None].expand(2, 1, 7)
    problem.attend(query, key, value, by_head)
    assert averages(problem).batches.tolist() == [1, 0]
    assert averages(problem).running_variance[1].tolist() == [1] * 4
    assert_close(averages(problem).running_mean[0], of_sequences(key)[0][0])


def test_small_variances_keep_their_digits_against_the_initial_one():
    problem = bound("bn(running=true)").float()
    query, key, value = tensors(dtype=torch.float32)
    problem.attend(query, 1e-5 * key, value)
    assert_close(
        averages(problem).running_variance, of_sequences(1e-5 * key.double())[1].float(), rtol=1e-5, atol=0
    )


def test_grouped_key_heads_serve_their_query_heads():
    problem = bound("bn(running=true)+sh(1,1,1,2)", heads=4)
    query, key, value = tensors(heads=4, kv_heads=2)
    problem.attend(query, key, value)
    mean = averages(problem).running_mean
    assert_close(mean[:3], of_sequences(key)[0][[0, 0, 1]])
    problem.eval()
    assert_close(problem.attend(query, key, value), problem.dense(query, key, value))


def test_evaluation_uses_the_averages_for_every_sequence():
    problem = bound("bn(beta=0.8,running=true)")
    for seed in range(3):
        problem.attend(*tensors(seed=seed))
    problem.eval()
    mean, variance = problem.transform.averages.running_mean, problem.transform.averages.running_variance
    query, key, value = tensors(seed=9)
    query_, key_ = ((each - 0.8 * mean[:, None]) / (variance[:, None] + 1e-5).sqrt() for each in (query, key))
    for is_causal in (False, True):
        assert_close(
            problem.attend(query, key, value, is_causal=is_causal),
            preset("softmax").attend(query_, key_, value, is_causal=is_causal),
        )
    assert averages(problem).batches.tolist() == [3, 3]


def test_before_any_batch_they_are_0_and_1():
    inputs = tensors()
    problem = bound("bn(running=true,eps=1e-15)").eval()
    assert_close(problem.attend(*inputs), preset("softmax").attend(*inputs))


def test_only_attend_in_training_updates():
    problem = bound("bn(running=true)")
    query, key, value = tensors()
    problem.dense(query, key, value)
    problem.weights(query, key)
    problem.attention_map(query, key)
    problem.eval().attend(query, key, value)
    assert averages(problem).batches.tolist() == [0, 0]
    with torch.no_grad():  # in training, as torch's layers do
        problem.train().attend(query, key, value)
    assert averages(problem).batches.tolist() == [1, 1]


@pytest.mark.parametrize("masked", [False, True])
def test_a_layer_updates_once_and_projects_no_more_often(masked):
    torch.manual_seed(0)
    for spec in ("bn(running=true)", "bn(running=true)+sh(1,2)", "linear+bn(running=true)"):
        for is_causal in (False, True):
            layer = MultiheadAttention(8, 2, batch_first=True, attention=spec)
            calls = []
            layer.k_proj.register_forward_hook(lambda *given, calls=calls: calls.append(given))
            inputs = torch.randn(3, 7, 8)
            mask = torch.rand(7, 7) < 0.2 if masked else None
            layer(inputs, inputs, inputs, attn_mask=mask, is_causal=is_causal, need_weights=False)
            layer(inputs, inputs, inputs, attn_mask=mask, is_causal=is_causal, need_weights=True)
            assert averages(layer.problem).batches.tolist() == [2, 2]
            plain = MultiheadAttention(8, 2, batch_first=True, attention=spec.replace("(running=true)", ""))
            expected = []
            plain.k_proj.register_forward_hook(lambda *given, calls=expected: calls.append(given))
            plain(inputs, inputs, inputs, attn_mask=mask, is_causal=is_causal, need_weights=False)
            plain(inputs, inputs, inputs, attn_mask=mask, is_causal=is_causal, need_weights=True)
            assert 0 < len(calls) <= len(expected)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_updates_once(use_reentrant):
    torch.manual_seed(0)
    layer = MultiheadAttention(8, 2, batch_first=True, attention="bn(running=true)")
    plain = copy.deepcopy(layer)
    inputs = torch.randn(3, 7, 8, requires_grad=True)

    def run(tensor, module):
        return module(tensor, tensor, tensor, need_weights=False)[0]

    for _ in range(2):
        checkpoint(run, inputs, layer, use_reentrant=use_reentrant).sum().backward()
        run(inputs, plain).sum().backward()
    assert averages(layer.problem).batches.tolist() == [2, 2]
    for name, tensor in plain.state_dict().items():
        assert_close(layer.state_dict()[name], tensor, rtol=0, atol=0)
    assert_close(layer.k_proj.weight.grad, plain.k_proj.weight.grad)


def test_half_precision_models_keep_them_in_float32():
    layer = MultiheadAttention(8, 2, batch_first=True, attention="bn(running=true)", dtype=torch.bfloat16)
    found = averages(layer.problem)
    inputs = (torch.randn(3, 50, 8, generator=torch.Generator().manual_seed(0)) + 3).bfloat16()
    layer(inputs, inputs, inputs)
    keys = layer.k_proj(inputs).double().unflatten(-1, (2, 4)).transpose(1, 2)
    mean, variance = of_sequences(keys.detach())
    assert {found.running_mean.dtype, found.running_variance.dtype} == {torch.float32}
    assert_close(found.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
    assert_close(found.running_variance.double(), variance, rtol=1e-5, atol=1e-5)
    exact = found.running_mean.clone()
    layer.half().bfloat16()
    assert_close(averages(layer.problem).running_mean, exact, rtol=0, atol=0)
    assert averages(layer.double().problem).running_mean.dtype == torch.float64
    assert averages(layer.float().problem).batches.dtype == torch.int64
    assert layer.to("meta").bfloat16().problem.transform.averages.running_mean.dtype == torch.float32


def test_autocast_accumulates_in_float32():
    layer = MultiheadAttention(8, 2, batch_first=True, attention="bn(running=true)+sh(1,2)")
    inputs = torch.randn(3, 7, 8, generator=torch.Generator().manual_seed(0))
    for is_causal in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            layer(inputs, inputs, inputs, is_causal=is_causal)
    assert averages(layer.problem).running_mean.dtype == torch.float32
    layer.eval()
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(inputs, inputs, inputs, is_causal=True)[0]
    assert_close(low.float(), layer(inputs, inputs, inputs, is_causal=True)[0], rtol=0.1, atol=0.05)


def test_keys_far_from_zero_keep_their_differences():
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, 40, 8, generator=generator, dtype=torch.float64).unbind(0)
    key = 100 + 0.1 * key
    query = 100 + 0.1 * query
    problem = bound("bn(running=true)", head_dim=8)
    problem.attend(query, key, value)
    problem.eval()
    exact = problem.dense(query, key, value)
    single = problem.attend(query.float(), key.float(), value.float())
    assert_close(single.double(), exact, rtol=2e-3, atol=2e-3)


def loaded(problem):
    other = bound(problem.spec())
    other.load_state_dict(problem.state_dict())
    return other


@pytest.mark.parametrize("duplicate", [
    copy.deepcopy, lambda problem: pickle.loads(pickle.dumps(problem)),
    loaded,
], ids=["deepcopy", "pickle", "state_dict"])  # fmt: skip
def test_copies_have_the_averages(duplicate):
    problem = bound("conv(3)+bn(running=true,learnable=true)")
    for seed in range(2):
        problem.attend(*tensors(seed=seed))
    other = duplicate(problem)
    inputs = tensors(seed=5)
    assert_close(other.eval().attend(*inputs), problem.eval().attend(*inputs), rtol=0, atol=0)
    other.train().attend(*inputs)
    assert averages(problem).batches.tolist() == [2, 2]
    assert averages(other).batches.tolist() == [3, 3]


@pytest.mark.parametrize("is_causal", [False, True])
def test_compiled_training_updates_too(is_causal):
    inputs = tensors()
    problem, other = bound("bn(running=true)"), bound("bn(running=true)")
    torch.compiler.reset()
    compiled = torch.compile(
        lambda *given: problem.attend(*given, is_causal=is_causal), backend="aot_eager", fullgraph=True
    )
    for _ in range(2):
        assert_close(compiled(*inputs), other.attend(*inputs, is_causal=is_causal))
    for name, tensor in other.state_dict().items():
        assert_close(problem.state_dict()[name], tensor)


def test_spec_and_equation_say_it():
    problem = preset("bn(running=true,momentum=0.2)")
    assert problem.spec() == "bn(running=true,momentum=0.2)"
    assert "in evaluation μ, σ² are their running averages over the training batches" in problem.equation()
    assert r"\mu \text{ is its running" in preset("bn(scale=none,running=true)").equation("latex")
    assert "running" not in preset("bn").equation()


def test_errors():
    inputs = tensors()
    for use in (
        lambda: preset("bn(running=true)").attend(*inputs),
        lambda: preset("bn(running=true)").eval().dense(*inputs),
        lambda: solve("bn(running=true)", inputs[1], inputs[2]),
    ):
        with pytest.raises(ArgumentError, match=r"call problem\.bind\(heads, head_dim\) first"):
            use()
    with pytest.raises(SpecError, match=r"momentum must be a number from 0 to 1; got 1\.5"):
        preset("bn(running=true,momentum=1.5)")
    with pytest.raises(ArgumentError, match="seen no training batch"):
        kernel_scale(bound("bn(running=true)"), inputs[1])


def test_regression_uses_the_averages_whatever_the_mode(tmp_path):
    query, key, value = tensors(batch=1, length=12)
    problem = bound("bn(running=true)")
    problem.attend(*tensors(seed=3))
    unit = kernel_scale(problem, key)
    solution = solve(problem, key, value, C=10 / unit)
    assert solution.duality_gap <= 1e-6
    expected = problem.eval().attend(query, key, solution.values) + solution.intercept.unsqueeze(-2)
    assert_close(solution.predict(query), expected)
    solution.save(tmp_path / "solution")
    assert_close(SupportVectorExpansion.load(tmp_path / "solution").predict(query), expected)
    implied = implied_regression(problem.train(), query, key, value)
    assert_close(implied.outputs, problem.eval().attend(query, key, value))
    assert averages(problem).batches.tolist() == [1, 1]


def test_a_subset_of_own_pattern_is_left_out():
    problem = PrimalProblem(transform=BatchNormalization(running=True), subset=Window(1)).bind(2, 4).double()
    query, key, value = tensors()
    problem.attend(query[:, :, -2:], key, value)
    assert_close(averages(problem).running_mean, of_sequences(key)[0])


def test_two_processes_agree_with_one(tmp_path):
    root = Path(__file__).parents[2]
    script = tmp_path / "two.py"
    script.write_text(
        "import os, sys, torch\n"
        "from tests.primal.test_running_statistics import averages, bound, tensors\n"
        "torch.set_num_threads(1)\n"
        "torch.distributed.init_process_group('gloo')\n"
        "rank = torch.distributed.get_rank()\n"
        "part = slice(0, 2) if rank == 0 else slice(2, 5)\n"
        "problem = bound('bn(running=true)+sh(1,2)')\n"
        "for batch in range(3):\n"
        "    query, key, value = (each[part] for each in tensors(batch=5, seed=batch))\n"
        "    mask = (torch.arange(7) < 4).expand(len(key), 1, 1, 7) & torch.tensor(rank == 0 or batch != 1)\n"
        "    problem.attend(query, key, value, mask)\n"
        "torch.save(averages(problem).state_dict(), sys.argv[1] + os.environ['RANK'])\n"
        "torch.distributed.barrier()\n"
        "os._exit(0)\n"  # PyTorch's gloo threads now and then abort while the interpreter is taken down
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    path = os.pathsep.join([str(root), str(root / "src")])
    done = subprocess.run(
        [*launch, str(script), str(tmp_path / "averages")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    problem = bound("bn(running=true)+sh(1,2)")
    for batch in range(3):
        mask = (torch.arange(7) < 4).expand(5, 1, 1, 7).clone()
        if batch == 1:
            mask[2:] = False
        problem.attend(*tensors(batch=5, seed=batch), mask)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"averages{rank}")
        assert_close(found, dict(averages(problem).state_dict()), rtol=1e-12, atol=1e-12)


def test_pairs_that_are_formed_with_inputs_of_the_tokens_are_observed():
    problem = fed(bound("bn(running=true)+gated(2)"))
    query, key, value = tensors()
    problem.attend(query, key, value)
    shares = problem.made(query, key, value)["key_gate"]
    pooled = torch.stack(
        [
            (shares[:, :, place : place + 2].softmax(2) * key[:, :, place : place + 2]).sum(2)
            for place in range(0, 7, 2)
        ],
        2,
    )
    mean, variance = of_sequences(pooled)
    assert_close(averages(problem).running_mean, mean)
    assert_close(averages(problem).running_variance, variance)


def test_pairs_of_every_query_are_not_observed():
    problem = bound("bn(running=true)+window(2)|sh(1)|disjoint=true")
    with pytest.raises(
        UnsupportedError, match=r"running statistics.*: .*disjoint=true forms those of every query"
    ):
        problem.attend(*tensors())
    assert problem.eval().attend(*tensors()).shape == (3, 2, 7, 4)
