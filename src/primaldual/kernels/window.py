"""Softmax attention and key statistics over a sliding window, with memory linear in the length."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.errors import ArgumentError
from primaldual.kernels.band_moments import band_moments, plain_moments
from primaldual.kernels.band_softmax import BandCall, plain_band
from primaldual.kernels.bands import Alignment, Band
from primaldual.kernels.heads import attendable_only, check_heads
from primaldual.kernels.merged import SinkCall, attention_of
from primaldual.kernels.modes import in_graph


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    radius: int,
    *,
    key_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    dropout_p: float = 0.0,
    sink: Tensor | None = None,
) -> Tensor:
    """Softmax attention of every query to the keys within ``radius`` positions of it.

        out_i = sum_{j in W(i)} exp(s q_i . k_j) v_j / sum_{j in W(i)} exp(s q_i . k_j)
        W(i) = {j : |p_i - j| <= radius, and j <= p_i if causal},   p_i = i + Nk - Nq

    A row whose window holds no attendable key is exactly 0. Time and memory grow with N * radius.

    Args:
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D); kv heads divides heads, query head h uses kv head
            ``h // (heads // kv heads)``.
        value: (batch, kv heads, Nk, Dv).
        radius: how many positions away a key may stand, 0 or more.
        key_mask: bool broadcastable to (batch, heads or kv heads, 1, Nk), True = may attend; masked
            keys and values may hold anything, NaN too.
        is_causal: also leave out the keys after the query.
        scale: factor s on the scores; 1 / sqrt(D) when None.
        dropout_p: probability of dropping a weight.
        sink: score of one more pair, of value 0: (batch or 1, heads, Nq or 1), without dropout on the CPU alone.

    Returns:
        (batch, heads, Nq, Dv).

    Raises:
        ArgumentError: radius is negative.
        ShapeError: the tensors do not fit together.

    Example:
        >>> query = key = torch.zeros(1, 1, 4, 2)
        >>> value = torch.tensor([0.0, 1.0, 2.0, 5.0]).reshape(1, 1, 4, 1)
        >>> window_attention(query, key, value, 1, is_causal=True).flatten().tolist()
        [0.0, 0.5, 1.5, 3.5]
    """
    _check_radius(radius)
    check_heads(query, key, value)
    heads, query_length, head_dim = query.shape[1:]
    value_dim = value.shape[3]
    if query.numel() == 0:
        return query.new_zeros(*query.shape[:3], value_dim)
    scale = head_dim**-0.5 if scale is None else scale
    key_mask, (key, value) = attendable_only(key_mask, heads, key, value)
    align = Alignment.of(query_length, key.shape[2], radius)
    key_mask = align.mask(key_mask, key.shape[2], key.device)
    query, key, value = align.queries(query), align.keys(key), align.keys(value)
    band = _band(radius, is_causal, query.shape[2])
    width = max(head_dim, value_dim)
    query, key, value = (_widen(tensor, width) for tensor in (query, key, value))
    if query.device.type == "cpu" and dropout_p == 0.0 and not in_graph():
        call = BandCall(key, value, band, scale, key_mask)
        if sink is not None and sink.shape[2] > 1:
            sink = align.queries(sink.unsqueeze(-1)).squeeze(-1)
        out = attention_of(call if sink is None else SinkCall(call, sink), query)
    else:
        out = plain_band(query, key, value, band.seen(key, key_mask), band, scale, dropout_p)
    return out[:, :, align.query_padding :, :value_dim]


def window_statistics(
    key: Tensor,
    radius: int,
    *,
    query_length: int,
    key_mask: Tensor | None = None,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of the attendable keys in every query's window.

        mean_i = 1 / |W(i)| sum_{j in W(i)} k_j,    variance_i = 1 / |W(i)| sum_{j in W(i)} (k_j - mean_i)^2

    with W(i) as in :func:`window_attention`; both are 0 over an empty window. Sums are taken about the
    mean of the slab, so a large common mean costs no digits; half precision is summed in float32.

    Args:
        key: (batch, kv heads, Nk, D).
        radius: how many positions away a key may stand, 0 or more.
        query_length: Nq; the last query stands at the last key.
        key_mask: bool broadcastable to (batch, kv heads, 1, Nk), True = may attend.
        is_causal: also leave out the keys after the query.

    Returns:
        Mean and variance, (batch, kv heads, Nq, D), float32 for half-precision keys.

    Raises:
        ArgumentError: radius is negative.
        ShapeError: key is not 4-D or the mask's heads do not fit.

    Example:
        >>> key = torch.tensor([1.0, 3.0, 8.0]).reshape(1, 1, 3, 1)
        >>> mean, variance = window_statistics(key, 1, query_length=3, is_causal=True)
        >>> mean.flatten().tolist(), variance.flatten().tolist()
        ([1.0, 2.0, 5.5], [0.0, 1.0, 6.25])
    """
    _check_radius(radius)
    check_heads(key, key, key)
    key_mask, (key,) = attendable_only(key_mask, key.shape[1], key)
    heads, key_length, head_dim = key.shape[1:]
    key = key.to(torch.promote_types(key.dtype, torch.float32))
    if key.numel() == 0 or query_length == 0:
        empty = key.new_zeros(key.shape[0], heads, query_length, head_dim)
        return empty, empty.clone()
    align = Alignment.of(query_length, key_length, radius)
    key_mask = align.mask(key_mask, key_length, key.device)
    key = align.keys(key)
    shared = key_mask is None or key_mask.shape[1] == 1
    if shared:  # heads beside the features: one wide product instead of many narrow ones
        key = key.transpose(1, 2).flatten(2).unsqueeze(1)
    band = _band(radius, is_causal, key.shape[2])
    moments = plain_moments if in_graph() else band_moments
    mean, variance = moments(key, band.seen(key, key_mask), band)
    if shared:
        mean, variance = (
            torch.unflatten(part.squeeze(1), -1, (heads, head_dim)).transpose(1, 2)
            for part in (mean, variance)
        )
    return mean[:, :, align.query_padding :], variance[:, :, align.query_padding :]


def window_call(
    key: Tensor, value: Tensor, radius: int, *, key_mask: Tensor | None, is_causal: bool, scale: float
) -> BandCall:
    """:func:`window_attention` of as many queries as keys, as wide as values, as a call that saves nothing itself."""
    return BandCall(key, value, _band(radius, is_causal, key.shape[2]), scale, key_mask)


def window_counts(
    key_mask: Tensor | None,
    radius: int,
    *,
    query_length: int,
    key_length: int,
    is_causal: bool,
    device: torch.device,
) -> Tensor:
    """Attendable keys in every query's window, (batch or 1, heads or 1, Nq, 1).

    Example:
        >>> window_counts(None, 1, query_length=2, key_length=3, is_causal=False, device=torch.device("cpu")).flatten()
        tensor([3, 2])
    """
    if key_mask is None:
        key_mask = torch.ones(1, 1, 1, key_length, dtype=torch.bool, device=device)
    before = pad(key_mask.long().cumsum(-1), (1, 0))
    position = torch.arange(query_length, device=device) + key_length - query_length
    first = (position - radius).clamp(0, key_length)
    last = (position + (1 if is_causal else radius + 1)).clamp(0, key_length)
    return (before[..., last] - before[..., first]).transpose(-2, -1)


def _check_radius(radius: int) -> None:
    if radius < 0:
        raise ArgumentError(f"radius must be 0 or more; got {radius}")


def _band(radius: int, is_causal: bool, length: int) -> Band:
    """Cut the sequence into blocks, unless one slab would be most of it anyway."""
    after = 0 if is_causal else radius
    band = Band.cut(radius, after, min(max(radius, 32), 64))
    if not in_graph() and length <= band.slab:
        return Band.whole(radius, after, length)
    return band


def _widen(tensor: Tensor, width: int) -> Tensor:
    """Zeros behind the features: the flash kernel wants keys and values of one width."""
    return tensor if tensor.shape[-1] == width else pad(tensor, (0, width - tensor.shape[-1]))
