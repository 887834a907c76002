"""What every process of the tests' group does: `python -m tests.parallel.worker RANK RENDEZVOUS FINDINGS`."""

import json
import os
import sys
from datetime import timedelta
from unittest.mock import patch

import torch
from examples.sequence_parallel import compare
from torch import distributed as dist

import primaldual as pdl
from primaldual.nn.encoder import Encoder
from primaldual.parallel import attend, sharded, traffic
from primaldual.primal.head_groups import HeadGroups
from tests.parallel.cases import CUTS, HALVES, SPECS, TRAFFIC

HEADS, KV_HEADS, WIDTH = 4, 2, 6


def made(spec):
    """A problem with parameters off their first values, the same on every process."""
    torch.manual_seed(0)
    if spec == "groups":
        return HeadGroups([(pdl.preset("bn+sh(3)"), [0, 3]), (pdl.preset("softmax"), [1, 2])])
    problem = pdl.preset(spec).bind(HEADS, WIDTH).double()
    with torch.no_grad():
        for parameter in problem.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return problem


def definition(problem, query, key, value, mask, is_causal, inputs):
    """The outputs by the definition, of every group of heads."""
    if not isinstance(problem, HeadGroups):
        return problem.dense(query, key, value, mask, is_causal, inputs=inputs)
    out, sharing = torch.empty_like(query), HEADS // KV_HEADS
    for part, members in problem.problems():
        shared = [head // sharing for head in members]
        out[:, members] = part.dense(query[:, members], key[:, shared], value[:, shared], mask, is_causal)
    return out


def drawn(problem, length, masked):
    """Tensors of the whole sequence: query, key, value, what the outputs are weighted by, mask, inputs."""
    tensors = [torch.randn(2, heads, length, WIDTH).double() for heads in (HEADS, KV_HEADS, KV_HEADS, HEADS)]
    mask = torch.rand(2, 1, 1, length) > 0.3 if masked else None
    inputs = {
        name: (neutral.nan_to_num() - torch.rand(neutral.shape)).requires_grad_()
        for name, neutral in problem.neutral_inputs(*tensors[:3]).items()
    }
    return [tensor.requires_grad_() for tensor in tensors[:3]], tensors[3], mask, inputs


def largest_error(found, wanted):
    return max((a - b).abs().max().item() for a, b in zip(found, wanted, strict=True))


def difference(spec, is_causal, masked, cuts, group):
    """By how much the outputs and all gradients differ from those of one process, at most."""
    problem, rank = made(spec), dist.get_rank(group)
    start, stop = sum(cuts[:rank]), sum(cuts[: rank + 1])
    (query, key, value), weight, mask, inputs = drawn(problem, sum(cuts), masked)
    leaves, parameters = (query, key, value, *inputs.values()), tuple(problem.parameters())
    whole = definition(problem, query, key, value, mask, is_causal, inputs)
    gradients = torch.autograd.grad(whole, leaves + parameters, weight, materialize_grads=True)

    def mine(tensor):
        return tensor.detach()[:, :, start:stop]

    own = [mine(leaf).clone().requires_grad_() for leaf in leaves]
    own_mask = None if mask is None else mask[..., start:stop]
    given = dict(zip(inputs, own[3:], strict=True))
    out = attend(problem, *own[:3], own_mask, is_causal, inputs=given, group=group)
    found = torch.autograd.grad(out, (*own, *parameters), mine(weight), materialize_grads=True)
    shares = [share.clone() for share in found[len(own) :]]
    for share in shares:
        dist.all_reduce(share, group=group)
    wanted = [mine(whole), *map(mine, gradients[: len(own)]), *gradients[len(own) :]]
    return largest_error([out, *found[: len(own)], *shares], wanted)


def half_precision_errors(spec, is_causal, cuts):
    """Squared errors of bfloat16 outputs and gradients beside the definition in float64: sharded, and on one process.

    The keys lie far from 0, as their means do, which differ by little.
    """
    problem, rank = made(spec), dist.get_rank()
    mine = slice(sum(cuts[:rank]), sum(cuts[: rank + 1]))
    (query, key, value), weight, mask, _ = drawn(problem, sum(cuts), True)
    halves = [tensor.detach().bfloat16() for tensor in (query, key + 3, value)]

    def with_gradients(call, tensors, of_outputs):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        out = call(*leaves)
        return [out.detach(), *torch.autograd.grad(out, leaves, of_outputs.to(out.dtype))]

    whole = with_gradients(
        lambda *given: problem.dense(*given, mask, is_causal), map(torch.Tensor.double, halves), weight
    )
    alone = with_gradients(lambda *given: problem.attend(*given, mask, is_causal), halves, weight)
    own = with_gradients(
        lambda *given: attend(problem, *given, mask[..., mine], is_causal),
        [half[:, :, mine] for half in halves],
        weight[:, :, mine],
    )
    return [
        [(found - wanted[:, :, mine]).square().sum().item() for found in (sharded, one[:, :, mine])]
        for sharded, one, wanted in zip(own, alone, whole, strict=True)
    ]


def bytes_received(spec, is_causal, dtype, cuts, group):
    """Bytes of floating tensors that this process receives in the forward and in the backward, counted and told."""
    problem, rank, processes, dtype = made(spec), dist.get_rank(group), len(cuts), getattr(torch, dtype)
    key, value = torch.randn(2, 2, KV_HEADS, cuts[rank], WIDTH).to(dtype).requires_grad_().unbind(0)
    query = torch.randn(2, HEADS, cuts[rank], WIDTH).to(dtype)
    received = [0]

    def counted(name):
        collective = getattr(dist, name)

        def call(*tensors, group=None):
            moved = tensors[-1] if isinstance(tensors[-1], torch.Tensor) else tensors[-1][0]
            if moved.is_floating_point():
                share = 2 / processes if name == "all_reduce" else 1
                received[0] += int(share * (processes - 1) * moved.nbytes)
            return collective(*tensors, group=group)

        return patch.object(dist, name, call)

    with counted("all_gather"), counted("reduce_scatter"), counted("all_reduce"):
        out = attend(problem, query, key, value, is_causal=is_causal, group=group)
        forward = received[0]
        out.sum().backward()
    said = traffic(problem, cuts, HEADS, WIDTH, is_causal, kv_heads=KV_HEADS, batch=2, dtype=dtype, rank=rank)
    return [[forward, received[0] - forward], [said.forward, said.total - said.forward]]


def encoder_difference(cuts, group):
    """The same for the parameters and outputs of an encoder."""
    torch.manual_seed(1)
    rank, model = dist.get_rank(group), Encoder(2, 12, 3, 8, attention="bn+sh(1,2,4)").double()
    tokens, padding = torch.randn(2, sum(cuts), 12).double(), torch.rand(2, sum(cuts)) > 0.8
    weight, mine = torch.randn_like(tokens), slice(sum(cuts[:rank]), sum(cuts[: rank + 1]))
    whole = model(tokens, padding)
    gradients = torch.autograd.grad(whole, tuple(model.parameters()), weight)
    with sharded(model, group):
        out = model(tokens[:, mine], padding[:, mine])
    shares = torch.autograd.grad(out, tuple(model.parameters()), weight[:, mine])
    for share in shares:
        dist.all_reduce(share, group=group)
    return largest_error([out, *shares], [whole[:, mine], *gradients])


def refused(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def refusals(rank):
    """What every process says to calls that cannot be: none may wait for one that has left."""
    tokens = torch.randn(3, 1, 2, 4, 8)
    layer, embedded = pdl.MultiheadAttention(8, 2, batch_first=True), torch.randn(1, 4, 8)

    def with_weights():
        with sharded(layer):
            layer(embedded, embedded, embedded)

    def twice():
        leaves = tokens.clone().requires_grad_()
        torch.autograd.grad(attend("linear+bn", *leaves).sum(), leaves, create_graph=True)

    return {
        "mixing": refused(lambda: attend("conv(3,queries=true)", *tokens)),
        "mask by query": refused(lambda: attend("softmax", *tokens, torch.ones(4, 4).bool())),
        "empty": refused(lambda: attend("softmax", *tokens[:, :, :, : 4 * (rank != 1)])),
        "lengths": refused(lambda: attend("bn", tokens[0, :, :, :3], *tokens[1:], is_causal=True)),
        "specs": refused(lambda: attend("bn" if rank else "softmax", *tokens)),
        "one": refused(lambda: attend("softmax", *(tokens if rank else tokens[..., 0, :]))),
        "word": refused(lambda: attend("softmax" if rank else "softmaxx", *tokens)),
        "no tensor": refused(lambda: attend("softmax", *tokens[:2], tokens[2] if rank else None)),
        "gradients": refused(lambda: attend("softmax", *tokens.clone().requires_grad_(rank == 2))),
        "weights": refused(with_weights),
        "second derivatives": refused(twice),
    }


def main(rank, rendezvous, findings):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=3, timeout=timedelta(seconds=60)
    )
    pair = dist.new_group([0, 1])
    found = {"refusals": refusals(rank), "example": compare("bn+sh(1,1,2,4)", 22)}
    found["half"] = [half_precision_errors(*case, CUTS[3]) for case in HALVES]
    for processes, group in ((2, pair), (3, None)):
        if rank >= processes:
            continue
        cuts = CUTS[processes]
        for spec, is_causal, masked in SPECS:
            found[f"{processes} {spec} {is_causal} {masked}"] = difference(
                spec, is_causal, masked, cuts, group
            )
        found[f"{processes} encoder"] = encoder_difference(cuts, group)
        found[f"{processes} traffic"] = [bytes_received(*case, cuts, group) for case in TRAFFIC]
    with open(f"{findings}-{rank}.json", "w") as file:
        json.dump(found, file)
    dist.barrier()
    os._exit(0)  # PyTorch's gloo threads now and then abort while the interpreter is taken down


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
