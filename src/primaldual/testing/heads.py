"""Check of keep_heads: a problem that forgets heads."""

from __future__ import annotations

import copy

import torch

from primaldual.errors import SpecError
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.testing.comparing import close
from primaldual.testing.fed_problem import fed
from primaldual.testing.inputs import masks, tensors


def check_keep_heads(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """A problem that keeps some heads gives what the whole one gives at them, also from its state_dict."""
    query, key, value = (tensor.detach() for tensor in tensors(heads, head_dim, length, device=device))
    pattern = masks(2, heads, length, length, device)["pattern"]
    was_training = problem.training
    whole = copy.deepcopy(problem).eval()
    for members in ([heads - 1], [heads - 1, *range(0, heads - 1, 2)]):
        scene = f"{problem.spec()}, heads {members} of {heads}"
        advice = "a part with something of its own for every head implements keep_heads(members, heads)"
        fewer = copy.deepcopy(whole)
        try:
            for part in fewer.parts():
                part.keep_heads(list(members), heads)
            for mask in (None, pattern):
                inputs = query[:, members], key[:, members], value[:, members]
                picked = None if mask is None else mask[:, members]
                for form in ("attend", "dense"):
                    found = getattr(fewer, form)(*inputs, picked)
                    wanted = getattr(whole, form)(query, key, value, mask)[:, members]
                    close(found, wanted, f"{scene}, {form}; {advice}")
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{scene}: {type(error).__name__}: {error}; {advice}") from error
        restored = copy.deepcopy(fewer)
        with torch.no_grad():
            for parameter in restored.parameters():
                parameter.add_(1)
        twins = [restored, *_rebuilt(fewer, len(members), head_dim, device)]
        wanted = fewer.attend(*inputs)
        for twin in twins:
            twin.load_state_dict(fewer.state_dict())
            close(twin.eval().attend(*inputs), wanted, f"{scene}, after load_state_dict")
    assert problem.training == was_training


def _rebuilt(problem: PrimalProblem, heads: int, head_dim: int, device: str) -> list[PrimalProblem]:
    """The problem from its spec, if that can be read; parts without a word, and fixed masks, cannot."""
    try:
        return [fed(preset(problem.spec())).bind(heads, head_dim).to(device)]
    except SpecError:
        return []
