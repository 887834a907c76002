"""Sequences of items and queries: associative recall and linear regression, both in context."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WIDTH = 8
"""Features of a key."""


@dataclass(frozen=True)
class Batch:
    """Sequences of one task.

    Attributes:
        tokens: (cases, items + queries, channels): key, value (zero at queries), and a mark at queries.
        targets: classes (cases, queries), or numbers (cases, queries).
    """

    tokens: Tensor
    targets: Tensor


@dataclass(frozen=True)
class InContext:
    """Items (key, value) in random order, then queries that ask for the value of their key.

    Keys of a sequence are A x for x of N(0, I), the same A at items and queries, drawn anew for every sequence:

        alike   A = I
        scaled  A diagonal, logarithms of N(0, spread^2)
        mixed   A = R S R', S as above and R a random rotation

    Recall asks for the class stored with a key that was shown (multi-query associative recall with continuous
    keys); regression asks for w'x of a new key, with w of N(0, I / WIDTH) drawn anew for every sequence and noise on
    the values that are shown.

    Attributes:
        name: what tables call it.
        keys: "alike", "scaled" or "mixed".
        recall: classes of the stored values; 0 for regression.
        items: of a sequence.
        queries: of a sequence.
        spread: deviation of the logarithms of A's scales.
        noise: deviation of the noise on keys that ask (recall) or on values (regression).
    """

    name: str
    keys: str
    recall: int = 8
    items: int = 32
    queries: int = 8
    spread: float = 1.0
    noise: float = 0.1

    @property
    def channels(self) -> int:
        """Of a token."""
        return WIDTH + max(self.recall, 1) + 1

    @property
    def outputs(self) -> int:
        """Of a query: logits, or one number."""
        return max(self.recall, 1)

    def draw(self, cases: int, generator: torch.Generator) -> Batch:
        """New sequences."""
        stored = torch.randn(cases, self.items, WIDTH, generator=generator)
        if self.recall:
            asked = torch.rand(cases, self.items, generator=generator).argsort(1)[:, : self.queries]
            plain = stored.gather(1, asked[..., None].expand(-1, -1, WIDTH))
            plain = plain + self.noise * torch.randn(plain.shape, generator=generator)
            classes = torch.randint(self.recall, (cases, self.items), generator=generator)
            values = torch.nn.functional.one_hot(classes, self.recall).float()
            targets = classes.gather(1, asked)
        else:
            plain = torch.randn(cases, self.queries, WIDTH, generator=generator)
            slope = torch.randn(cases, WIDTH, 1, generator=generator) / WIDTH**0.5
            values = stored @ slope
            values = values + self.noise * torch.randn(values.shape, generator=generator)
            targets = (plain @ slope).squeeze(-1)
        mixing = self._mixing(cases, generator)
        shown = torch.cat([stored, plain], 1) @ mixing
        content = torch.cat([values, values.new_zeros(cases, self.queries, values.size(-1))], 1)
        mark = shown.new_zeros(*shown.shape[:2], 1)
        mark[:, self.items :] = 1.0
        return Batch(torch.cat([shown, content, mark], -1), targets)

    def _mixing(self, cases: int, generator: torch.Generator) -> Tensor:
        if self.keys == "alike":
            return torch.eye(WIDTH).expand(cases, -1, -1)
        scales = torch.diag_embed((self.spread * torch.randn(cases, WIDTH, generator=generator)).exp())
        if self.keys == "scaled":
            return scales
        rotation = torch.linalg.qr(torch.randn(cases, WIDTH, WIDTH, generator=generator)).Q
        return rotation @ scales @ rotation.mT


TASKS = {
    task.name: task
    for task in (
        InContext("recall, alike", "alike"),
        InContext("recall, scaled", "scaled"),
        InContext("recall, mixed", "mixed"),
        InContext("regression, alike", "alike", recall=0),
        InContext("regression, mixed", "mixed", recall=0),
    )
}
ATTENTIONS = ("softmax", "bn(gain=0.2)", "bn", "whiten", "lla(1)", "mesanet")
"""softmax, two of bn, and the other layers that divide by second moments of the keys."""
LEARNING_RATE = 1e-2
"""The one that suits softmax best, on seeds of exploration."""
