"""
A new attention in 40 lines
===========================

An attention is stated by its parts. This example states a kernel of its own, examines it with the contract that all
attentions of the library keep, and shows what it does that softmax cannot do.
"""

# %%
# The kernel
# ----------
# Student's t kernel falls with the distance between query and key, and has heavy tails. Its definition is one line;
# masks, heads, gradients, causal form and decoding follow from the library.
import matplotlib.pyplot as plt
import torch

import primaldual as pdl
from primaldual.reporting.drawing import STYLE, shades
from primaldual.reporting.palette import BLUE, INK, ORANGE
from primaldual.testing import check_attention

plt.rcParams.update(STYLE)


class Student(pdl.FeatureMap):
    """kappa(x, y) = 1 / (1 + |x - y|^2 / width^2)."""

    def __init__(self, width=1.0):
        super().__init__()
        self.width = width

    def arguments(self):
        return (self.width,)

    def kernel(self, query, key):
        squared = (query.unsqueeze(-2) - key.unsqueeze(-3)).square().sum(-1)
        return 1 / (1 + squared / self.width**2)


student = pdl.PrimalProblem(feature_map=Student(0.15))

# %%
# The examination
# ---------------
# ``check_attention`` compares the fast form with the definition in outputs and all gradients, under every mask, and
# checks padding, the causal form, decoding and more. It raises at the first rule that is broken.
check_attention(pdl.PrimalProblem(feature_map=Student()), level="quick")
print(student.equation())
print("computed by:", student.explain((1, 1, 400, 2)).forms)

# %%
# Which key does a query attend to most?
# --------------------------------------
# Twelve keys lie in a plane. Every point of the plane is a query; the question is which key it weighs most.
generator = torch.Generator().manual_seed(3)
keys = torch.rand(12, 2, generator=generator) * 1.6 - 0.8
axis = torch.linspace(-1, 1, 220)
queries = torch.cartesian_prod(axis, axis)
winners, strengths = {}, {}
for name, problem in {
    "softmax": pdl.preset("softmax(scale=30)"),
    "student": student,
}.items():
    weights = problem.weights(queries[None, None], keys[None, None])[0, 0]
    strengths[name], winners[name] = weights.max(-1)
    print(f"{name}: {len(winners[name].unique())} of 12 keys win somewhere")

# %%
# What to see
# -----------
# Darker places give a larger weight to their key. Softmax scores are inner products, so the regions of softmax are
# sectors around 0: the keys marked with a cross lie within the hull of the others and win nowhere, not even at their own
# place.
# Regions of the new kernel are the cells of the nearest key, and every key has one.
figure, panels = plt.subplots(1, 2, figsize=(8.6, 4.6), sharey=True)
for axes, (name, winner) in zip(panels, winners.items(), strict=True):
    image, strength = (
        tensor.reshape(220, 220).T for tensor in (winner, strengths[name])
    )
    shown = axes.pcolormesh(
        axis.numpy(),
        axis.numpy(),
        strength.numpy(),
        cmap=shades(BLUE),
        vmin=0,
        vmax=1,
    )
    for key in winner.unique():
        axes.contour(
            axis,
            axis,
            (image == key).float().numpy(),
            levels=[0.5],
            colors=INK,
            linewidths=1,
        )
    wins = torch.isin(torch.arange(12), winner)
    axes.plot(
        *keys[wins].T,
        "o",
        color=ORANGE,
        mec="white",
        ms=9,
        label="key that wins somewhere",
    )
    axes.plot(
        *keys[~wins].T,
        "X",
        color=INK,
        mec="white",
        ms=10,
        label="key that wins nowhere",
    )
    axes.set(
        xlabel="feature 1",
        title=f"{name}: {int(wins.sum())} of 12 keys win",
        aspect="equal",
    )
    axes.grid(visible=False)
panels[0].set_ylabel("feature 2")
figure.legend(
    *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2
)
figure.colorbar(shown, ax=panels, label="largest weight of the query", shrink=0.8)
plt.show()
