"""
Prefix statistics of causal batch normalisation
===============================================

Causal attention must not look ahead, and neither may its statistics. Causal Attention-BN gives every query the mean
and the variance of the keys up to its own position. This example draws them, and shows what leaks from the future if
the statistics are taken over the whole sequence.
"""

# %%
# A sequence that changes
# -----------------------
# 160 tokens with keys of two features. The first feature drifts, and its scale grows in the last quarter.
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import scaled_dot_product_attention

import primaldual as pdl
from primaldual.reporting.drawing import STYLE
from primaldual.reporting.palette import BLUE, GREY, INK, ORANGE

plt.rcParams.update(STYLE)
generator = torch.Generator().manual_seed(4)
length, change = 160, 120
query, key, value = torch.randn(
    3, 1, 1, length, 2, generator=generator, dtype=torch.float64
)
steps = torch.arange(length, dtype=torch.float64)
key[..., 0] += 2 * (steps / 40).sin()
other = key.clone()
other[..., change:, 0] = (
    4 * key[..., change:, 0] + 6
)  # the same past, another future

# %%
# The prefix rule
# ---------------
# Output i of the causal form equals the output of query i without a causal mask on the keys and values up to i.
bn = pdl.preset("bn")
outputs = bn.attend(query, key, value, is_causal=True)
alone = torch.cat(
    [
        bn.attend(query[:, :, [i]], key[:, :, : i + 1], value[:, :, : i + 1])
        for i in range(length)
    ],
    2,
)
difference = (outputs - alone).abs().max()
print(f"causal form against one query at a time: {difference:.1e} at most")


def with_all_statistics(query, key, value):
    """What one writes first: normalise by the statistics of the whole sequence, then attend causally."""
    mean, deviation = (
        key.mean(-2, keepdim=True),
        key.var(-2, keepdim=True, correction=0).sqrt(),
    )
    return scaled_dot_product_attention(
        (query - mean) / deviation, (key - mean) / deviation, value, is_causal=True
    )


# %%
# Another future
# --------------
# The same tokens are attended to again after the keys of the last quarter have been changed.
changes = {
    "statistics of the prefix (bn)": (
        bn.attend(query, other, value, is_causal=True) - outputs
    ),
    "statistics of all keys": with_all_statistics(query, other, value)
    - with_all_statistics(query, key, value),
}
changes = {
    name: difference.norm(dim=-1)[0, 0] for name, difference in changes.items()
}
for name, difference in changes.items():
    early = difference[:change].max()
    print(f"{name}: outputs before the change move by up to {early:.1e}")

# %%
# What to see
# -----------
# Above: the first feature of the changed keys, with the mean and the deviation that each query sees. The band starts
# from nothing, follows the drift, and widens when the larger keys have come, not before. Below: how far each output moves
# when the future changes. With prefix statistics nothing moves before the change. With statistics of all keys every
# output but the first one moves, so a model that is trained like this would look ahead.
series = other[0, 0, :, 0]
count = steps + 1
mean = series.cumsum(0) / count
deviation = (series.square().cumsum(0) / count - mean.square()).clamp(min=0).sqrt()

figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7.6, 5.6))
above.fill_between(
    steps,
    mean - deviation,
    mean + deviation,
    color=BLUE,
    alpha=0.2,
    lw=0,
    label="± deviation of the prefix",
)
above.plot(steps, mean, color=BLUE, lw=1.8, label="mean of the prefix")
above.plot(steps, series, ".", color=INK, ms=4, label="keys")
above.set(ylabel="feature 1 of the key")
above.legend(loc="upper left")
for (name, difference), (color, dashes) in zip(
    changes.items(), ((BLUE, "-"), (ORANGE, "--")), strict=True
):
    below.plot(steps, difference, color=color, ls=dashes, lw=1.6, label=name)
below.set(
    xlabel="position",
    ylabel="change of the output",
    xlim=(0, length - 1),
    ylim=(-0.01, 0.34),
)
below.legend(loc="upper left")
for axes in (above, below):
    axes.axvline(change - 0.5, color=GREY, lw=1)
above.text(change - 2, -6, "from here on\nkeys are changed", ha="right", color=INK)
plt.show()
