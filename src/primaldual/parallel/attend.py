"""The attention of a sequence that is split over processes, as one call."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from primaldual.parallel.sharded_attention import ShardedAttention
from primaldual.parallel.shards import check_group, telling_others
from primaldual.primal.attention import Attention
from primaldual.primal.presets import preset
from primaldual.primal.token_inputs import Inputs


def attend(
    problem: Attention | str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    *,
    inputs: Inputs | None = None,
    group: Any = None,
) -> Tensor:
    r"""The rows of ``problem.attend`` that belong to the queries of this process: (batch, heads, nq, Dv).

        out_i = sum_j kappa(T q_i, T k_j) / h(q_i) v_j    for the queries i of this process, j over the keys of all

    Every process of the group calls it, with its own stretch of the sequence in the order of the ranks. Keys and values
    travel as they are pooled; :func:`traffic` counts the bytes. The gradients of ``query``, ``key`` and ``value`` are those
    of the sum of all processes' losses. Every process must run its backward. The gradients of parameters and buffers of
    ``problem`` are this process's share: add them up over the group.

    Args:
        problem: a problem or its spec, the same on every process, parameters included.
        query: (batch, heads, nq, D), the queries of this process.
        key: (batch, kv heads, n, D), the keys of this process; lengths may differ from process to process.
        value: (batch, kv heads, n, Dv).
        mask: bool, True = may attend, of this process's keys: broadcastable to (batch, heads, 1, n).
        is_causal: query i of the whole sequence attends no key behind position i; every process then has nq = n.
        dropout_p: probability of dropping a weight; each process draws for its own queries.
        inputs: what the parts need of this process's tokens, by name.
        group: the process group; None = the default one.

    Raises:
        UnsupportedError: an attention that a process cannot compute from its own queries, see ``docs/parallel.md``; a mask
            that differs by query; torch.distributed is not initialised.
        ShapeError: tensors that do not fit, or a process without a key or a query.
        ArgumentError: processes that call with different settings, or of which one raised an error.

    Example:
        >>> import torch
        >>> from primaldual import preset
        >>> store = torch.distributed.HashStore()
        >>> torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        >>> problem, (query, key, value) = preset("bn+sh(1,2)"), torch.randn(3, 1, 2, 6, 8).unbind(0)
        >>> torch.allclose(attend(problem, query, key, value), problem.attend(query, key, value), atol=1e-6)
        True
        >>> torch.distributed.destroy_process_group()
    """
    check_group(group)
    with telling_others(query.device, group):  # a word may be known to some processes alone
        attention = preset(problem) if isinstance(problem, str) else problem
    sharded = ShardedAttention(attention, group)
    return sharded.attend(query, key, value, mask, is_causal, dropout_p, inputs=inputs)
