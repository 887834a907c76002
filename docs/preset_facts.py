"""What the code does not say of the presets: the regression in words, costs by formula, what they reduce to, sources.

A word without an entry gets a page all the same, of what its class says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PAPER = (
    "Nguyen et al., [A Primal-Dual Framework for Transformers and Neural Networks](https://arxiv.org/abs/2406.13781), "
    "ICLR 2023"
)
SDPA = "PyTorch's SDPA"
DEFINITION = "the definition, in chunks of queries"
SCORES = "products of queries and keys, then means and filters of these scores"
PER_QUERY = "the keys of a few queries at a time"
MERGED = "merged with the few keys that the query cuts off"


@dataclass(frozen=True)
class Cost:
    """What one case takes: time and memory of a head, forward, N queries and keys of dimension D."""

    time: str
    memory: str
    how: str


@dataclass(frozen=True)
class Facts:
    """What the code does not say of itself.

    Attributes:
        spec: the preset.
        primal: the regression in words.
        dual: the attention in words.
        costs: every query sees every key; causal; a mask that differs by query.
        reductions: what it reduces to, in words, and the code that shows it.
        source: where it comes from.
        reading: what is our reading; "" for nothing.
        inputs: the code of its inputs per token, from query, key, value and generator; "" where it needs none.
        bound: whether it has parameters of each head, which ``bind`` creates.
    """

    spec: str
    primal: str
    dual: str
    costs: tuple[Cost, Cost, Cost]
    reductions: tuple[tuple[str, str], ...]
    source: str
    reading: str = ""
    inputs: str = ""
    bound: bool = False

    @property
    def page(self) -> str:
        """File name."""
        words = re.sub(r"\((?:[\d.]+,?)+(?:kept=[\d.]+)?\)", "", self.spec)
        return re.sub(r"\W+", "_", words).strip("_") + ".md"


def same(left: str, right: str) -> str:
    """The code that compares two attentions, both ways."""
    return (
        "for is_causal in (False, True):\n"
        f'    left, right = attend("{left}", is_causal), attend("{right}", is_causal)\n'
        "    torch.testing.assert_close(left, right)"
    )


def nearer(specs: tuple[str, ...], limit: str) -> str:
    """The code that shows a sequence of attentions coming closer to another."""
    listed = ", ".join(f'"{spec}"' for spec in specs)
    return (
        f'differences = [attend(spec) - attend("{limit}") for spec in ({listed})]\n'
        "errors = [float(difference.abs().max()) for difference in differences]\n"
        "assert errors == sorted(errors, reverse=True)\n"
        "assert errors[-1] < 0.1 * errors[0]"
    )


SOFTMAX_COSTS = (
    Cost("O(N² D)", "O(N D) where SDPA runs its fused kernels", SDPA),
    Cost("half of that", "O(N D)", f"{SDPA} with its causal flag; padded keys too: with a mask"),
    Cost("O(N² D)", "the mask, N² bools", f"{SDPA} with the mask"),
)
BN_COSTS = (
    Cost("O(N² D) + one pass over the keys", "as softmax", f"another query against centred keys, {SDPA}"),
    Cost(
        "half of that + running sums, O(N D)",
        "O(N D): a mean and a variance for each query",
        "the same, row by row",
    ),
    Cost(
        "O(N² D): two more products with the mask",
        "scores of a block of queries",
        f"{SCORES}, statistics by query",
    ),
)
POOLED_COSTS = (
    Cost(
        "mean of 1/r over the heads (0.69 here) of softmax",
        "O(N D)",
        f"keys and values pooled, in layers before they are projected; {SDPA} for each scale",
    ),
    Cost(
        "the same share of O(N² D)",
        "O(N²/r) for pooled heads: scores are formed",
        "complete windows and the mean of the own one so far, one softmax; on a grid as under a mask by query",
    ),
    Cost(
        "O(N² D)",
        "scores of a block of queries",
        f"{SCORES}, for pools that differ by query; heads of scale 1 by SDPA",
    ),
)
CONV_COSTS = (
    Cost("O(N D) for the filter, then as softmax", "as softmax", f"one depthwise convolution, {SDPA}"),
    Cost(
        "as softmax, + O(N D) for each tap beside the middle one",
        "O(N D)",
        f"SDPA's kernel on filtered keys, {MERGED}; `causal=true` cuts off none",
    ),
    Cost("O(N² D) for each tap", "scores of a block of queries", SCORES),
)
NORMALIZED_CONV_COST = Cost(
    "O(N² D) for filters, statistics and scores",
    "scores of a block of queries",
    f"{SCORES}, statistics by query",
)

PRESETS = (
    Facts(
        "softmax",
        "A layer on all monomials of the key, divided by the sum of the kernels over the training set.",
        "Softmax attention: weights exp(q·k_j / √D), divided by their sum.",
        SOFTMAX_COSTS,
        (
            (
                "PyTorch's scaled dot-product attention.",
                "fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)\n"
                'torch.testing.assert_close(attend("softmax"), fused)',
            ),
            (
                "`constant` divided by what `constant` gives on values of 1.",
                'ones = pdl.preset("constant").attend(query, key, torch.ones_like(value))\n'
                'torch.testing.assert_close(attend("softmax"), attend("constant") / ones)',
            ),
        ),
        PAPER,
    ),
    Facts(
        "linear",
        "A layer on D positive features of the key, divided by the sum of the kernels.",
        "Linear attention: Φ(q) meets the sum Σ_j Φ(k_j) v_jᵀ, which is computed once.",
        (
            Cost("O(N D²)", "O(N D)", "Φ(k)ᵀ v first"),
            Cost("O(N D²)", "O(N D): a state of D² numbers for every 64 positions", "chunks of 64 positions"),
            Cost("O(N² D)", "scores of a block of queries", f"{PER_QUERY}, by features"),
        ),
        (
            (
                "`derive` with elu(x) + 1 as the only choice.",
                "derived = pdl.derive(lambda x: torch.nn.functional.elu(x) + 1)\n"
                'torch.testing.assert_close(derived.attend(query, key, value), attend("linear"))',
            ),
        ),
        "Katharopoulos et al., Transformers are RNNs, ICML 2020; as a regression, " + PAPER,
    ),
    Facts(
        "taylor(2)",
        "A layer on the monomials of the key up to degree 2, divided by the sum of the kernels.",
        "Weights 1 + s + s²/2 of the scores s = q·k_j / √D, divided by their sum.",
        (
            Cost(
                "O(N F D), F = 1 + D + D², if F ≤ max(4 D, N); else O(N² D)",
                "O(N F); else scores of a chunk",
                "Φ(k)ᵀ v first; else the definition",
            ),
            Cost("the same", "O(N F)", "chunks of 64 positions; else the definition"),
            Cost("O(N² D)", "scores of a chunk", DEFINITION),
        ),
        (
            ("`softmax` as the order grows.", nearer(("taylor(2)", "taylor(4)", "taylor(8)"), "softmax")),
            (
                "The mean of the values at order 0.",
                'torch.testing.assert_close(attend("taylor(0)"), value.mean(-2, keepdim=True).expand_as(value))',
            ),
        ),
        "The series of the exponential kernel",
        "The cut is ours. Odd orders may give negative weights; order 2 does not.",
    ),
    Facts(
        "random(64)",
        "A layer on 64 random positive features, whose products estimate the exponential kernel.",
        "An estimate of softmax attention at the cost of linear attention.",
        (
            Cost(
                "O(N F D), F = 64, if F ≤ max(4 D, N); else O(N² F)",
                "O(N F)",
                "Φ(k)ᵀ v first; else the definition",
            ),
            Cost("the same", "O(N F)", "chunks of 64 positions; else the definition"),
            Cost("O(N² F)", "scores of a chunk", DEFINITION),
        ),
        (
            (
                "`softmax` as the number of features grows, with an error of about its inverse root, but the larger the "
                "longer queries and keys are; they are halved here.",
                'exact = pdl.preset("softmax").attend(query / 2, key / 2, value)\n'
                'problems = [pdl.preset(f"random({count})") for count in (16, 256, 4096)]\n'
                "estimates = [problem.attend(query / 2, key / 2, value) for problem in problems]\n"
                "errors = [float((estimate - exact).square().mean().sqrt()) for estimate in estimates]\n"
                "assert errors == sorted(errors, reverse=True)\n"
                "assert errors[-1] < 0.25 * errors[0]",
            ),
        ),
        "Choromanski et al., Rethinking Attention with Performers, ICLR 2021; as a regression, " + PAPER,
    ),
    Facts(
        "constant",
        "A layer on all monomials of the key, not divided by anything: the textbook regression.",
        "Attention without normalisation: weights exp(q·k_j / √D), which need not sum to one.",
        (
            Cost("O(N² D)", "scores of a chunk", DEFINITION),
            Cost("O(N² D)", "scores of a chunk", DEFINITION),
            Cost("O(N² D)", "scores of a chunk", DEFINITION),
        ),
        (
            (
                "The textbook kernel expansion Σ_j exp(q·k_j / √D) v_j.",
                "kernel = (query @ key.mT / query.shape[-1] ** 0.5).exp()\n"
                'torch.testing.assert_close(attend("constant"), kernel @ value)',
            ),
        ),
        "Smola and Schölkopf, A tutorial on support vector regression, 2004",
        "Here for comparison; with `linear+constant` the features are used, O(N D²).",
    ),
    Facts(
        "sink(0)",
        "The layer of softmax whose h has one more term, e^s: a training pair of value 0 whose kernel is the same for every "
        "query.",
        "Softmax attention times sigmoid(log Σ_j exp(q·k_j / √D) − s): a head may attend to nothing.",
        (
            Cost(
                "O(N² D)",
                "as softmax",
                "PyTorch's CPU kernel with its log-sum-exp; elsewhere SDPA with one more key",
            ),
            Cost("half of that", "as softmax", "the same"),
            Cost("O(N² D)", "the mask, N² bools", "the same under the mask"),
        ),
        (
            (
                "`softmax` with one more key of score s and value 0.",
                "more = [torch.nn.functional.pad(part, (0, 0, 0, 1)) for part in (key, value)]\n"
                'torch.testing.assert_close(attend("sink(0)"), pdl.preset("softmax").attend(query, *more))',
            ),
            ("`softmax` far below every score.", same("sink(-1000)", "softmax")),
        ),
        "Learned sinks of the open weights of gpt-oss, 2025; as a term of h, ours",
        "With `bn` and other transforms the sink is compared with T(q)·T(k_j) itself.",
    ),
    Facts(
        "bn",
        "The layer of softmax behind a batch normalisation of its input, the training keys being the batch.",
        "Attention-BN: softmax attention in which the query is (q − μ) / (σ² + 10⁻⁵).",
        BN_COSTS,
        (
            ("`softmax` without a mean and without a deviation.", same("bn(beta=0,scale=none)", "softmax")),
            (
                "`softmax` on keys that are normalised already, and another query.",
                "mean, variance = key.mean(-2, keepdim=True), key.var(-2, keepdim=True, correction=0)\n"
                "deviation = (variance + 1e-5).sqrt()\n"
                "arguments = (query - mean) / deviation, (key - mean) / deviation, value\n"
                'torch.testing.assert_close(attend("bn"), pdl.preset("softmax").attend(*arguments))',
            ),
        ),
        "Attention-BN of " + PAPER,
        "Biased variance, per head and sequence, over the keys that the query may attend; β = 1, learnable by option.",
    ),
    Facts(
        "bn(scale=none)",
        "The layer of softmax on inputs from which the mean of the training keys is subtracted.",
        "Softmax attention in which the query is q − μ.",
        (
            BN_COSTS[0],
            Cost(
                "half of that + running sums, O(N D)", "O(N D): a mean for each query", "the same, row by row"
            ),
            BN_COSTS[2],
        ),
        (
            ("`softmax` without a mean.", same("bn(beta=0,scale=none)", "softmax")),
            (
                "`softmax` where the keys have mean 0.",
                "arguments = query, key - key.mean(-2, keepdim=True), value\n"
                'recentred = pdl.preset("bn(scale=none)").attend(*arguments)\n'
                'torch.testing.assert_close(recentred, pdl.preset("softmax").attend(*arguments))',
            ),
        ),
        "Attention-BN of " + PAPER,
        "Recentring alone is an option of ours.",
    ),
    Facts(
        "whiten",
        "The layer of softmax in the metric of the inverse covariance of the query's keys: 0.9 of it, and 0.1 of its "
        "diagonal.",
        "Softmax attention with the queries (0.9 Σ + 0.1 diag Σ + ε I)⁻¹ (q − μ).",
        (
            Cost(
                "O(N² D + N D²)",
                "as softmax",
                f"one covariance for all queries, in float64, whitened keys, and {SDPA}",
            ),
            Cost(
                "half of O(N² D), and O(N D³)",
                "2^21 numbers of covariances",
                "running moments and a D × D system for every query, in float64, a block of queries at a time",
            ),
            Cost("O(N² D²)", "the keys of every query", DEFINITION),
        ),
        (
            ("`bn` with the diagonal alone.", same("whiten(1)", "bn")),
            (
                "Any invertible affine map of queries and keys changes nothing, without shrinking and with ε near 0.",
                "turn = torch.randn(query.shape[-1], query.shape[-1], generator=generator, dtype=torch.float64)\n"
                'plain = pdl.preset("whiten(0,eps=1e-12)")\n'
                "turned = plain.attend(query @ turn + 1, key @ turn + 1, value)\n"
                "torch.testing.assert_close(turned, plain.attend(query, key, value), rtol=1e-4, atol=1e-4)",
            ),
        ),
        "Ours, as the step from Attention-BN, of "
        + PAPER
        + ", to local linear attention, whose metric is the covariance under "
        "the attention weights",
        "Everything but the means and variances that it shares with Attention-BN.",
    ),
    Facts(
        "window(8)",
        "A layer of softmax for each query, fitted on the keys at most 8 positions from it.",
        "Sliding-window attention: 17 keys for each query, 9 if causal.",
        (
            Cost(
                "O(N w D), w = 17",
                "O(N w)",
                "blocks of queries against slabs of keys, with a backward of its own",
            ),
            Cost("half of that", "O(N w)", "the same"),
            Cost("O(N² D)", "the mask, N² bools", f"{SDPA} with the band added to the mask"),
        ),
        (("`softmax` when the radius reaches every key.", same("window(15)", "softmax")),),
        "Sparse attention; as a regression for each query, " + PAPER,
        "The band is one sparse pattern; `MaskedKeys` takes any other.",
    ),
    Facts(
        "sh(1,1,2,4)",
        "Layers of softmax, that of head h fitted on N / r_h pairs: means of keys and targets over r_h positions.",
        "Attention-SH: head h attends N / r_h pooled keys and values.",
        POOLED_COSTS,
        (
            ("`softmax` with all scales 1.", same("sh(1,1,1,1)", "softmax")),
            (
                "The mean of the values when one window holds all positions.",
                'torch.testing.assert_close(attend("sh(16,16,16,16)"), value.mean(-2, keepdim=True).expand_as(value))',
            ),
        ),
        "Attention-SH of " + PAPER,
        "The abstract says that less training data is used; consecutive windows and their means are our reading, and so "
        "are `prefix`, `suffix` (first and last tokens that stay by themselves) and `weighted`, by which a pair counts "
        "for its n members: log n is added to its logit.",
    ),
    Facts(
        "top(2,3)",
        "The layer of softmax for each query, whose training pairs are those of the 2 blocks of 3 keys with the largest "
        "q · mean(k).",
        "Softmax attention under a mask that follows from the scores of whole blocks.",
        (
            Cost("as softmax", "the mask", f"means of blocks, a mask of them, and {SDPA}"),
            Cost("as softmax", "the mask", "the same with a running mean of the current block"),
            Cost(
                "as softmax, and O(N² D)",
                "the mask",
                "the same, with the scores of the single keys in float64",
            ),
        ),
        (
            ("`softmax` when all blocks are taken.", same("top(6,3)", "softmax")),
            (
                "`window(0)` for one block of one key, where the own key has the largest score.",
                "unit = query / query.norm(dim=-1, keepdim=True)\n"
                'found = pdl.preset("top(1,1)").attend(query, unit, value)\n'
                'torch.testing.assert_close(found, pdl.preset("window(0)").attend(query, unit, value))',
            ),
        ),
        "MoBA, [arXiv 2502.13189](https://arxiv.org/abs/2502.13189), with `last=true`",
        "Without `last` the current block is taken if its score says so. Blocks count by what a query may attend of them.",
    ),
    Facts(
        "window(8)|sh(4)",
        "A layer for each query, fitted on single keys at most 8 positions from it and on means of all windows of 4.",
        "Softmax over both kinds of pairs at once: near keys exactly, all keys pooled.",
        (
            Cost(
                "O(N (w + N/r) D), w = 17, r = 4",
                "O(N (w + N/r))",
                "each kind by its own kernel, merged by log-sum-exp",
            ),
            Cost("half of that", "O(N (w + N/r))", "the same, complete windows only"),
            Cost("O(N² D)", "scores of a block of queries", SCORES),
        ),
        (
            (
                "`softmax` when all keys are there twice.",
                same("sh(1)|sh(1)", "softmax"),
            ),
            (
                "`window` when `disjoint=true` leaves nothing to pool.",
                same("window(15)|sh(4)|disjoint=true", "window(15)"),
            ),
        ),
        "Pooled and recent keys together are known from sparse attentions such as NSA, arXiv 2502.11089; as one multiset of "
        "training pairs, ours",
        "That overlapping pairs count twice, and that a window which is not complete for a query is left out where the "
        "other subset holds all of its members.",
    ),
    Facts(
        "alibi",
        "The layer of softmax for each query, in which a training pair counts exp(−m_h |i − j|) for query i.",
        "Softmax attention with −m_h |i − j| added to the scores, m_h = 2^(−8 (h + 1) / H).",
        (
            Cost(
                "O(N² D)",
                "as softmax",
                "PyTorch's CPU kernel, 256 queries at a time; elsewhere scores of some queries",
            ),
            Cost(
                "half of that at most",
                "as softmax",
                "the same kernel; keys too far away to have a weight are left out",
            ),
            Cost("O(N² D)", "the mask, N² numbers", "the kernel of the first case, under the mask"),
        ),
        (
            ("`softmax` with slopes 0.", same("alibi(0,0,0,0)", "softmax")),
            ("`window(0)` with very large slopes.", same("alibi(1000,1000,1000,1000)", "window(0)")),
        ),
        "Press, Smith, Lewis, [Train Short, Test Long](https://arxiv.org/abs/2108.12409), ICLR 2022; as weights of training "
        "pairs, ours",
        "A pooled pair has the geometric mean of its members' weights; statistics of `bn` count every key alike.",
    ),
    Facts(
        "forget",
        "The layer of softmax for each query i, in which a training pair j counts the product of the gates f_t of the "
        "tokens j < t ≤ i.",
        "Softmax attention with log f_(j+1) + ... + log f_i added to the scores.",
        (
            Cost("O(N² D)", "scores of a block of queries", SCORES),
            Cost(
                "half of that at most",
                "as softmax",
                "PyTorch's CPU kernel in blocks of queries, without keys that are forgotten; elsewhere as above",
            ),
            Cost("O(N² D)", "scores of a block of queries", SCORES),
        ),
        (
            (
                "`softmax` where no gate closes.",
                'open_gates = {"log_gate": torch.zeros(1, 4, 16)}\n'
                'torch.testing.assert_close(attend("forget", True, open_gates), attend("softmax", True))',
            ),
            (
                "`alibi` with the same gate for every token.",
                'same_gates = {"log_gate": torch.full((1, 4, 16), -0.5)}\n'
                'left, right = attend("forget", True, same_gates), attend("alibi(0.5,0.5,0.5,0.5)", True)\n'
                "torch.testing.assert_close(left, right)",
            ),
        ),
        "Lin, Nikishin, He, Courville, [Forgetting Transformer](https://arxiv.org/abs/2503.02130), ICLR 2025; as weights of "
        "training pairs, ours",
        "The source is causal and makes log f_t = log sigmoid(w·x_t + b). Our layers take min(w·x_t + b, 0), with w = 0 and "
        "b = 0 at first: gates are open then, so that conversion changes nothing, and learn nevertheless. Without a causal "
        "mask, the gates between query and key count in either direction. A pooled pair has the geometric mean of its "
        "members' weights; statistics of `bn` count every key alike.",
        'inputs = {"log_gate": torch.rand(1, 4, 16, generator=generator, dtype=torch.float64).log()}',
    ),
    Facts(
        "lla(1)",
        "An affine function for each query i: min over b, W of Σ_j κ_ij ‖v_j − b − W (k_j − q_i)‖² + λ ‖W‖², of which the "
        "output is b; softmax is the constant b alone.",
        "v̄ + C_vk (C_kk + λ/ω I)⁻¹ (q − k̄), all moments under the softmax weights, ω the sum of exp(q·k_j/√D).",
        (
            Cost(
                "O(N² D²)",
                "2^20 weights and 2^22 products of keys",
                "products of weights with products of keys, one D × D system for each query",
            ),
            Cost("half of that", "the same", "the same, without later keys"),
            Cost("O(N² D²)", "the same", "the same, under the mask"),
        ),
        (
            (
                "`softmax` as λ grows.",
                "for is_causal in (False, True):\n"
                '    left, right = attend("lla(1000000)", is_causal), attend("softmax", is_causal)\n'
                "    torch.testing.assert_close(left, right, rtol=0, atol=1e-4)",
            ),
            (
                "Values that are affine functions of the keys are reproduced, with λ = 0.",
                'found = pdl.preset("lla(0)").attend(query, key, 2 * key + 1)\n'
                "torch.testing.assert_close(found, 2 * query + 1, rtol=1e-6, atol=1e-6)",
            ),
        ),
        "Local linear attention, [arXiv 2510.01450](https://arxiv.org/abs/2510.01450)",
        "That λ counts against ω; with other parts the keys are the transformed ones, and the pairs those of the subset.",
    ),
    Facts(
        "elliptical",
        "The layer of softmax in a diagonal metric m: how much each feature of the values changed since the previous "
        "layer, on average over the query's keys, over the largest of these numbers. m is a constant of the regression.",
        "Softmax attention with the queries m ⊙ q.",
        (
            Cost("as softmax, and O(N D)", "as softmax", f"one metric for all queries, and {SDPA}"),
            Cost("half of that", "the same", f"running sums, a metric for every query, and {SDPA}"),
            Cost("as softmax, and O(N² D)", "the mask", f"a product of the mask and the changes, and {SDPA}"),
        ),
        (
            (
                "`softmax` where no value changed, and where there is no previous layer.",
                'same = attend("elliptical", True, {"previous_value": value})\n'
                'torch.testing.assert_close(same, attend("softmax", True))\n'
                'first = {"previous_value": torch.full_like(value, torch.nan)}\n'
                'torch.testing.assert_close(attend("elliptical", True, first), attend("softmax", True))',
            ),
            (
                "A metric of one feature, where only its values changed.",
                "one = torch.zeros_like(value)\n"
                "one[..., 0] = 1\n"
                'found = attend("elliptical", False, {"previous_value": value - one})\n'
                'wanted = pdl.preset("softmax").attend(query * one, key, value)\n'
                "torch.testing.assert_close(found, wanted)",
            ),
        ),
        "Nielsen, Abdullaev, Teo, Nguyen, Elliptical Attention, NeurIPS 2024, "
        "[arXiv 2406.13770](https://arxiv.org/abs/2406.13770)",
        "The mean is over the keys that a query may attend. The released code takes it over all positions, padding and "
        "later ones included, and divides 0 by 0 where no value changed.",
        'inputs = {"previous_value": torch.randn(value.shape, generator=generator, dtype=torch.float64)}',
    ),
    Facts(
        "gated(3)",
        "The layer of softmax on pairs that are pooled over windows of 3 positions, each feature by a softmax of gates.",
        "Softmax attention to the pools. Beside a window and a sink, as `hca(rate, window)`, it is the heavily compressed "
        "attention of DeepSeek-V4: complete pools, the last `window` keys by themselves, and a pair of value 0.",
        (
            Cost("O(N² D / 3)", "the pools", f"pools formed once, and {SDPA}"),
            Cost(
                "O(N² D)",
                "the pools of every query",
                f"{DEFINITION}; beside a window of 2 or more pools formed once",
            ),
            Cost("O(N² D)", "the pools of every query", DEFINITION),
        ),
        (
            (
                "`sh` with one scale, where the gates of a window are equal.",
                'equal = {"key_gate": torch.ones_like(key), "value_gate": torch.ones_like(value)}\n'
                'torch.testing.assert_close(attend("gated(3)", True, equal), attend("sh(3)", True))',
            ),
            (
                "One position of each window, where its gates are far larger.",
                "first = 1000.0 * (torch.arange(16) % 3 == 0).to(key.dtype)[:, None].expand_as(key)\n"
                'found = attend("gated(3)", False, {"key_gate": first, "value_gate": first})\n'
                'alone = pdl.preset("softmax").attend(query, key[:, :, ::3], value[:, :, ::3])\n'
                "torch.testing.assert_close(found, alone)",
            ),
        ),
        "The compressor of DeepSeek-V4 (2026), as the library transformers has it",
        "There keys are values and share one gate; here each has its own. A pool that is not complete is that of its "
        "members so far, unless a window holds them.",
        "inputs = {\n"
        "    name: torch.randn(key.shape, generator=generator, dtype=torch.float64)\n"
        '    for name in ("key_gate", "value_gate")\n'
        "}",
    ),
    Facts(
        "rpc(2,4)",
        "Queries and keys are a low-rank part L and a sparse part S, as in principal component pursuit, min ‖L‖_* + λ ‖S‖₁ "
        "over K = L + S by alternating directions; the step that makes L small in rank is an attention to the values.",
        "Softmax attention of cleaned queries to cleaned keys, whose cleaning reads the fits of the rounds before.",
        (
            Cost(
                "O((2 n − 1) N² D)",
                "queries and keys of a round",
                f"{SDPA}, n times at the queries, n − 1 at the keys",
            ),
            Cost("half of that", "the same", "the same, the scale of each key from its prefix"),
            Cost("O((2 n − 1) N² D)", "the mask", "the same; needs a query for every key"),
        ),
        (
            (
                "`clip(t)` with n = 1, where t = λ / (4 mean |k|).",
                "t = 4 / (4 * key[:, :1].abs().mean())\n"
                'one = pdl.preset("rpc(1,4)").attend(query[:, :1], key[:, :1], value[:, :1])\n'
                "clipped = [tensor[:, :1].clamp(-t, t) for tensor in (query, key)]\n"
                'wanted = pdl.preset("softmax").attend(*clipped, value[:, :1])\n'
                "torch.testing.assert_close(one, wanted)",
            ),
            (
                "The mean of the values with λ = 0, where everything is sparse.",
                "means = value.mean(2, keepdim=True).expand_as(value)\n"
                'torch.testing.assert_close(attend("rpc(2,0)"), means)',
            ),
        ),
        "Teo, Nguyen, Unveiling the Hidden Structure of Self-Attention via Kernel Principal Component Analysis, "
        "NeurIPS 2024, [arXiv 2406.13762](https://arxiv.org/abs/2406.13762)",
        "Published with queries that are the keys; here queries are cleaned as keys are. Under a causal mask the scale μ is "
        "that of the prefix. The scripts of the authors take n = 4 and λ = 4 in the first layer, or n = 2 in all; their μ "
        "counts the features of all heads, so our λ is theirs times the number of heads. That values are eigenvectors of "
        "the kernel is contested (arXiv 2505.07908) and no property of this layer: `analysis.eigenvector_alignment` "
        "measures it.",
    ),
    Facts(
        "differential(0.5)",
        "Two regressions on the same targets, one for each half of the features of queries and keys; the fit of the second, "
        "by a share a, is taken from the first.",
        "The difference of two softmax attentions to the same values; weights that both give cancel, and those of a query "
        "add up to 1 − a.",
        (
            Cost("O(N² (D + 2 Dv))", "as softmax", f"{SDPA} on each half"),
            Cost("half of that", "the same", "the same"),
            Cost("O(N² (D + 2 Dv))", "the mask", "the same"),
        ),
        (
            (
                "`softmax` on the first halves where a is 0.",
                'first = pdl.preset("softmax").attend(query[..., :4], key[..., :4], value)\n'
                'none = pdl.preset("differential(0)").bind(heads=4, head_dim=8).double()\n'
                "torch.testing.assert_close(none.attend(query, key, value), first)",
            ),
        ),
        "Ye et al., Differential Transformer, ICLR 2025, [arXiv 2410.05258](https://arxiv.org/abs/2410.05258)",
        "a is learned itself, one number per head, where the paper takes the difference of two exponentials of products; "
        "the normalisation of each head after it is left to the layer.",
        bound=True,
    ),
    Facts(
        "parallax",
        "The layer of softmax for each query, whose local model is b + W (k − q) with a slope along a probe r, an input.",
        "v̄ − Cov(v, k) r = Σ_j w_j (1 − (k_j − k̄)·r) v_j: softmax less its directional derivative along r, by 1/√D.",
        (
            Cost("O(N² D)", "2^18 weights", "two products of scores in blocks of queries"),
            Cost("half of that", "the same", "the same, without later keys"),
            Cost("O(N² D)", "the same", "the same, under the mask"),
        ),
        (
            (
                "`softmax` where the probe is 0.",
                'no_probe = {"probe": torch.zeros_like(query)}\n'
                'torch.testing.assert_close(attend("parallax", True, no_probe), attend("softmax", True))',
            ),
            (
                "Values that do not vary come out as they are, whatever the probe is.",
                'found = pdl.preset("parallax").attend(query, key, torch.ones_like(value), inputs=inputs)\n'
                "torch.testing.assert_close(found, torch.ones_like(value))",
            ),
        ),
        "Parallax, [arXiv 2605.29157](https://arxiv.org/abs/2605.29157)",
        "Layers make the probe from the token by a linear map that is 0 at first, so that conversion changes nothing.",
        'inputs = {"probe": torch.randn(query.shape, generator=generator, dtype=torch.float64)}',
    ),
    Facts(
        "anchored(1,1,2,4,kept=0.5)",
        "As sh, but each pair stands for its members around one query, and the keys that this query weighs most are pairs "
        "by themselves.",
        "Scaled heads for models that are trained already: of N / r_h pairs a share `kept` are single keys, the others "
        "means weighted by exp(a_h · k_j), with what they count added to their logits.",
        (
            Cost(
                "mean(1/r) of softmax, + O(N D) and a sort",
                "O(N D)",
                f"pooled by scattering, then {SDPA} with a bias",
            ),
            Cost("O(N² D), and a sort of every row", "scores of a block of queries", SCORES),
            Cost("O(N² D), and a sort of every row", "scores of a block of queries", SCORES),
        ),
        (
            ("`softmax` with all scales 1.", same("anchored(1,1,1,1,kept=0.5)", "softmax")),
            (
                "`sh` that counts members, without kept keys and with anchors of 0.",
                same("anchored(1,1,2,4)", "sh(1,1,2,4,weighted=true)"),
            ),
        ),
        "Ours, after Attention-SH of " + PAPER,
        "All of it is ours; `compress` sets the anchors to the mean queries of real inputs.",
    ),
    Facts(
        "bn+sh(1,1,2,4)",
        "Layers behind a batch normalisation, each fitted on the pooled pairs of its head.",
        "Attention-BN within each head, mean and variance being those of its pooled keys.",
        (
            Cost(
                "as sh, + one pass over the pooled keys",
                "O(N D)",
                f"pooled, then another query, {SDPA} for each scale",
            ),
            Cost("as sh, + running sums, O(N D)", "O(N²/r) for pooled heads", "as sh, statistics row by row"),
            Cost("O(N² D)", "scores of a block of queries", f"{SCORES}, statistics by query"),
        ),
        (
            ("`bn` with all scales 1.", same("bn+sh(1,1,1,1)", "bn")),
            ("`sh` without mean and deviation.", same("bn(beta=0,scale=none)+sh(1,1,2,4)", "sh(1,1,2,4)")),
        ),
        "Attention-BN and Attention-SH of " + PAPER,
        "That statistics are taken over the pooled keys.",
    ),
    Facts(
        "conv(3)",
        "The layer of softmax, fitted at keys that are filtered along the sequence.",
        "Softmax attention against convolved keys; queries stay as they are, unless `queries=true`.",
        CONV_COSTS,
        (
            ("`softmax` at the start: filters begin as the identity.", same("conv(3)", "softmax")),
            (
                "`softmax` on keys that are convolved before.",
                'problem = pdl.preset("conv(3)").bind(heads=4, head_dim=8)\n'
                "with torch.no_grad():\n"
                "    problem.transform.weight.normal_()\n"
                "    filters = problem.transform.weight.reshape(32, 1, 3).double()\n"
                "channels = key.transpose(-2, -1).reshape(1, 32, 16)\n"
                "filtered = torch.nn.functional.conv1d(channels, filters, padding=1, groups=32)\n"
                "convolved = filtered.reshape(1, 4, 8, 16).transpose(-2, -1)\n"
                'softmax = pdl.preset("softmax").attend(query, convolved, value)\n'
                "torch.testing.assert_close(problem.attend(query, key, value), softmax)",
            ),
        ),
        "The abstract of the paper names convolution layers: " + PAPER,
        "All of it: where the filter stands, that f is fitted at the convolved keys, depthwise filters, zeros outside.",
    ),
    Facts(
        "conv2d(3)",
        "The layer of softmax, fitted at keys that are filtered over an image.",
        "Softmax attention against keys convolved over a grid, a square unless `grid=RxC` says otherwise.",
        (
            CONV_COSTS[0],
            CONV_COSTS[2],
            CONV_COSTS[2],
        ),
        (
            ("`softmax` at the start: filters begin as the identity.", same("conv2d(3)", "softmax")),
            (
                "`conv` on an image of one row.",
                'row, line = (pdl.preset(spec).bind(4, 8) for spec in ("conv2d(3,grid=1x16)", "conv(3)"))\n'
                "with torch.no_grad():\n"
                "    row.transform.weight.normal_()\n"
                "    line.transform.weight.copy_(row.transform.weight[:, :, 1])\n"
                "torch.testing.assert_close(row.attend(query, key, value), line.attend(query, key, value))",
            ),
        ),
        "The abstract of the paper names convolution layers: " + PAPER,
        "All of it, as for `conv`.",
    ),
    Facts(
        "conv(3)+bn",
        "The layer of softmax behind two transforms: keys are filtered, then normalised by their mean and deviation.",
        "Attention-BN against convolved keys.",
        (
            Cost(
                "O(N D) for the filter, then as bn",
                "as softmax",
                f"one depthwise convolution, another query, {SDPA}",
            ),
            NORMALIZED_CONV_COST,
            NORMALIZED_CONV_COST,
        ),
        (
            ("`bn` at the start.", same("conv(3)+bn", "bn")),
            ("`conv` without mean and deviation.", same("conv(3)+bn(beta=0,scale=none)", "conv(3)")),
        ),
        "Attention-BN and, by name, convolution layers: " + PAPER,
        "The chain, and all that is said for `conv`.",
    ),
)
