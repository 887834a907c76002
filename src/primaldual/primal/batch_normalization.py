"""Batch normalisation of queries and keys by the keys' statistics, as an input transform."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.kernels import dense
from primaldual.kernels.arguments import finite, flag, shown
from primaldual.kernels.batch_norm import batch_normalized_query, recentred
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.modes import in_graph
from primaldual.kernels.prefix_batch_norm import prefix_normalized_query
from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype, statistics_of_every_query
from primaldual.primal.batch_norm_decoding import NormalizedByAverages, NormalizedByPrefix
from primaldual.primal.batch_norm_formula import batch_norm_formula, gain_formula
from primaldual.primal.decoding.incremental import Incremental
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.joined_sets import JoinedSet
from primaldual.primal.row_pairs import RowPairs
from primaldual.primal.running_statistics import RunningStatistics
from primaldual.primal.training_sets import ALL, OWN, Kind, TrainingSet
from primaldual.primal.transforms import AffineMap, Standardization, Transform

SCALES = ("inv_std", "none")
GAINS = ("head", "feature")

SMALLEST_EPS = 1e-30
"""Above what float32 rounds to 0, so that keys that are all the same divide by something."""


class BatchNormalization(Transform):
    """T(x) = (x - beta mu) / sqrt(sigma^2 + eps), mu and sigma^2 the mean and biased variance of the training keys.

    The same statistics serve queries and keys; they are taken per head and per sequence over the
    keys that a query may attend. Softmax ignores what does not depend on the key, so

        softmax_j(T(q) . T(k_j) / sqrt(D)) = softmax_j((q - beta mu) / (sigma^2 + eps) . k_j / sqrt(D)):

    ordinary attention with a modified query. Source: Attention-BN, Nguyen et al., ICLR 2023.

    With ``running`` every sequence is normalised by its own keys in training, as without, and running averages
    follow; in evaluation they take the place of mu and sigma^2 for every sequence, causal or masked
    alike, as in :class:`torch.nn.InstanceNorm1d` with ``track_running_stats=True``.

    Args:
        beta: how much of the mean is subtracted.
        scale: "inv_std" divides by the deviation, "none" only recentres.
        eps: added to the variance; same unit as the squared keys.
        learnable: beta is a parameter, one scalar per head, starting at ``beta``; needs ``bind``.
        running: keep running statistics, see :class:`RunningStatistics`; needs ``bind``.
        momentum: least weight of the newest batch in them, from 0 (plain mean over batches) to 1.
        gain: a learned factor g on T(x) . T(k), as batch normalisation layers have one, starting at ``gain``: the
            metric of the regression becomes diag(g / (sigma^2 + eps)). None = no gain. Needs ``bind``.
        per: what has a gain of its own, "head" or "feature" (of every head).

    Attributes:
        averages: the :class:`RunningStatistics`, or None.

    Raises:
        ArgumentError: an unknown scale, eps not above 0, or a momentum outside [0, 1].

    Example:
        >>> from primaldual import PrimalProblem
        >>> problem = PrimalProblem(transform=BatchNormalization(running=True)).bind(heads=1, head_dim=2)
        >>> query, key, value = torch.randn(3, 1, 1, 5, 2).unbind(0)
        >>> trained = problem.attend(query, key, value)
        >>> torch.allclose(problem.eval().attend(query, key, value), trained, atol=1e-5)
        True
    """

    name = "bn"
    summary = "Attention-BN: the keys' mean and variance inside the score"
    cost = "that of softmax, about"
    examples = (
        "bn",
        "bn(beta=0.8)",
        "bn(scale=none)",
        "bn(beta=0.5,learnable=true)",
        "bn(gain=0.2)",
        "bn(gain=1,per=feature)",
    )
    repeatable = True
    acts_on_queries = True

    def __init__(
        self,
        *,
        beta: float = 1.0,
        scale: str = "inv_std",
        eps: float = 1e-5,
        learnable: bool = False,
        running: bool = False,
        momentum: float = 0.1,
        gain: float | None = None,
        per: str = "head",
    ) -> None:
        super().__init__()
        if per not in GAINS or (gain is None and per != "head"):
            raise ArgumentError(
                f"per must be one of {', '.join(GAINS)}, beside a gain; got {shown(per)}, gain {gain}"
            )
        if scale not in SCALES:
            raise ArgumentError(f"scale must be one of {', '.join(SCALES)}; got {shown(scale)}")
        self.beta = finite("beta", beta)
        self.scale = scale
        self.eps = finite("eps", eps, SMALLEST_EPS)
        self.learnable = flag("learnable", learnable)
        self.head_beta: nn.Parameter | None
        self.register_parameter("head_beta", None)
        self.gain = None if gain is None else finite("gain", gain)
        self.per = per
        self.learned_gain: nn.Parameter | None
        self.register_parameter("learned_gain", None)
        self.running = flag("running", running)
        averages = RunningStatistics(momentum)
        self.momentum = averages.momentum
        self.averages = averages if running else None

    def bind(self, heads: int, head_dim: int) -> Self:
        if self.learnable:
            self.head_beta = nn.Parameter(torch.full((heads,), self.beta))
        if self.gain is not None:
            width = head_dim if self.per == "feature" else 1
            self.learned_gain = nn.Parameter(torch.full((heads, width), self.gain))
        if self.averages is not None:
            self.averages.bind(heads, head_dim)
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        del heads
        for name in ("head_beta", "learned_gain"):
            if (learned := getattr(self, name)) is not None:
                setattr(self, name, nn.Parameter(learned.detach()[members], learned.requires_grad))
        if self.averages is not None:
            self.averages.keep_heads(members)

    @property
    def uses_statistics(self) -> bool:  # type: ignore[override] # running averages take their place
        return self.averages is None or self.training

    @property
    def observes(self) -> bool:
        return self.running and self.training

    def observe(self, training: TrainingSet, heads: HeadSet) -> None:
        if self.averages is not None:
            _, found = training.centred()
            keys = training.attendable.keys
            mean, variance = (for_query_heads(part, len(heads.members)) for part in found[:2])
            self.averages.update(
                KeyStatistics(mean, variance), None if keys is None else keys.any(-1), heads.members
            )

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        dtype, wide = query.dtype, accumulation_dtype(query.dtype)
        query, keys = query.to(wide), keys.to(wide)
        fixed = self.fixed_statistics(heads.members, wide)
        mean, variance = dense.statistics(keys, valid) if fixed is None else fixed[:2]
        deviation = (variance + self.eps).sqrt() if self.scale == "inv_std" else torch.ones_like(variance)
        offset = self._beta(heads.members) * mean
        changed = (query - offset) / deviation
        changed_keys = (keys - offset.unsqueeze(-2)) / deviation.unsqueeze(-2)
        if self.gain is not None:
            changed = self._gain(heads.members) * changed
        return changed.to(dtype), changed_keys.to(dtype)

    def per_query(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        if not self.uses_statistics:
            return self.dense(query, keys, valid, heads)
        return self.by_statistics(query, keys, KeyStatistics(*statistics_of_every_query(keys, valid)), heads)

    def by_statistics(
        self, query: Tensor, keys: Tensor, found: KeyStatistics, heads: HeadSet
    ) -> tuple[Tensor, Tensor]:
        offset = self._beta(heads.members) * found.mean
        query, keys = query - offset, keys - offset.unsqueeze(-2)
        inverse = found.variance.new_ones(()).expand_as(found.variance)
        if self.scale == "inv_std":
            inverse = (found.variance + self.eps).rsqrt()
            query = query * inverse
        if self.beta == 1 and not self.learnable and isinstance(found.seen, Tensor):
            inverse = inverse.masked_fill(found.seen <= 1, 0.0)  # a query's only key is the mean
        keys = keys * inverse.unsqueeze(-2)
        return self._gained(query, heads), keys

    def shared_refusal(self, kind: Kind) -> str | None:
        if self.uses_statistics and kind.seen != ALL:
            return f"{self.spec()} takes the statistics of a query's keys, which differ from query to query"
        return None

    def query_refusal(self, kind: Kind) -> str | None:
        if self.uses_statistics and kind == (OWN, True):
            return f"{self.spec()} takes the statistics of pairs that every query pools anew"
        return None

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        found = self.fixed_statistics(heads.members, query.dtype) or training.centred()[1]
        mean, variance = (for_query_heads(part, query.shape[1]) for part in found[:2])
        training = training.for_query_heads(query.shape[1])
        offset = self._beta(heads.members) * mean
        inverse = (variance + self.eps).rsqrt() if self.scale == "inv_std" else 1.0
        changed = training.with_keys(((training.key - offset) * inverse).to(query.dtype))
        return self._gained((query - offset) * inverse, heads).to(query.dtype), changed

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        """Keys less a vector that the queries may see; queries less beta mu, divided by sigma^2 + eps.

        Where no vector is near the keys of every query (a window, a pattern) both are in float64. In half precision
        a part of the division moves to the keys, so that neither side leaves the range of the type.
        """
        fixed, dtype = self.fixed_statistics(heads.members, query.dtype), query.dtype
        if fixed is None and training.kind.seen == OWN:
            query, training = query.double(), training.double()
        elif (
            fixed is None and (training.kind.seen == ALL or training.square) and _fusible(query, training.key)
        ):
            return self._fused(query, training, heads)
        if fixed is None:
            training, found = training.centred()
        else:
            found, sharing = fixed, query.shape[1] // training.key.shape[1]
            training = training.with_keys(training.key - fixed.mean[:, ::sharing])
        query = self.normalized_query(query.to(training.key.dtype), found, heads, training.first)
        if fixed is not None:
            wide = accumulation_dtype(dtype)
            query, training = query.to(wide), training.with_keys(training.key.to(wide))
        if dtype != accumulation_dtype(dtype) and query.dtype != torch.float64:
            return self._balanced(query, training, found.variance, dtype)
        return query, training

    def scores_refusal(self, kind: Kind) -> None:
        del kind

    def into_scores(self, query: Tensor, pairs: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        """Keys less a vector near them all; with running averages queries that carry T, otherwise :meth:`of_statistics`."""
        assert isinstance(pairs, RowPairs | JoinedSet)
        fixed = self.fixed_statistics(heads.members, accumulation_dtype(query.dtype))
        if fixed is None:
            return query, pairs.less(pairs.centre())
        return self.normalized_query(query.to(fixed.mean.dtype), fixed, heads), pairs.less(fixed.mean)

    @property
    def variance_floor(self) -> float:  # type: ignore[override] # what the deviation divides by
        return self.eps if self.scale == "inv_std" else 0.0

    def of_statistics(self, query: Tensor, found: KeyStatistics, heads: HeadSet) -> tuple[Tensor, Tensor]:
        # T of a query's only key is 0 if beta is 1; its score is not else.
        counted = found if self.beta == 1 and not self.learnable else found._replace(seen=None)
        changed = self.normalized_query(query, counted, heads)
        offset = -self._beta(heads.members) * found.mean
        return changed, (changed * (offset if found.shift is None else offset + found.shift)).sum(-1)

    def scored_refusal(self, kind: Kind) -> str | None:
        return None if kind == (OWN, True) else self.query_refusal(kind)

    def into_scored(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet, Tensor | None]:
        """By :meth:`into_query`, T(q) . T(k) = q' . (k - c) + q' . (c - beta mu)."""
        # Where beta is not 1, T(k) holds a share of mu / sigma, and scores have more in common than they differ by.
        centred = not self.uses_statistics or (self.beta == 1 and not self.learnable)
        if centred and self.shared_refusal(training.kind) is None:
            return super().into_scored(query, training, heads)
        if isinstance(training, RowPairs | JoinedSet) and training.kind.pooled_late:
            return *self.into_scores(query, training, heads), None
        if training.kind.seen == OWN:
            query, training = query.double(), training.double()
        moved, found = training.centred()
        assert found.shift is not None
        # T of a query's only key is 0 if beta is 1; its score is not else.
        counted = found if self.beta == 1 and not self.learnable else found._replace(seen=None)
        changed = self.normalized_query(query.to(moved.key.dtype), counted, heads, training.first)
        shift, mean = (for_query_heads(part, query.shape[1]) for part in (found.shift, found.mean))
        lacking = changed * (shift - self._beta(heads.members) * mean)
        return changed, moved, lacking.sum(-1)

    def _fused(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        eps, beta = self.eps if self.scale == "inv_std" else None, self._beta(heads.members)
        keys = training.attendable.keys
        if training.kind.seen == ALL:
            changed, moved = batch_normalized_query(query, training.key, keys, beta, eps)
        else:
            changed, moved = prefix_normalized_query(query, training.key, keys, beta, eps, training.first)
        return self._gained(changed, heads), training.with_keys(moved)

    def normalized_query(
        self, query: Tensor, statistics: KeyStatistics, heads: HeadSet, first: int = 0
    ) -> Tensor:
        """g (q - beta mu) / (sigma^2 + eps); 0 before row ``first``, and where one key has all the weight anyway."""
        mean, variance = (for_query_heads(part, query.shape[1]) for part in statistics[:2])
        changed = recentred(query, mean, self._beta(heads.members))
        if self.scale == "inv_std":
            kept = _rows_that_count(statistics.seen, first, changed)
            variance = variance + self.eps
            if kept is None:
                changed = changed / variance
            else:
                changed = changed * (for_query_heads(kept, query.shape[1]) / variance)
        return self._gained(changed, heads).to(query.dtype)

    def _balanced(
        self, query: Tensor, training: TrainingSet, variance: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, TrainingSet]:
        """The queries times r and the keys divided by r, a power of 2 near the deviation at the first row that counts."""
        if self.scale == "none":
            return query.to(dtype), training.with_keys(training.key.to(dtype))
        # Of keys that every query sees: deviations later are no less than a quarter of theirs.
        row, kv_heads = max(min(training.first, variance.shape[-2]) - 1, 0), training.key.shape[1]
        variance = variance.detach()[:, :: variance.shape[1] // kv_heads, row : row + 1]
        power = (variance + self.eps).sqrt().log2().round().exp2()
        keys = training.with_keys((training.key / power).to(dtype))
        return (query * for_query_heads(power, query.shape[1])).to(dtype), keys

    def fixed_statistics(self, members: list[int], dtype: torch.dtype) -> KeyStatistics | None:
        """Running mean and variance, (1, heads, 1, D), where they stand for every sequence; None in training.

        Args:
            members: numbers of the heads.
            dtype: of the queries that they are for.

        Raises:
            ArgumentError: running statistics that are not bound.
        """
        if self.averages is None:
            return None
        found = self.averages.of(members, dtype)
        return None if self.training else found

    def standardization(self, heads: HeadSet) -> Standardization | None:
        if not self.uses_statistics:
            return None
        beta = self._beta(heads.members)
        return Standardization(
            beta.flatten() if isinstance(beta, Tensor) else beta,
            self.eps if self.scale == "inv_std" else None,
            None if self.gain is None else self._gain(heads.members).squeeze(1),
        )

    def _beta(self, members: list[int]) -> float | Tensor:
        if not self.learnable:
            return self.beta
        if self.head_beta is None:
            raise ArgumentError(
                "bn(learnable=true) has one beta per head: call problem.bind(heads, head_dim) first"
            )
        return _of_heads(self.head_beta, members).view(-1, 1, 1)

    def _gain(self, members: list[int]) -> Tensor:
        if self.learned_gain is None:
            raise ArgumentError(f"{self.spec()} has learned gains: call problem.bind(heads, head_dim) first")
        return _of_heads(self.learned_gain, members).unsqueeze(1)

    def _gained(self, query: Tensor, heads: HeadSet) -> Tensor:
        return query if self.gain is None else query * self._gain(heads.members)

    def formula(self, style: str) -> list[str]:
        beta = None if self.learnable else self.beta
        lines = batch_norm_formula(beta, self.eps if self.scale == "inv_std" else None, self.running, style)
        return lines if self.gain is None else [*lines, gain_formula(self.per, style)]

    @property
    def shift_equivariant(self) -> bool:
        return True

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental | None:
        if self.running and not self.training:
            return NormalizedByAverages(self, heads, exact)
        return None if exact else NormalizedByPrefix(self, heads)

    @property
    def fixed_at_inference(self) -> bool:
        return self.running

    def affine(self, heads: int) -> AffineMap:
        if self.averages is None:
            return super().affine(heads)
        self.averages.check_seen()
        mean, variance = (each[0, :, 0] for each in self.averages.of(list(range(heads)), torch.float64)[:2])
        beta = self.beta if self.head_beta is None else self.head_beta.detach().double().unsqueeze(-1)
        inverse = (variance + self.eps).rsqrt() if self.scale == "inv_std" else torch.ones_like(variance)
        gain = None if self.learned_gain is None else self.learned_gain.detach().double()
        return AffineMap(beta * mean, inverse, gain)


def _of_heads(learned: Tensor, members: list[int]) -> Tensor:
    """What belongs to some heads; all of it without a copy of their numbers to the device."""
    return learned if len(members) == len(learned) else learned[members]


def _rows_that_count(seen: Tensor | int | None, first: int, query: Tensor) -> Tensor | None:
    """1 from row ``first`` on where more than one key is seen, else 0, (batch or 1, 1 or heads, N, 1); None = all 1."""
    if isinstance(seen, Tensor):
        kept = (seen > 1).to(query.dtype)
        kept = kept[(None,) * (4 - kept.dim())]
    elif first or (seen is not None and seen < 2):
        kept = query.new_full((1, 1, query.shape[2], 1), float(seen is None or seen > 1))
    else:
        return None
    if first:
        kept[..., :first, :] = 0
    return kept


def _fusible(query: Tensor, key: Tensor) -> bool:
    """Whether a fused form applies: full precision, outside the graphs that compilers fuse themselves."""
    dtype = query.dtype
    return dtype == key.dtype == accumulation_dtype(dtype) and not in_graph()
