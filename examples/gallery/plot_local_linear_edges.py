"""
Local constants and local lines at the edges
============================================

Softmax attention fits a constant at every query: the mean of the values, weighted by the kernel. Local linear
attention (``lla``) fits an affine function. The difference shows where the neighbours of a query lie on one side
only, as at the ends of the data.
"""

# %%
# One kernel, two orders
# ----------------------
# A Gaussian kernel weighs keys by their distance to the query, so both attentions see the same neighbours. It is not
# among the words of the library, and a function states it.
import matplotlib.pyplot as plt
import torch

import primaldual as pdl
from primaldual.reporting.drawing import STYLE
from primaldual.reporting.palette import BLUE, GREY, INK, ORANGE

plt.rcParams.update(STYLE)


def gaussian(query, key):
    """exp(-|x - y|^2 / (2 * 0.12^2)), (queries, keys)."""
    return (-torch.cdist(query, key).square() / (2 * 0.12**2)).exp()


constant = pdl.derive(gaussian)
linear = pdl.PrimalProblem(
    feature_map=constant.feature_map, order=pdl.LocalLinear(ridge=0.0)
)


def attend(problem, queries, keys, values):
    """One head of one sequence: (queries, D), (keys, D), (keys,) -> (queries,)."""
    return problem.attend(
        queries[None, None], keys[None, None], values[None, None, :, None]
    )[0, 0, :, 0]


# %%
# A curve with noise
# ------------------
# Eighty keys lie between 0 and 1. Their values follow a curve that is steep at both ends.
generator = torch.Generator().manual_seed(2)
keys = torch.rand(80, 1, generator=generator, dtype=torch.float64).sort(0).values


def truth(x):
    """The curve without noise."""
    return 3 * (2 * x - 1) ** 3 + 0.5 * x


values = truth(keys[:, 0]) + 0.25 * torch.randn(
    80, generator=generator, dtype=torch.float64
)
fine = torch.linspace(0, 1, 201, dtype=torch.float64).unsqueeze(-1)
curves = {
    "local constant": attend(constant, fine, keys, values),
    "local line": attend(linear, fine, keys, values),
}
for name, curve in curves.items():
    ends = (curve - truth(fine[:, 0]))[[0, -1]].tolist()
    print(
        f"{name}: output less truth {ends[0]:+.2f} at the left, {ends[1]:+.2f} at the right"
    )

# %%
# A plane without noise
# ---------------------
# Here 600 keys fill a square, and their values are an affine function of the key. Whatever error is left is bias.
places = torch.rand(600, 2, generator=generator, dtype=torch.float64)
slope = torch.tensor([1.0, 2.0], dtype=torch.float64)
axis = torch.linspace(0, 1, 81, dtype=torch.float64)
grid = torch.cartesian_prod(axis, axis)
errors = {
    name: (attend(problem, grid, places, places @ slope) - grid @ slope)
    .reshape(81, 81)
    .T
    for name, problem in {"local constant": constant, "local plane": linear}.items()
}
for name, error in errors.items():
    print(
        f"{name}: largest error {error.abs().max():.1e}, mean {error.abs().mean():.1e}"
    )

# %%
# What to see
# -----------
# On the left, at both ends, the local constant bends away from the curve: all of its neighbours lie inwards, and their
# mean stands for the edge. The local line stays close to it. In the maps, the error of the local constant lies along the
# border: below −0.1 beyond the dashed line, where values are large, and above 0.1 beyond the other line, where they are
# small. The smaller error inside comes from the uneven density of keys. The local plane has no error that a picture
# could show: it reproduces affine values exactly, up to rounding.
figure = plt.figure(figsize=(8.6, 3.5))
left, middle, right = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
left.plot(keys, values, "o", mfc="none", mec=GREY, ms=4, label="values")
left.plot(fine, truth(fine), color=INK, lw=1.4, label="truth")
left.plot(
    fine, curves["local constant"], "--", color=ORANGE, lw=2, label="local constant"
)
left.plot(fine, curves["local line"], color=BLUE, lw=2, label="local line")
left.set(xlabel="key, query", ylabel="value, output", title="a curve with noise")
left.legend(loc="lower right")

limit = float(errors["local constant"].abs().max())
for axes, (name, error) in zip((middle, right), errors.items(), strict=True):
    shown = axes.imshow(
        error.numpy(),
        origin="lower",
        extent=(0, 1, 0, 1),
        cmap="PuOr",
        vmin=-limit,
        vmax=limit,
    )
    if error.abs().max() > 0.1:
        axes.contour(
            axis,
            axis,
            error.numpy(),
            levels=(-0.1, 0.1),
            colors=INK,
            linewidths=1.1,
        )
    axes.plot(*places.T, ".", color=INK, ms=1)
    axes.grid(visible=False)
    axes.set(
        title=f"{name} on a plane",
        xlabel="feature 1",
        xticks=(0, 0.5, 1),
        yticks=(0, 0.5, 1),
    )
middle.set_ylabel("feature 2")
figure.colorbar(
    shown,
    ax=[middle, right],
    label="output less truth",
    location="bottom",
    aspect=40,
)
plt.show()
