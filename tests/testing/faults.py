"""Attentions with one planted fault each, and the check that must find it."""

from __future__ import annotations

import torch
from torch import nn

from primaldual import PrimalProblem, Transform
from primaldual.errors import UnsupportedError
from primaldual.primal.feature_maps import TruncatedTaylor


class Taylor(PrimalProblem):
    """An attention without a fault; subclasses change what attend gives."""

    def __init__(self, **parts):
        super().__init__(TruncatedTaylor(2), **parts)


class Inexact(Taylor):
    def attend(self, *inputs, **options):
        return 1.001 * super().attend(*inputs, **options)


class HalvedMap(Taylor):
    def attention_map(self, *inputs, **options):
        return super().attention_map(*inputs, **options) / 2


class WrongGradient(Taylor):
    def attend(self, query, *rest, **options):
        return super().attend(query, *rest, **options) + 0.1 * (query - query.detach())


class FlatAtZero(Taylor):
    def attend(self, query, *rest, **options):
        return super().attend(torch.where(query == 0, query.detach(), query), *rest, **options)


class ReadsPadding(Taylor):
    def attend(self, query, key, *rest, **options):
        return super().attend(query, key, *rest, **options) + 0 * key.sum()


class FillsEmptyRows(Taylor):
    def attend(self, *inputs, **options):
        out = super().attend(*inputs, **options)
        return torch.where(out == 0, 1e-3, out)


class NeedsSamples(Taylor):
    def attend(self, query, *rest, **options):
        if not query.shape[0]:
            raise ValueError("planted")
        return super().attend(query, *rest, **options)


class SeesFuture(Taylor):
    def attend(self, query, key, value, mask=None, is_causal=False, dropout_p=0.0):
        out = super().attend(query, key, value, mask, is_causal, dropout_p)
        return out + 1e-3 * key[:, :, -1:].mean() if is_causal else out


class MixesSamples(Taylor):
    def attend(self, *inputs, **options):
        out = super().attend(*inputs, **options)
        return out + 1e-3 * out.mean(0)


class OverflowsInBfloat16(Taylor):
    def attend(self, query, *rest, **options):
        out = super().attend(query, *rest, **options)
        return out * torch.inf if query.dtype == torch.bfloat16 else out


class LosesDigits(Taylor):
    def attend(self, *inputs, **options):
        out = super().attend(*inputs, **options)
        return (out + 1000) - 1000 if out.dtype == torch.float32 else out


class RoundsByLargestKey(Taylor):
    def attend(self, query, key, *rest, **options):
        out, largest = super().attend(query, key, *rest, **options), key.amax()
        return (out + largest) - largest


class DiffersInTraining(Taylor):
    def attend(self, *inputs, **options):
        out = super().attend(*inputs, **options)
        return 1.001 * out if self.training else out


class AssumesContiguous(Taylor):
    def attend(self, query, *rest, **options):
        strides = torch.empty(query.shape, device="meta").stride()
        return super().attend(query.as_strided(query.shape, strides), *rest, **options)


class StepsAstray(Taylor):
    def step(self, state, *token):
        return super().step(state, *token) + 1e-3 * (sum(state.lengths) > 10)


class StepsIntoPadding(Taylor):
    def step(self, state, query, key, value, valid=None):
        out = super().step(state, query, key, value, valid)
        return out if valid is None else torch.where(valid[:, None, :, None], out, 1e-3)


class StepsLoseDigits(Taylor):
    def step(self, state, *token):
        out = super().step(state, *token)
        return (out + 1000) - 1000 if out.dtype == torch.float32 else out


class _Opaque(torch.autograd.Function):
    """Its gradient has no graph, so second derivatives are zero without a word."""

    @staticmethod
    def forward(ctx, call, *inputs):
        ctx.call = call
        ctx.save_for_backward(*inputs)
        return call(*inputs)

    @staticmethod
    def backward(ctx, seed):
        leaves = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            out = ctx.call(*leaves)
        return None, *torch.autograd.grad(out, leaves, seed.detach())


class OpaqueGradient(Taylor):
    def attend(self, query, key, value, *rest, **options):
        attend = super().attend
        return _Opaque.apply(lambda *inputs: attend(*inputs, *rest, **options), query, key, value)


def _transformed(*tensors):
    return any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors)


class RefusesTransforms(Taylor):
    """No fault: it says what it does not offer."""

    def attend(self, query, key, value, *rest, **options):
        if _transformed(query, key, value):
            raise UnsupportedError(f"{self.spec()} is not offered under torch.func")
        return super().attend(query, key, value, *rest, **options)


class RefusesNamelessly(Taylor):
    def attend(self, query, key, value, *rest, **options):
        if _transformed(query, key, value):
            raise UnsupportedError("not offered under torch.func")
        return super().attend(query, key, value, *rest, **options)


class BakesMask(Taylor):
    def attend(self, query, key, value, mask=None, *rest, **options):
        mask = None if mask is not None and bool(mask.all()) else mask
        return super().attend(query, key, value, mask, *rest, **options)


class BreaksGraph(Taylor):
    def attend(self, query, *rest, **options):
        return super().attend(query, *rest, **options) + float(query.detach().sum().tolist())


class OneLength(Taylor):
    def attend(self, query, *rest, **options):
        zeros = torch.tensor([0.0] * query.shape[2], dtype=query.dtype)
        return super().attend(query, *rest, **options) + zeros[:, None]


class Gain(Transform):
    """A gain for every head, on queries and keys."""

    name = "gain"

    def __init__(self):
        super().__init__()
        self.gain = None

    def bind(self, heads, head_dim):
        self.gain = nn.Parameter(torch.ones(heads, dtype=torch.float64))
        return self

    def keep_heads(self, members, heads):
        self.gain = nn.Parameter(self.gain.detach()[members])

    def by_head(self, members):
        return self.gain[members].view(-1, 1, 1)

    def dense(self, query, keys, valid, heads):
        gain = self.by_head(heads.members).to(query.dtype)
        return gain * query, gain.unsqueeze(-1) * keys

    def shared_refusal(self, kind):
        return None

    def shared(self, query, training, heads):
        gain = self.by_head(heads.members).to(query.dtype)
        training = training.for_query_heads(query.shape[1])
        return gain * query, training.with_keys(gain * training.key)


class DetachedGain(Gain):
    """Its fast form forgets that the gain is learned."""

    def shared(self, query, training, heads):
        gain = self.by_head(heads.members).to(query.dtype).detach()
        training = training.for_query_heads(query.shape[1])
        return gain * query, training.with_keys(gain * training.key)


class DoubledGradient(Gain):
    """Both forms share one wrong gradient."""

    def by_head(self, members):
        return super().by_head(members) + (self.gain - self.gain.detach())[members].view(-1, 1, 1)


class DetachedBuffer(DetachedGain):
    """The same with a buffer in place of the parameter."""

    def bind(self, heads, head_dim):
        del self.gain
        self.register_buffer("gain", torch.ones(heads, dtype=torch.float64))
        return self


class GainOfAllHeads(Gain):
    """It does not forget the gains of heads that go."""

    def keep_heads(self, members, heads):
        pass


class Stolen(Gain):
    name = "bn"


class Nameless(Gain):
    def spec(self):
        return ""


class HiddenArgument(Gain):
    def __init__(self, power=2):
        super().__init__()
        self.power = power


class ForeignSpec(Taylor):
    def spec(self):
        return "linear"


class TakesEveryState(Taylor):
    def step(self, state, query, key, value, valid=None):
        return torch.zeros_like(query)


class Raises(Gain):
    def shared(self, query, training, heads):
        raise ValueError("planted")
