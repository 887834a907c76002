"""
The words of a spec as pictures
===============================

A spec such as ``bn+sh(1,1,2,4)`` joins words, each of which changes one choice of the regression. This example draws
the attention map of twelve specs for the same queries and keys, so that one can see what a word does.
"""

# %%
# The same tokens for all
# -----------------------
# Sixty-four tokens move through four topics and come back to the first one. Queries are keys with some noise.
import matplotlib.pyplot as plt
import torch
from matplotlib.colors import LinearSegmentedColormap

import primaldual as pdl
from primaldual.reporting.drawing import STYLE
from primaldual.reporting.palette import BLUE, ORANGE

plt.rcParams.update(STYLE)
generator = torch.Generator().manual_seed(6)
topics = 1.1 * torch.randn(4, 8, generator=generator)
topic = torch.tensor([0] * 14 + [1] * 14 + [2] * 12 + [3] * 12 + [0] * 12)
key = topics[topic] + 0.5 * torch.randn(64, 8, generator=generator)
query = key + 0.5 * torch.randn(64, 8, generator=generator)

# %%
# Twelve attentions
# -----------------
# ``attention_map`` is on tokens: multiplied with the values it gives the output, whatever is pooled or solved within.
SPECS = (
    "softmax",
    "softmax(scale=0.1)",
    "linear",
    "bn",
    "whiten",
    "window(8)",
    "sh(8)",
    "window(4)|sh(8)",
    "alibi(0.3)",
    "sink(5)",
    "twicing",
    "dot+constant+ridge(5)",
)
maps = {}
for spec in SPECS:
    problem = pdl.preset(spec).bind(heads=1, head_dim=8)
    with torch.no_grad():
        maps[spec] = problem.attention_map(query[None, None], key[None, None])[0, 0]
    rows = maps[spec].sum(1)
    print(
        f"{spec:22} rows sum to {rows.min():.2f} ... {rows.max():.2f}, least weight {maps[spec].min():.2f}"
    )

# %%
# What to see
# -----------
# Every row of a map is a query. Shades are square roots of weights over the largest one of the map, so that small weights
# show; blue is positive and orange negative. Softmax finds the blocks of equal topic, both visits of the first one
# included; a smaller ``scale`` and ``linear`` blur them. ``bn`` and ``whiten`` measure the same keys in other units.
# ``window`` keeps the neighbours, ``sh`` shows steps of eight tokens, and ``|`` joins the two: neighbours one by one, the
# rest in steps. ``alibi`` fades with distance. With ``sink`` the rows sum to less than 1. ``twicing`` and
# ``ridge`` fit residuals, which takes negative weights.
figure, panels = plt.subplots(3, 4, figsize=(8.8, 7.2), sharex=True, sharey=True)
signed = LinearSegmentedColormap.from_list("signed", [ORANGE, "#ffffff", BLUE])
for axes, (spec, weights) in zip(panels.flat, maps.items(), strict=True):
    largest = float(weights.abs().max())
    shade = weights.sign() * (weights.abs() / largest).sqrt()
    axes.imshow(shade.numpy(), cmap=signed, vmin=-1, vmax=1)
    axes.set(
        title=f"{spec}\nlargest {largest:.2f}",
        xticks=(0, 32, 63),
        yticks=(0, 32, 63),
    )
    axes.grid(visible=False)
figure.supxlabel("key", fontsize=10)
figure.supylabel("query", fontsize=10)
plt.show()
