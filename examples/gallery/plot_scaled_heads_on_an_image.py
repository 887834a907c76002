"""
Scaled heads on an image
========================

Attention-SH fits each head on fewer training pairs: keys and values are averaged over patches of the image, and the
size of the patches differs from head to head. This example shows what four heads with scales 1, 2, 4 and 8 attend to
in a photograph, and what they make of it.
"""

# %%
# Pixels as tokens
# ----------------
# A photograph of scikit-learn is reduced to 48 x 48 pixels. Every pixel is a token; its query and key are its colour
# and its place, so it attends to pixels of like colour nearby. Its value is its colour.
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import primaldual as pdl
from primaldual.reporting.drawing import STYLE, shades
from primaldual.reporting.palette import BLUE, INK

plt.rcParams.update(STYLE)
side = 48
photograph = (
    Image.fromarray(load_sample_image("flower.jpg"))
    .crop((120, 0, 547, 427))
    .resize((side, side))
)
colours = torch.from_numpy(np.asarray(photograph) / 255.0).reshape(side * side, 3)
rows, columns = torch.meshgrid(
    torch.arange(side), torch.arange(side), indexing="ij"
)
places = torch.stack([rows, columns], -1).reshape(-1, 2) / side

# %%
# A kernel of distances
# ---------------------
# The inner product of ``(2 a x, -a)`` and ``(y, |y|^2)`` is ``-a |x - y|^2``, up to a number that depends on ``x`` alone and
# cancels in the softmax. So softmax attention on these six features weighs pixels by their distance.
features = torch.cat([2.0 * colours, 3.0 * places], -1)
sharpness = 8 * 6**0.5  # the square root undoes the usual scale of softmax
query = sharpness * torch.cat([2 * features, -torch.ones(side * side, 1)], -1)
key = torch.cat([features, features.square().sum(-1, keepdim=True)], -1)


def four_heads(tokens):
    """The same tokens for every head, (batch, heads, tokens, features)."""
    return tokens[None, None].expand(1, 4, -1, -1)


# %%
# Four scales at once
# -------------------
# ``grid`` says how the tokens lie, so that pairs are averaged over patches. The heads get the same queries, keys and
# values and differ in their scale alone.
problem = pdl.preset(f"sh(1,2,4,8,grid={side}x{side})")
outputs = problem.attend(four_heads(query), four_heads(key), four_heads(colours))[0]
pixel = 22 * side + 12
chosen = four_heads(query)[:, :, [pixel]]
maps = problem.attention_map(chosen, four_heads(key))[
    0, :, 0
]  # on pixels; a patch spreads its weight evenly
pairs = [weights.shape[-1] for weights in problem.weights(chosen, four_heads(key))]
print("training pairs of the heads:", pairs)

# %%
# What to see
# -----------
# Above: where the query in the marked place attends. The head of scale 1 picks single pixels of the petals, that of
# scale 8 chooses among 36 patches. Below: the output of all queries as an image. Queries are never pooled, so the
# outline of the flower stays sharp in every head; what gets coarser is the palette, since each output mixes averages of
# patches.
figure, panels = plt.subplots(2, 5, figsize=(9.4, 4.2))
panels[0, 0].imshow(photograph)
panels[0, 0].plot(pixel % side, pixel // side, "*", mfc="white", mec=INK, ms=14)
panels[0, 0].set_title("image and query (star)")
for head, (scale, count) in enumerate(zip((1, 2, 4, 8), pairs, strict=True)):
    panels[0, head + 1].imshow(
        maps[head].reshape(side, side).numpy(), cmap=shades(BLUE)
    )
    panels[0, head + 1].set_title(f"scale {scale}: {count} pairs")
    panels[1, head + 1].imshow(
        outputs[head].reshape(side, side, 3).clamp(0, 1).numpy()
    )
panels[0, 1].set_ylabel("weights of the query")
panels[1, 1].set_ylabel("output of all queries")
for axes in panels.flat:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
panels[1, 0].remove()
plt.show()
