"""
Decoding with half the cache
============================

A transformer that writes token by token keeps the keys and values of all tokens before. Scaled heads keep averages of
them, so their cache is smaller. This example decodes the same tokens with four attentions and draws what each keeps.
"""

# %%
# A prompt and the tokens after it
# --------------------------------
# ``init_state`` makes an empty cache, and ``step`` takes in the next tokens and returns their outputs. Here a layer
# with four heads of 64 features reads 2048 tokens in pieces of 64.
import matplotlib.pyplot as plt
import torch

import primaldual as pdl
from primaldual.reporting.drawing import STYLE
from primaldual.reporting.palette import BLUE, INK, looks

plt.rcParams.update(STYLE)
torch.manual_seed(0)
heads, head_dim, length, piece = 4, 64, 2048, 64
tokens = torch.randn(3, 1, heads, length, head_dim)  # queries, keys and values

sizes = {}
for spec in ("softmax", "sh(1,2,4,8)", "window(256)", "linear"):
    problem = pdl.preset(spec)
    state = problem.init_state(batch=1, heads=heads, head_dim=head_dim)
    sizes[spec], outputs = [], []
    for part in tokens.split(piece, dim=3):
        outputs.append(problem.step(state, *part))
        sizes[spec].append(state.nbytes / 2**20)
    whole = problem.attend(*tokens, is_causal=True)
    error = (torch.cat(outputs, 2) - whole).abs().max()
    share = sizes[spec][-1] / sizes["softmax"][-1]
    print(
        f"{spec:12} {sizes[spec][-1]:5.2f} MiB, {share:6.1%} of softmax's; ", end=""
    )
    print(f"largest difference to the causal form {error:.0e}")

# %%
# What a scaled head keeps
# ------------------------
# A head of scale r keeps the averages of complete windows of r tokens, and the sum of the window that it is in. A token
# sees its own window only as far as it has come, so no output ever depends on later tokens.
scales, shown = (1, 2, 4, 8), 45
state = pdl.preset("sh(1,2,4,8)").init_state(
    batch=1, heads=heads, head_dim=head_dim
)
pdl.preset("sh(1,2,4,8)").step(state, *tokens[..., :shown, :])
share = state.nbytes / (shown * heads * 2 * head_dim * 4)
print(f"{state.nbytes} bytes after {shown} tokens, {share:.1%} of all")

# %%
# What to see
# -----------
# On the left: the cache over the tokens read. That of ``sh(1,2,4,8)`` grows at 47 % of softmax's rate, since
# (1 + 1/2 + 1/4 + 1/8) / 4 = 0.47. That of ``window(256)`` never exceeds 1 MiB, since it drops old tokens, some hundred at
# once. ``linear`` keeps sums of one size from the start.
# On the right: what the four heads of ``sh(1,2,4,8)`` hold after 45 tokens, one block for each pair; the hatched block
# is the window that is not complete yet.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(9.2, 3.6), width_ratios=(1, 1.25)
)
for (spec, size), look in zip(
    sizes.items(), looks(list(sizes)).values(), strict=True
):
    steps = range(piece, length + 1, piece)
    left.plot(
        steps,
        size,
        color=look.color,
        ls=look.dashes,
        lw=1.8,
        marker=look.marker,
        markevery=(5, 8),
        ms=5,
        label=spec,
    )
left.set(
    xlabel="tokens read", ylabel="cache (MiB)", xlim=(0, length), ylim=(0, None)
)
left.legend()

for head, scale in enumerate(scales):
    for start in range(0, shown, scale):
        width = min(scale, shown - start)
        right.barh(
            head,
            width,
            left=start,
            height=0.62,
            color=BLUE,
            alpha=0.75 if width == scale else 0.3,
            hatch=None if width == scale else "////",
            edgecolor="white" if width == scale else INK,
            lw=0.8,
        )
right.set(
    xlabel="token",
    yticks=range(4),
    xlim=(0, shown),
    title=f"held after {shown} tokens",
)
right.set_yticklabels(
    [f"scale {scale}\n{-(-shown // scale)} pairs" for scale in scales]
)
right.invert_yaxis()
right.grid(visible=False)
plt.show()
