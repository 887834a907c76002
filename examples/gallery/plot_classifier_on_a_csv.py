"""
A classifier on a CSV file of one's own
=======================================

Series often come as a table with a row for each case and time, of unequal lengths and with gaps. This example writes
such a file, trains a classifier on it, and asks how early in a series it can tell the classes apart.
"""

# %%
# A file as an instrument writes it
# ---------------------------------
# Two hundred patients with a temperature and a pulse for each day. Half of them have a cold, the others the flu, whose
# fever rises slowly from the fifth day on. A tenth of the temperatures is missing.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import primaldual as pdl
from primaldual.data import Reading, load
from primaldual.reporting.drawing import STYLE
from primaldual.reporting.palette import BLUE, GREY, INK, ORANGE

plt.rcParams.update(STYLE)
ONSET = 5


def write_visits(path, rng):
    """One row for each patient and day; an empty cell is a missing value."""
    lines = ["patient;day;illness;temp;pulse"]
    for patient in range(200):
        ill, days = patient % 2 == 1, int(rng.integers(14, 22))
        fever = (
            np.clip(np.arange(days) - ONSET, 0, None) * rng.uniform(0.05, 0.2) * ill
        )
        temp = 36.7 + rng.normal(0, 0.15) + fever + rng.normal(0, 0.25, days)
        pulse = 64 + rng.normal(0, 6) + 4 * fever + rng.normal(0, 4, days)
        for day in range(days):
            cell = (
                "" if rng.random() < 0.1 else f"{temp[day]:.1f}".replace(".", ",")
            )
            lines.append(
                f"p{patient};{day};{'flu' if ill else 'cold'};{cell};{pulse[day]:.0f}"
            )
    path.write_text("\n".join(lines) + "\n")


# %%
# Reading and training
# --------------------
# ``Reading`` names the columns. ``load`` reads the decimal commas, keeps the empty cells as missing values, and splits
# off 30 % of every class for the test.
reading = Reading(
    case="patient", time="day", label="illness", channels=("temp", "pulse")
)
with tempfile.TemporaryDirectory() as folder:
    write_visits(Path(folder) / "visits.csv", np.random.default_rng(0))
    print((Path(folder) / "visits.csv").read_text()[:90])
    train, test = (
        load(Path(folder) / "visits.csv", part, reading=reading)
        for part in ("train", "test")
    )
print(train.summary)
print(test.summary)

classifier = pdl.AttentionRidgeClassifier(random_state=0).fit(train.X, train.y)
accuracy = np.mean(classifier.predict(test.X) == test.y)
print(
    f"chosen by left-out cases: {classifier.attention_}; test accuracy {accuracy:.1%}"
)

# %%
# How early?
# ----------
# A series that is cut after some days is a series too. The classifier gives the probability of the flu after every day.
days = np.arange(4, 15)
ill = list(classifier.classes_).index("flu")
early = np.stack(
    [
        classifier.predict_proba([series[:, :day] for series in test.X])[:, ill]
        for day in days
    ]
)
above = early[:, test.y == "flu"] > 0.5
crossing = days[above.argmax(0)][above.any(0)]
between = np.sum((crossing > 8) & (crossing < 13))
print(
    f"patients with the flu that first cross one half after 9 to 12 days: {between}"
)
for day, row in zip(days[::5], early[::5], strict=True):
    right = np.mean((row > 0.5) == (test.y == "flu"))
    print(f"after {day} days {right:.0%} of the test patients are classified right")

# %%
# What to see
# -----------
# On the left: a fever that can hardly be seen in single days, with gaps where a temperature is missing. The grey line is
# the fifth day. On the right: one line for each test patient. Before the fever shows, the classifier takes almost all of
# them for colds, since it was trained on whole series, where only colds have no fever. Nearly all patients with
# the flu cross one half when 9 to 12 days are seen, and at the end almost all cases are told apart.
figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.8))
for name, color, dashes in (("cold", BLUE, "-"), ("flu", ORANGE, "--")):
    cases = [
        series
        for series, label in zip(test.X, test.y, strict=True)
        if label == name
    ]
    for place, series in enumerate(cases[:8]):
        left.plot(
            series[0],
            color=color,
            ls=dashes,
            lw=1.1,
            alpha=0.8,
            label=name if not place else "",
        )
    for place, column in enumerate(early.T[test.y == name]):
        right.plot(
            days,
            column,
            color=color,
            ls=dashes,
            lw=0.9,
            alpha=0.6,
            label=name if not place else "",
        )
left.axvline(ONSET, color=GREY, lw=1)
left.set(
    xlabel="day",
    xticks=range(0, 21, 5),
    ylabel="temperature (°C)",
    title="eight test patients of each class",
)
left.legend(loc="upper left")
right.axhline(0.5, color=INK, lw=1, ls=":")
right.axvline(ONSET, color=GREY, lw=1)
right.set(
    xlabel="days seen",
    xticks=range(4, 15, 2),
    ylabel="predicted probability of flu",
    ylim=(0, 1),
    title="all test patients",
)
plt.show()
