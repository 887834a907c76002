"""Queries, keys and values as they enter a softmax: pooled by head, and normalised by statistics of what is attended."""

from typing import NamedTuple

from torch import Tensor

from primaldual.kernels.gpu.batch_norm import normalize
from primaldual.kernels.gpu.keys import Pools, pools
from primaldual.kernels.gpu.normalization import Normalization
from primaldual.kernels.gpu.pools import chunk_of, pool
from primaldual.kernels.gpu.prefix_batch_norm import prefix_normalized
from primaldual.kernels.layout import SEQUENCE, Layout


class Setting(NamedTuple):
    """What an attention is beside its tensors.

    Attributes:
        scale: factor on the scores.
        scales: of every key head, the length of the windows whose means it attends; None = the keys themselves.
        normalization: by the statistics of what every query attends; None = none.
        is_causal: a query attends the windows before its own and the mean of its own so far.
        layout: what windows are made of, without a suffix; causal windows are those of a sequence.
    """

    scale: float
    scales: tuple[int, ...] | None
    normalization: Normalization | None
    is_causal: bool
    layout: Layout = SEQUENCE

    def windows(self, key: Tensor) -> Pools | None:
        """The pools of keys (batch, kv heads, Nk, D)."""
        return None if self.scales is None else pools(self.scales, key.shape[2], key.device, self.layout)


class Entering(NamedTuple):
    """What enters.

    Attributes:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D), or pools (batch, 1, total, D).
        value: the same with Dv.
        members: keys and values that causal pools are of, whose means so far queries attend.
        windows: the pools.
        valid: which keys or pools count; None = all.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    members: tuple[Tensor, Tensor] | None
    windows: Pools | None
    valid: Tensor | None = None


def entering(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    setting: Setting,
    statistics: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Entering, Tensor | None]:
    """What enters the softmax, and statistics from which a second call gives the same in fewer passes.

    Args:
        query: (batch, heads, Nq, D), last stride 1.
        key: (batch, kv heads, Nk, D).
        value: (batch, kv heads, Nk, Dv).
        setting: what becomes of them.
        statistics: those that an earlier call gave; None = they are taken.
        valid: bool (batch, kv heads, Nk), last stride 1: which keys count; None = all. Not if causal.

    Returns:
        What enters; float32 mu and 1 / s (batch, kv heads, 2, D), causal the states of prefixes (see
        :func:`primaldual.kernels.gpu.prefix_states.prefix_states`), None without normalization.
    """
    windows, normalization = setting.windows(key), setting.normalization
    if normalization and setting.is_causal:
        query, key, statistics = prefix_normalized(query, key, windows, normalization, statistics)
    members = (key, value) if setting.is_causal and windows else None
    if normalization and not setting.is_causal:
        chunk = chunk_of(windows.longest if windows else key.shape[2], windows is not None)
        pooled = pool(key, value, windows, statistics is None, chunk, valid)
        place = (windows, pooled.key) if windows else None
        given = pooled if statistics is None else statistics
        query, key, statistics = normalize(query, key, given, chunk, place, normalization, valid)
        value, valid = pooled.value, pooled.valid
    elif windows:
        key, value, valid, *_ = pool(key, value, windows, False, None, valid)
    return Entering(query, key, value, members, windows, valid), statistics
