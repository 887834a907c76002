"""Differential attention: the difference of two problems on two halves of queries and keys."""

from __future__ import annotations

from torch import Tensor

from primaldual.primal.composed_solvers import Attentions, Maps
from primaldual.primal.head_shares import HeadShares


class Differential(HeadShares):
    """f(x) = f_1(x) - a f_2(x): two regressions on the same targets, one on each half of the features of queries and keys.

        out = A(q_1, k_1) v - a A(q_2, k_2) v,  q = [q_1; q_2], k = [k_1; k_2]

    Weights that both halves give a pair cancel; those of the whole add up to 1 - a. Every other choice holds for both
    halves, each of them of D / 2 features. a is learned, one number per head.

    Args:
        start: a at first, of every head; 0 is the attention of the first half.

    Raises:
        ArgumentError: a start that is not a finite number, an odd D, or use before ``bind``.
        UnsupportedError: a transform that keeps running statistics, which would be those of one half.

    Reference: Ye et al., "Differential Transformer", ICLR 2025 (arXiv 2410.05258). There a is the difference of two
        exponentials of learned inner products, shared by the heads of a layer, and every head is normalised afterwards;
        here it is learned itself, and normalisation is left to the layer.

    Example:
        >>> from primaldual import preset
        >>> import torch
        >>> query, key, value = torch.randn(3, 1, 2, 5, 8).unbind(0)
        >>> problem = preset("differential(0)").bind(heads=2, head_dim=8)
        >>> first = preset("softmax").attend(query[..., :4], key[..., :4], value)
        >>> torch.allclose(problem.attend(query, key, value), first, atol=1e-6)
        True
    """

    name = "differential"
    summary = "the difference of two attentions, on the halves of queries and keys"
    cost = "scores as softmax, sums of values twice"
    examples = ("differential(0.5)",)
    key_parts = 2

    def __init__(self, start: float = 0.8) -> None:
        super().__init__(start)

    @property
    def query_products(self) -> int:
        return 2

    def outputs(self, query: Tensor, key: Tensor, value: Tensor, attentions: Attentions) -> Tensor:
        width = self.kernel_dim(query.shape[3])
        first, second = (
            attentions.at_queries(rows, keys, value)
            for rows, keys in zip(query.split(width, 3), key.split(width, 3), strict=True)
        )
        return first - self.shares(first) * second

    def attention_map(self, query: Tensor, key: Tensor, maps: Maps) -> Tensor:
        half = self.kernel_dim(query.shape[3])
        found = maps.at_queries(query[..., :half], key[..., :half])
        return found - self.shares(found) * maps.at_queries(query[..., half:], key[..., half:])

    def procedure(self) -> str:
        return f"{self.spec()}: two attentions, each on one half of the features of queries and keys"

    def coefficient(self, style: str) -> tuple[str, str]:
        symbol, meaning = super().coefficient(style)
        return symbol, f"{meaning},  {self.formula(style)[0]}"

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                r"\text{of } f = f_1 - a_h f_2 \text{ on the halves of } x,\ k_j \text{; coefficients } v_j,\ -a_h v_j"
            ]
        return ["of f = f₁ − a_h f₂ on the halves of x, k_j; coefficients v_j, −a_h v_j"]
