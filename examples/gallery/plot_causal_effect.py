"""
A causal effect by attention
============================

Who takes a treatment often differs from who does not, so the plain difference of outcomes is not an effect. Weights that
balance both groups undo that, and the problem that finds them is a support vector machine whose decision function is
softmax attention (Zhang et al., arXiv 2310.00809). The data are simulated, so the true effect is known.
"""

# %%
# Patients who choose their treatment
# -----------------------------------
# The outcome falls with age and rises with fitness. Young and fit patients take the treatment more often, and the
# treatment adds exactly 1 to the outcome.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.svm import SVC

import primaldual as pdl
from primaldual.reporting.drawing import STYLE
from primaldual.reporting.palette import BLUE, GREY, INK, ORANGE

plt.rcParams.update(STYLE)
EFFECT = 1.0


def simulate(seed, count=200):
    """Features (count, 2): age and fitness, in deviations; treatments, -1 or 1; outcomes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 2))
    chance = 1 / (1 + np.exp(0.9 * features[:, 0] - 0.9 * features[:, 1]))
    treatment = np.where(rng.random(count) < chance, 1, -1)
    base = (
        -1.5 * features[:, 0]
        + features[:, 1]
        + 0.5 * features[:, 0] * features[:, 1]
    )
    return (
        features,
        treatment,
        base + EFFECT * (treatment == 1) + 0.5 * rng.normal(size=count),
    )


# %%
# Balancing weights
# -----------------
# Weights a_i between 0 and 1 shall make the treated and the others alike in all features of the kernel, and keep many
# patients. With the kernel of softmax attention, and penalty times a_i as dual coefficients, this is the dual problem of
# a support vector machine: its constraint that the coefficients of both classes sum to the same number says that both
# groups keep the same total weight.
softmax = pdl.preset("softmax")
PENALTY = 10.0


def balance(features, treatment):
    """Weights, (count,), and the decision as attention: its values and intercept."""
    keys = torch.from_numpy(features)
    kernel = softmax.feature_map.kernel(keys, keys)
    normalizer = kernel.sum(1, keepdim=True)
    gram = kernel / normalizer / normalizer.T
    unit = gram.diagonal().mean()
    gram = (gram / unit).numpy()
    machine = SVC(kernel="precomputed", C=PENALTY, tol=1e-6).fit(gram, treatment)
    signed = np.zeros(len(treatment))
    signed[machine.support_] = machine.dual_coef_[0]
    values = torch.from_numpy(signed).unsqueeze(-1) / (normalizer * unit)
    decision = (
        softmax.attend(keys[None, None], keys[None, None], values[None, None])[
            0, 0, :, 0
        ]
        + machine.intercept_[0]
    )
    expected = machine.decision_function(gram)
    np.testing.assert_allclose(
        decision, expected, atol=1e-6
    )  # the machine's decision is attention
    return np.abs(signed) / PENALTY, values, float(machine.intercept_[0])


def difference(outcome, treatment, weights):
    """Weighted mean outcome of the treated, less that of the others."""
    treated = treatment == 1
    return np.average(outcome[treated], weights=weights[treated]) - np.average(
        outcome[~treated], weights=weights[~treated]
    )


# %%
# One data set, and forty
# -----------------------
features, treatment, outcome = simulate(seed=0)
weights, values, intercept = balance(features, treatment)
for name, chosen in {"plain": np.ones(len(weights)), "balanced": weights}.items():
    gaps = [difference(feature, treatment, chosen) for feature in features.T]
    effect = difference(outcome, treatment, chosen)
    print(
        f"{name:9} groups differ by {gaps[0]:+.2f} in age, "
        f"{gaps[1]:+.2f} in fitness, {effect:+.2f} in outcome"
    )

estimates = {"plain": [], "balanced": []}
for seed in range(40):
    drawn = simulate(seed)
    estimates["plain"].append(
        difference(drawn[2], drawn[1], np.ones(len(drawn[1])))
    )
    estimates["balanced"].append(
        difference(drawn[2], drawn[1], balance(*drawn[:2])[0])
    )
for name, found in estimates.items():
    print(
        f"{name:9} {np.mean(found):.2f} ± {np.std(found, ddof=1):.2f} over 40 data sets, "
        f"the truth is {EFFECT:.2f}"
    )

# %%
# What to see
# -----------
# On the left: the patients, their size being their weight. The background is the output of softmax attention over them,
# with the dual coefficients as values; it tells who tends to take the treatment. Patients far on their own side, who
# have no counterpart in the other group, get little or no weight. On the right: the plain difference of the groups is
# far off in every data set, the weighted one lies around the truth, a little above it.
axis = np.linspace(-3.2, 3.2, 90)
plane = torch.from_numpy(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
decision = softmax.attend(
    plane[None, None], torch.from_numpy(features)[None, None], values[None, None]
)
decision = decision[0, 0, :, 0].reshape(90, 90).numpy() + intercept

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9.0, 4.2), width_ratios=(1.2, 1)
)
limit = np.abs(decision).max()
shown = left.contourf(
    axis,
    axis,
    decision,
    levels=np.linspace(-limit, limit, 13),
    cmap="PuOr_r",
    alpha=0.55,
)
left.contour(axis, axis, decision, levels=[0], colors=INK, linewidths=1.2)
for group, (marker, color, name) in {
    1: ("o", ORANGE, "treated"),
    -1: ("s", BLUE, "not treated"),
}.items():
    here = treatment == group
    left.scatter(
        *features[here].T,
        s=4 + 45 * weights[here],
        marker=marker,
        color=color,
        edgecolors="white",
        lw=0.6,
        label=name,
    )
left.set(
    xlabel="age (deviations)",
    ylabel="fitness (deviations)",
    xlim=(-3.2, 3.2),
    ylim=(-3.2, 3.2),
)
left.grid(visible=False)
left.legend(loc="lower left", frameon=True)
figure.colorbar(
    shown,
    ax=left,
    label="output of attention",
    ticks=np.round(np.linspace(-limit, limit, 5), 1),
)

bins = np.arange(0.5, 4.01, 0.1)
right.hist(
    estimates["balanced"],
    bins,
    color=BLUE,
    alpha=0.8,
    label="balanced by attention",
)
right.hist(
    estimates["plain"],
    bins,
    color=GREY,
    alpha=0.8,
    hatch="///",
    edgecolor="white",
    label="plain difference",
)
right.axvline(EFFECT, color=INK, ls="--", lw=1.4, label="true effect")
right.set(xlabel="estimated effect", ylabel="data sets of 40")
right.legend()
plt.show()
