"""
What batch normalisation does to scores
=======================================

Attention-BN measures queries and keys from the mean of the keys, in units of their spread. This example draws the
scores of one query over the plane of keys, with and without it, for keys that lie off centre and vary in one
direction more than in the other.
"""

# %%
# Keys that are hard for softmax
# ------------------------------
# Eight clusters of keys lie around a centre far from 0, and the first feature varies ten times as much as the second.
import math

import matplotlib.pyplot as plt
import torch

import primaldual as pdl
from primaldual.reporting.drawing import STYLE, shades
from primaldual.reporting.palette import BLUE, INK, ORANGE

plt.rcParams.update(STYLE)
generator = torch.Generator().manual_seed(1)
angles = torch.arange(8, dtype=torch.float64) * (2 * torch.pi / 8)
centres = 2 * torch.stack([angles.cos(), angles.sin()], -1).repeat_interleave(12, 0)
scatter = 0.25 * torch.randn(96, 2, generator=generator, dtype=torch.float64)
spread, offset = (
    torch.tensor([3.0, 0.3], dtype=torch.float64),
    torch.tensor([2.0, 1.5], dtype=torch.float64),
)
keys = (centres + scatter) * spread + offset
query = (
    2 * torch.tensor([[0.5, 3**0.5 / 2]], dtype=torch.float64)
) * spread + offset  # towards the upper right

# %%
# The identity behind it
# ----------------------
# In a softmax, whatever is the same for all keys cancels. What remains of the normalisation is a change of the query
# alone: it is centred and divided by the variances. So Attention-BN costs about as much as softmax.
softmax, bn = pdl.preset("softmax"), pdl.preset("bn")
mean, variance = keys.mean(0), keys.var(0, correction=0)
changed = (query - mean) / (variance + 1e-5)
four = keys[None, None]  # (batch, heads, keys, features)
weights = {
    "softmax": softmax.weights(query[None, None], four)[0, 0, 0],
    "bn": bn.weights(query[None, None], four)[0, 0, 0],
}
same = softmax.weights(changed[None, None], four)[0, 0, 0]
difference = (weights["bn"] - same).abs().max()
print(f"bn against softmax of the changed query: {difference:.1e} at most")

# %%
# What to see
# -----------
# The background darkens as scores grow, line by line. Under softmax they grow along the feature with the large numbers:
# almost all of the weight goes to the few keys farthest to the right, whatever their second feature says. Under ``bn``
# each feature counts in units of its own spread, and the weight goes to the clusters around the query. The titles say what
# share the 12 heaviest keys hold, and the entropy of the weights over that of 96 equal ones.
across, up = torch.meshgrid(
    torch.linspace(-7, 11.5, 80), torch.linspace(0.4, 2.6, 80), indexing="xy"
)
plane = torch.stack([across, up], -1).double()
figure, panels = plt.subplots(1, 2, figsize=(8.6, 4.2), sharey=True)
for axes, (name, direction) in zip(
    panels, {"softmax": query[0], "bn": changed[0]}.items(), strict=True
):
    weight = weights[name]
    scores = (plane @ direction) / 2**0.5
    axes.contourf(
        across.numpy(),
        up.numpy(),
        scores.numpy(),
        levels=12,
        cmap=shades("#a9b0bb"),
    )
    shown = axes.scatter(
        *keys.T.numpy(),
        c=weight,
        s=14 + 140 * weight / weight.max(),
        cmap=shades(BLUE),
        edgecolors=INK,
        linewidths=0.6,
        vmin=0,
        zorder=3,
    )
    axes.plot(*query[0], "*", color=ORANGE, ms=16, mec=INK, zorder=4, label="query")
    axes.plot(*mean, "P", color=INK, ms=8, zorder=4, label="mean of the keys")
    axes.set(xlim=(-7, 11.5), ylim=(0.4, 2.6), xlabel="feature 1")
    axes.grid(visible=False)
    share = float(weight.sort(descending=True).values[:12].sum())
    entropy = float(torch.special.entr(weight).sum()) / math.log(96)
    axes.set_title(f"{name}: 12 keys hold {share:.0%}, entropy {entropy:.2f}")
    figure.colorbar(
        shown, ax=axes, label="attention weight", location="bottom", aspect=30
    )
panels[0].set_ylabel("feature 2")
panels[0].legend(loc="lower left")
plt.show()
