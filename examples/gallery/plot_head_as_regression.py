"""
One head as a regression
========================

A head of softmax attention is the solution of a support vector regression. This example fits 48 noisy points,
then computes the same curve with PyTorch's attention, and shows where its value at every point comes from.
"""

# %%
# The data
# --------
# Each point is a number between 0 and 1 with a noisy target. Its key lies on a half circle, so all keys have the
# same length and the exponential kernel depends on the distance between points alone.
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import scaled_dot_product_attention

import primaldual as pdl
from primaldual.reporting.drawing import STYLE, shades
from primaldual.reporting.palette import BLUE, GREY, INK, ORANGE

plt.rcParams.update(STYLE)
generator = torch.Generator().manual_seed(5)
places = torch.rand(48, generator=generator, dtype=torch.float64).sort().values
noise = torch.randn(48, generator=generator, dtype=torch.float64)
targets = ((12 * places * places).sin() + 0.25 * noise).unsqueeze(
    -1
)  # (keys, outputs)


def keys_at(places):
    """Points of a half circle with radius 6, (..., 2)."""
    return 6 * torch.stack(
        [(torch.pi * places).cos(), (torch.pi * places).sin()], -1
    )


keys = keys_at(places)

# %%
# The regression
# --------------
# ``solve`` fits the curve: errors within the tube cost nothing, and the penalty ``C`` is stated in units of the kernel.
penalty = 0.5 / pdl.kernel_scale("softmax", keys)
solution = pdl.solve("softmax", keys, targets, C=penalty, epsilon=0.25)
print(solution)

# %%
# The same curve from PyTorch
# ---------------------------
# Points on the axis are queries, training inputs are keys, and the dual coefficients over the normaliser are values.
# Nothing else is needed to compute the curve with an ordinary attention kernel.
fine = torch.linspace(0, 1, 400, dtype=torch.float64)
queries = keys_at(fine)
curve = (
    scaled_dot_product_attention(queries[None], keys[None], solution.values[None])[
        0
    ]
    + solution.intercept
)
difference = (curve - solution.predict(queries)).abs().max()
print(f"largest difference to the regression: {difference:.1e}")

# %%
# What to see
# -----------
# Above: the fit. A point inside the tube has value 0 and adds nothing to the sum; the support vectors carry the curve.
# In the middle: the attention map, one column for each query. Its band is narrow, so a query listens to its neighbours.
# Below: weights times values. Keys with positive values lift the curve, keys with negative ones lower it.
weights = pdl.preset("softmax").weights(queries[None, None], keys[None, None])[
    0, 0
]  # (queries, keys)
shares = weights * solution.values.squeeze(-1)
support = solution.support.squeeze(-1)
fitted = curve.squeeze(-1)

figure, (above, middle, below) = plt.subplots(
    3, 1, sharex=True, figsize=(7.2, 7.4), height_ratios=(1.25, 1, 1)
)
above.fill_between(
    fine, fitted - 0.25, fitted + 0.25, color="#dfe7f1", lw=0, label="tube, ± 0.25"
)
above.plot(fine, fitted, color=BLUE, lw=1.8, label="attention")
above.plot(
    places[support],
    targets[support],
    "o",
    color=ORANGE,
    ms=5,
    label="support vectors",
)
above.plot(
    places[~support],
    targets[~support],
    "o",
    mfc="none",
    mec=GREY,
    ms=5,
    label="other points",
)
above.set(ylabel="target", ylim=(-1.8, 2.3))
above.legend(ncols=4, loc="upper center", columnspacing=1.2, handletextpad=0.5)

mesh = middle.imshow(
    weights.T.numpy(),
    origin="lower",
    extent=(0, 1, 0.5, 48.5),
    aspect="auto",
    cmap=shades(INK),
)
middle.set(ylabel="key, by place")
middle.grid(visible=False)
figure.colorbar(mesh, ax=middle, label="attention weight", pad=0.01)

below.fill_between(
    fine,
    shares.clamp(min=0).sum(1),
    color=BLUE,
    alpha=0.35,
    lw=0,
    label="positive values",
)
below.fill_between(
    fine,
    shares.clamp(max=0).sum(1),
    color=ORANGE,
    alpha=0.35,
    lw=0,
    hatch="///",
    label="negative values",
)
below.plot(
    fine,
    fitted - float(solution.intercept),
    color=INK,
    lw=1.6,
    label="sum: curve less intercept",
)
below.set(ylabel="weights times values", xlabel="place of the query", xlim=(0, 1))
low, high = below.get_ylim()
below.set_ylim(low, high + 0.35 * (high - low))
below.legend(ncols=3, loc="upper center", columnspacing=1.2, handletextpad=0.5)
plt.show()
