"""
Redundancy of heads before and after training
=============================================

Heads of a layer often learn the same thing. This example trains the same small transformer twice, once with four
softmax heads and once with four scaled heads, and compares how alike the outputs of the heads are before and after.
"""

# %%
# A task with structure at several scales
# ---------------------------------------
# Sequences of 96 noisy tokens, in which 16 neighbouring tokens carry one of four patterns. Which one is it?
import matplotlib.pyplot as plt
import torch

import primaldual as pdl
from primaldual.reporting.drawing import STYLE, shades
from primaldual.reporting.palette import BLUE, INK

plt.rcParams.update(STYLE)
LENGTH, CHANNELS, RUN = 96, 8, 16


def draw_cases(count, seed):
    """Tokens (count, length, channels) and the pattern, (count,)."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.eye(CHANNELS)[:4]
    labels = torch.randint(4, (count,), generator=generator)
    starts = torch.randint(LENGTH - RUN + 1, (count, 1), generator=generator)
    inside = (torch.arange(LENGTH) >= starts) & (
        torch.arange(LENGTH) < starts + RUN
    )
    noise = torch.randn(count, LENGTH, CHANNELS, generator=generator)
    return noise + 1.3 * inside.unsqueeze(-1) * patterns[labels].unsqueeze(
        1
    ), labels


# %%
# Two models, one recipe
# ----------------------
# Both have the same initial weights, the same batches and the same number of steps. ``head_report`` measures the
# likeness of heads by linear CKA of their outputs: 1 means alike up to rotation and scale.


def train(attention, steps=120):
    """Likeness before and after, (heads, heads) each, and accuracy on new cases."""
    torch.manual_seed(0)
    model = pdl.TimeSeriesTransformer(
        CHANNELS,
        LENGTH,
        4,
        embed_dim=32,
        num_layers=1,
        feedforward_dim=64,
        attention=attention,
        head="mean",
        dropout=0.0,
    )
    seen, _ = draw_cases(64, seed=1)
    before = pdl.head_report(model, seen, ablate=False).layers[0].likeness
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        tokens, labels = draw_cases(32, seed=100 + step)
        loss = torch.nn.functional.cross_entropy(model(tokens), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens, labels = draw_cases(500, seed=2)
    with torch.no_grad():
        accuracy = float((model.eval()(tokens).argmax(-1) == labels).float().mean())
    after = pdl.head_report(model, seen, ablate=False).layers[0].likeness
    return before, after, accuracy


others = ~torch.eye(4, dtype=torch.bool)
results = {spec: train(spec) for spec in ("softmax", "sh(1,4,8,16)")}
for spec, (before, after, accuracy) in results.items():
    means = f"{before[others].mean():.2f} before, {after[others].mean():.2f} after"
    print(f"{spec:13} likeness {means}, accuracy {accuracy:.0%}")

# %%
# What to see
# -----------
# Each square compares two heads; dark squares off the diagonal are redundant heads. Before training the scaled heads are
# more alike than those of softmax. Training pulls them apart until no two are much alike, while some pairs of softmax
# heads stay as alike as they were; and the model with scaled heads is right more often, as printed above. This is one
# seed, and a task whose patterns are as long as the windows of the heads. On other tasks scaled heads may lose.
figure, panels = plt.subplots(2, 2, figsize=(6.6, 6.6))
for row, (spec, (before, after, _)) in zip(panels, results.items(), strict=True):
    for axes, (when, likeness) in zip(
        row, {"before": before, "after": after}.items(), strict=True
    ):
        image = axes.imshow(likeness.numpy(), cmap=shades(BLUE), vmin=0, vmax=1)
        for first in range(4):
            for second in range(4):
                number = float(likeness[first, second])
                axes.text(
                    second,
                    first,
                    f"{number:.2f}",
                    ha="center",
                    va="center",
                    color="white" if number > 0.6 else INK,
                )
        axes.set(
            xticks=range(4),
            yticks=range(4),
            title=f"{spec} {when}: mean {likeness[others].mean():.2f}",
        )
        axes.grid(visible=False)
    row[0].set_ylabel("head")
for axes in panels[1]:
    axes.set_xlabel("head")
figure.colorbar(
    image,
    ax=panels,
    label="likeness of two heads (linear CKA)",
    location="bottom",
    aspect=40,
)
plt.show()
