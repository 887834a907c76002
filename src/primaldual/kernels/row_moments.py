"""Mean and variance of keys that every query forms as sums of a few members, by products of matrices."""

from torch import Tensor

from primaldual.kernels.statistics import KeyStatistics


def moments_of_sums(share: Tensor, key: Tensor, count: Tensor) -> KeyStatistics:
    """Statistics of p_it = sum_m a_imt k_mt over the pairs t of every query i.

        sum_t p_it = sum_mt a_imt k_mt,   sum_t p_it^2 = sum_(m, n) sum_t a_imt a_int k_mt k_nt

    are products of shares and keys: (M + 1) / 2 times the work of scores, and nothing of size R x Nt x D. Their rounding
    errors are those of the mean square of the keys, so keys are best given less a vector that is near them. The variance of
    a single pair is exactly 0.

    Args:
        share: a, (batch or 1, heads or 1, R, M, Nt), 0 for pairs that a query does not have.
        key: (batch, heads, M, Nt, D).
        count: pairs of each query, (batch or 1, heads or 1, R, 1).
    """
    members, total = share.shape[-2], count.clamp(min=1)
    mean = _products(share, key) / total
    square = _products(share * share, key * key)
    for step in range(1, members):
        ahead, behind = share[..., step:, :], share[..., :-step, :]
        square = square + _products(ahead * behind, key[:, :, step:] * (2 * key[:, :, :-step]))
    variance = (square / total - mean.square()).clamp(min=0)
    return KeyStatistics(mean, variance.masked_fill(count <= 1, 0.0), count)


def moments_of_rows(key: Tensor, valid: Tensor, count: Tensor) -> KeyStatistics:
    """Statistics of keys that are given for every query.

    Args:
        key: (batch, heads, R, Nt, D).
        valid: 1 for pairs that a query has, else 0, (batch or 1, heads or 1, R, Nt).
        count: pairs of each query, (batch or 1, heads or 1, R, 1).
    """
    share = (valid / count.clamp(min=1)).unsqueeze(-2)
    mean = share @ key
    return KeyStatistics(mean.squeeze(-2), (share @ (key - mean).square()).squeeze(-2), count)


def _products(share: Tensor, key: Tensor) -> Tensor:
    """sum_mt a_imt k_mt: (batch, heads, R, D), of all heads at once where they have the same shares."""
    share, (heads, width) = share.flatten(-2), (key.shape[1], key.shape[-1])
    if share.shape[1] == heads or heads == 1:
        return share @ key.flatten(2, 3)
    columns = key.flatten(2, 3).transpose(1, 2).flatten(2).unsqueeze(1)
    return (share @ columns).squeeze(1).unflatten(-1, (heads, width)).transpose(1, 2)
