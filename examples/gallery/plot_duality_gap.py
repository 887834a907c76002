"""
The duality gap falling
=======================

``solve`` does not only return values, it proves how good they are: the duality gap bounds how far the objective is
from the best one. This example watches the gap of four attentions fall, and shows where it comes from.
"""

# %%
# Four attentions on the same data
# --------------------------------
# The data are a decaying oscillation with noise, at 200 points. ``progress`` is called as the solver goes, with the
# number of outputs that are not solved yet and the largest relative gap among them.
import matplotlib.pyplot as plt
import torch

import primaldual as pdl
from primaldual.reporting.drawing import STYLE
from primaldual.reporting.palette import BLUE, GREY, INK, looks

plt.rcParams.update(STYLE)
generator = torch.Generator().manual_seed(0)
places = torch.linspace(0, 1, 200, dtype=torch.float64)
noise = torch.randn(200, generator=generator, dtype=torch.float64)
targets = ((-2 * places).exp() * (20 * places).sin() + 0.1 * noise).unsqueeze(-1)
keys = 4 * torch.stack(
    [(torch.pi * places).cos(), (torch.pi * places).sin()], -1
)  # on a half circle

gaps = {}
for spec in ("softmax", "bn", "sh(4)", "taylor(4)"):
    seen = []
    solution = pdl.solve(
        spec,
        keys,
        targets,
        C=10 / pdl.kernel_scale(spec, keys),
        epsilon=0.1,
        tolerance=1e-8,
        progress=lambda unsolved, gap, seen=seen: seen.append(gap),
    )
    gaps[spec] = seen
    print(f"{spec:9} gap {solution.duality_gap:.1e} after {len(seen)} reports")

# %%
# Where the gap comes from
# ------------------------
# The gap is a sum over the training pairs of terms that are 0 or more. A term is 0 where coefficient and residual obey
# the optimality conditions: a residual inside the tube has coefficient 0, one beyond has the coefficient C with its
# sign, and coefficients between these belong to residuals on the edge of the tube. ``tolerance`` says at which relative
# gap the solver may stop, so two tolerances show the same regression before and after.
solutions = [
    pdl.solve(
        "softmax",
        keys,
        targets,
        C=10 / pdl.kernel_scale("softmax", keys),
        epsilon=0.1,
        tolerance=tolerance,
    )
    for tolerance in (0.5, 1e-8)
]
for solution in solutions:
    count = int(solution.support.sum())
    print(
        f"gap {solution.duality_gap:.1e}: {count} of 200 points are support vectors"
    )

# %%
# What to see
# -----------
# On the left: three of the curves hardly move at first and then fall by powers of ten; that of ``sh(4)``, which has a
# quarter of the training pairs, falls steadily. In the middle and on the right: every point of the regression with its
# residual and its coefficient. The line is what optimality asks. At a gap of some per cent points lie off the line; at
# the end all of them lie on it, and anyone can check that without solving anything.
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(9.4, 3.5), width_ratios=(1.2, 1, 1)
)
for spec, look in looks(list(gaps)).items():
    steps = range(1, len(gaps[spec]) + 1)
    left.semilogy(
        steps,
        gaps[spec],
        color=look.color,
        marker=look.marker,
        ls=look.dashes,
        ms=4,
        label=spec,
    )
left.axhline(1e-8, color=GREY, lw=0.9, ls="--")
left.set(
    xlabel="report of the solver",
    ylabel="relative duality gap",
    title="the gap falls",
)
left.legend()
for axes, solution in zip((middle, right), solutions, strict=True):
    residual, coefficient = (
        targets - solution.fitted,
        solution.coefficients / solution.C,
    )
    axes.plot(
        (-0.4, -0.1, -0.1, 0.1, 0.1, 0.4),
        (-1, -1, 0, 0, 1, 1),
        color=BLUE,
        lw=4,
        alpha=0.3,
        label="optimality",
    )
    axes.plot(
        residual, coefficient, "o", color=INK, ms=4, mfc="none", label="points"
    )
    axes.set(
        xlim=(-0.4, 0.4),
        ylim=(-1.1, 1.1),
        xlabel="residual",
        title=f"gap {solution.duality_gap:.1e}",
    )
middle.set_ylabel("coefficient, in units of C")
right.legend(loc="lower right")
plt.show()
