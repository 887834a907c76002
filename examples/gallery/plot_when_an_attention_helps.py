"""
When an attention helps, and when it hurts
==========================================

A normalisation or a pooling is an assumption about the data. This example states four predictions, two in favour and
two against, and checks each on a task without any training: one head looks up the value that was stored beside a key.
"""

# %%
# Associative recall
# ------------------
# Sixteen items are stored, each a random key of 16 features and one of four values. Then one key comes again, and the
# head answers with the value on which most of its weight falls. Chance is 25 %.
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import one_hot

import primaldual as pdl
from primaldual.reporting.drawing import STYLE
from primaldual.reporting.palette import GREY, looks

plt.rcParams.update(STYLE)
CASES, ITEMS, WIDTH, VALUES = 400, 16, 16, 4


def draw_items(seed):
    """Keys (cases, items, width), values (cases, items) and the place of the item that is asked for, (cases,)."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(CASES, ITEMS, WIDTH, generator=generator)
    stored = torch.randint(VALUES, (CASES, ITEMS), generator=generator)
    return (
        keys,
        stored,
        torch.randint(ITEMS, (CASES,), generator=generator),
        generator,
    )


def accuracy(spec, query, keys, stored, answer):
    """Share of the cases (cases, width), (cases, tokens, width), (cases, tokens) in which the head is right."""
    values = one_hot(stored, VALUES).float()
    found = pdl.preset(spec).attend(
        query[:, None, None], keys[:, None], values[:, None]
    )
    return float((found[:, 0, 0].argmax(-1) == answer).float().mean())


# %%
# Two predictions about normalisation
# -----------------------------------
# 1. ``bn`` helps where a number is added to every feature, another one for each sequence: it subtracts the mean.
# 2. ``bn`` hurts where some features are small and hold nothing but noise: it gives all features the same scale.


def offsets(size, seed=0):
    """The same number is added to a feature of all keys and of the query."""
    keys, stored, asked, generator = draw_items(seed)
    keys = keys + size * torch.randn(CASES, 1, WIDTH, generator=generator)
    rows = torch.arange(CASES)
    return keys[rows, asked], keys, stored, stored[rows, asked]


def small_noise(count, seed=0):
    """The query has ``count`` more features, a tenth as large, which have nothing to do with those of the keys."""
    keys, stored, asked, generator = draw_items(seed)
    rows = torch.arange(CASES)
    noise = 0.1 * torch.randn(CASES, ITEMS + 1, int(count), generator=generator)
    query = torch.cat([keys[rows, asked], noise[:, -1]], -1)
    return query, torch.cat([keys, noise[:, :-1]], -1), stored, stored[rows, asked]


# %%
# Two predictions about pooling
# -----------------------------
# 3. ``sh(8)`` helps where an item is spread over eight neighbouring tokens under noise: averages have less noise.
# 4. ``sh`` hurts where every token is an item of its own: averages mix different items.


def spread(noise, seed=0):
    """Every item stands in eight neighbouring tokens, each with noise of its own."""
    keys, stored, asked, generator = draw_items(seed)
    rows = torch.arange(CASES)
    tokens = keys.repeat_interleave(8, 1)
    tokens = tokens + noise * torch.randn(tokens.shape, generator=generator)
    query = keys[rows, asked] + 0.5 * torch.randn(CASES, WIDTH, generator=generator)
    return query, tokens, stored.repeat_interleave(8, 1), stored[rows, asked]


def single(noise, seed=0):
    """Every token is an item, and only the query has noise."""
    keys, stored, asked, generator = draw_items(seed)
    rows = torch.arange(CASES)
    query = keys[rows, asked] + noise * torch.randn(
        CASES, WIDTH, generator=generator
    )
    return query, keys, stored, stored[rows, asked]


PREDICTIONS = {
    "1. bn helps": (
        offsets,
        ("softmax", "bn"),
        (0, 0.5, 1, 1.5, 2, 3, 4),
        "size of the offsets",
    ),
    "2. bn hurts": (
        small_noise,
        ("softmax", "bn"),
        (0, 8, 16, 32, 64, 96, 128),
        "small features that hold noise",
    ),
    "3. sh helps": (
        spread,
        ("softmax", "sh(2)", "sh(8)"),
        (0, 1, 2, 3, 4, 5, 6),
        "noise on the keys",
    ),
    "4. sh hurts": (
        single,
        ("softmax", "sh(2)", "sh(8)"),
        (0, 0.5, 1, 1.5, 2),
        "noise on the query",
    ),
}
found = {}
for title, (task, specs, sizes, _) in PREDICTIONS.items():
    found[title] = {
        spec: [accuracy(spec, *task(size)) for size in sizes] for spec in specs
    }
    print(
        title,
        {spec: f"{shares[-1]:.0%}" for spec, shares in found[title].items()},
        "at the right end",
    )

# %%
# What to see
# -----------
# All four predictions hold here. With offsets softmax falls from 98 % to about 40 %, and ``bn`` does not notice them. With
# small features of noise ``bn`` falls faster and further. Under noise on spread items the head that pools eight tokens
# stays ahead, and where tokens are items of their own it is wrong more often than right even without any noise. So an
# attention is chosen by what one knows of the data; the dotted line is chance.
look = looks(["softmax", "bn", "sh(2)", "sh(8)"])
figure, panels = plt.subplots(2, 2, figsize=(8.4, 6.2), sharey=True)
for axes, (title, (_, specs, sizes, label)) in zip(
    panels.flat, PREDICTIONS.items(), strict=True
):
    for spec in specs:
        shares = [100 * share for share in found[title][spec]]
        axes.plot(
            sizes,
            shares,
            color=look[spec].color,
            marker=look[spec].marker,
            ls=look[spec].dashes,
            label=spec,
        )
    axes.axhline(100 / VALUES, color=GREY, lw=1, ls=":")
    axes.set(title=title, xlabel=label, ylim=(0, 104))
    axes.legend(loc="lower left")
for axes in panels[:, 0]:
    axes.set_ylabel("right answers (%)")
plt.show()
