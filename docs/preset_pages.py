"""The pages of docs/presets: one for each preset with facts, one for each other word of a spec."""

from __future__ import annotations

import inspect
import re
import textwrap

import torch
from docs.preset_facts import PRESETS, Facts

from primaldual import PARTS, PrimalProblem, preset
from primaldual.errors import UnsupportedError
from primaldual.kernels.support_vectors.operators import FactoredKernel
from primaldual.primal.words import cost, examples, signature, summary
from primaldual.svr.training_kernel import training_kernels

HEADS, HEAD_DIM, SHORT, LONG = 4, 4, 16, 400
WRITTEN = "<!-- Written by docs/build.py: change it there. -->"


def shown_spec(word: str) -> str:
    """The spec that stands for a word in tables: that of its page."""
    alone = (
        facts.spec for facts in PRESETS if re.split(r"\W", facts.spec)[0] == word and "+" not in facts.spec
    )
    return next(alone, examples(word)[0])


def page_name(word: str) -> str:
    """File name of the page of a word."""
    spec = shown_spec(word)
    return next((facts.page for facts in PRESETS if facts.spec == spec), f"{word}.md")


def described(spec: str) -> list[str]:
    """A line for each word of a spec, and one for each of their classes."""
    words = [re.split(r"\W", part)[0] for part in spec.split("+")]
    kinds = [PARTS[word] for word in words]
    return [
        *(
            f"`{signature(word)}`: {summary(word)}{f'. Cost: {cost(word)}' if cost(word) else ''}"
            for word in words
        ),
        *(
            f"`{kind.__name__}`: {(inspect.getdoc(kind) or '').splitlines()[0].replace('``', '`')}"
            for kind in kinds
        ),
    ]


def kernel_form(problem: PrimalProblem, length: int) -> str:
    """The form of K in `solve` for so many keys: "dense", "factored", or why there is none."""
    keys = torch.randn(
        1, HEADS, length, HEAD_DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    mask = torch.ones(1, HEADS, length, dtype=torch.bool)
    try:
        found = {type(part.kernel) for part in training_kernels(problem, keys, mask, 2**30)}
    except UnsupportedError as error:
        return str(error)
    return "factored" if found == {FactoredKernel} else "dense"


def solving(problem: PrimalProblem) -> str:
    """Whether `solve` accepts the problem, and the kernel that it works on."""
    short, long = kernel_form(problem, SHORT), kernel_form(problem, LONG)
    if long not in ("dense", "factored"):
        return f"`solve` refuses: {long}."
    count = problem.feature_map.feature_count(HEAD_DIM)
    if long == "factored":
        assert short == "dense" or 4 * (count or 0) <= SHORT
        return (
            "`solve` accepts it. From N = 4 F keys on it works on the features Φ(k_j) / h(k_j), O(N F) numbers; below on "
            "the dense kernel matrix."
        )
    return "`solve` accepts it, on a dense kernel matrix of each head's training pairs."


def attending(spec: str, bound: bool, length: int = 16, inputs: str = "") -> list[str]:
    """The lines that attend, with the code of the inputs per token where there are some."""
    if not (inputs or all(need.of_value for need in preset(spec).token_inputs)):
        inputs = "inputs = problem.neutral_inputs(query, key, value)  # they change nothing"
    given = ", inputs=inputs" if inputs else ""
    if ordered(preset(spec)):
        given = f", is_causal=True{given}"
    binding = ".bind(heads=4, head_dim=8).double()" * bound
    return [
        "import torch",
        "import primaldual as pdl",
        "",
        f'problem = pdl.preset("{spec}"){binding}',
        "generator = torch.Generator().manual_seed(0)",
        f"query, key, value = torch.randn(3, 1, 4, {length}, 8, generator=generator, dtype=torch.float64).unbind(0)",
        *([inputs] if inputs else []),
        f"outputs = problem.attend(query, key, value{given})  # (batch, heads, length, features)",
        f"torch.testing.assert_close(outputs, problem.dense(query, key, value{given}))",
    ]


def snippet(facts: Facts) -> str:
    """Attend and, where there is one regression, solve."""
    lines = attending(facts.spec, bound=facts.bound, inputs=facts.inputs)
    if kernel_form(preset(facts.spec), LONG) in ("dense", "factored"):
        lines += [
            "",
            "targets = key[..., :1].sin()  # a regression for each head",
            "unit = pdl.kernel_scale(problem, key)",
            "solution = pdl.solve(problem, key, targets, C=10 / unit, epsilon=0.05)",
            "assert solution.duality_gap <= 1e-6",
            "attention = problem.attend(query, key, solution.values) + solution.intercept.unsqueeze(-2)",
            "torch.testing.assert_close(solution.predict(query), attention)",
        ]
    return "\n".join(lines)


def page(facts: Facts) -> str:
    """The page of a preset."""
    problem = preset(facts.spec)
    cases = ("every query sees every key", "causal", "a mask that differs by query")
    costs = [
        f"| {case} | {cost.time} | {cost.memory} | {cost.how} |"
        for case, cost in zip(cases, facts.costs, strict=True)
    ]
    shown = [f"{_wrapped(words[:-1])}:\n\n```python\n{code}\n```\n" for words, code in facts.reductions]
    taken, given = (", inputs=None", ", inputs=inputs") if facts.inputs else ("", "")
    own = [_wrapped(f"**Our reading.** {facts.reading}"), ""] if facts.reading else []
    lines = [
        WRITTEN,
        "",
        f"# `{facts.spec}`",
        "",
        *(_wrapped(f"* {line}") for line in described(facts.spec)),
        "",
        "## Equation",
        "",
        f"```math\n{problem.equation('latex')}\n```",
        "",
        _wrapped(f"**Primal.** {facts.primal}"),
        "",
        _wrapped(f"**Dual.** {facts.dual}"),
        "",
        "What the symbols mean, and how the second follows from the first:",
        "[From SVR to attention](../from_svr_to_attention.md).",
        "",
        "## Use",
        "",
        f"```python\n{snippet(facts)}\n```",
        "",
        _wrapped(solving(problem)),
        "",
        "## Cost",
        "",
        "Of one head, forward, for N queries and N keys of dimension D; training also keeps what the definition forms.",
        "",
        "| case | time | memory | how |",
        "|---|---|---|---|",
        *costs,
        "",
        "## What it reduces to",
        "",
        "```python",
        f"def attend(spec, is_causal=False{taken}):",
        f"    return pdl.preset(spec).attend(query, key, value, is_causal=is_causal{given})",
        "```",
        "",
        *shown,
        "## Source",
        "",
        _wrapped(f"{facts.source}."),
        "",
        *own,
    ]
    return "\n".join(lines).rstrip() + "\n"


def default_page(word: str) -> str:
    """The page of a word without facts: what its class and its forms say."""
    spec = shown_spec(word)
    problem = preset(spec).bind(4, 64)
    fixed = fixed_length(problem)
    lines = [
        WRITTEN,
        "",
        f"# `{spec}`",
        "",
        *(_wrapped(f"* {line}") for line in described(spec)),
        "",
        *arguments(word),
        "## Equation",
        "",
        f"```math\n{problem.equation('latex')}\n```",
        "",
        "What the symbols mean: [From SVR to attention](../from_svr_to_attention.md).",
        "",
        "## Use",
        "",
        "```python",
        *attending(spec, bound=True, length=fixed or 16),
        "```",
        "",
        *([] if fixed else cost_table(problem)),
        "## Contract",
        "",
        "Without `level` the check takes about half a minute and leaves nothing out.",
        "",
        "```python",
        "from primaldual.testing import check_attention",
        "",
        f'check_attention("{spec}", level="quick"{f", length={fixed}, fixed_length=True" if fixed else ""})',
        "```",
    ]
    return "\n".join(lines) + "\n"


def arguments(word: str) -> list[str]:
    """The section on the arguments of a class, from its docstring."""
    found = re.search(r"\nArgs:\n((?: +.*\n?)+)", (inspect.getdoc(PARTS[word]) or "") + "\n")
    if found is None:
        return []
    entries = re.split(r"\n(?=\S)", textwrap.dedent(found.group(1)).strip())
    told = [
        re.sub(r"\s+", " ", re.sub(r"^\*?(\w+):", r"* `\1`:", entry)).replace("``", "`") for entry in entries
    ]
    return ["## Arguments", "", *map(_wrapped, told), ""]


def ordered(problem: PrimalProblem) -> bool:
    """Whether every call must be causal."""
    return problem.solver.call_refusal(2, 2, False, False) is not None


def fixed_length(problem: PrimalProblem) -> int | None:
    """The number of positions that examples of a fixed length are for; None if the problem serves every length."""
    parameter = next(problem.parameters(), torch.zeros(()))
    try:
        problem.init_state(1, 4, 64, dtype=parameter.dtype)
    except UnsupportedError:
        return 12
    return None


def cost_table(problem: PrimalProblem) -> list[str]:
    """The section on the forms that serve a problem, and on what they cost."""
    mask = torch.ones(1024, 1024, dtype=torch.bool)
    rows = []
    cases = {
        "every query sees every key": {},
        "causal": {"is_causal": True},
        "a mask that differs by query": {"mask": mask},
    }
    if ordered(problem):
        cases = {"causal": {"is_causal": True}}
    for case, options in cases.items():
        found = problem.explain((1, 4, 1024, 64), **options)
        numbers = sum(part.cost.numbers for part in found.served)
        rows.append(
            f"| {case} | {found.operations / 1e6:,.0f} million | {numbers / 1e6:,.1f} million | {', '.join(found.forms)} |"
        )
    return [
        "## Cost",
        "",
        _wrapped(
            "Four heads, forward, on the CPU, for 1024 queries and keys of dimension 64; `problem.explain` gives other "
            "sizes, and why no other form serves."
        ),
        "",
        "| case | operations | intermediate numbers | form |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def index() -> str:
    """The list of pages."""
    rows = [
        f"| [`{cell(facts.spec)}`]({facts.page}) | {cell(facts.dual)} | {facts.costs[0].time} | "
        f"{_short(kernel_form(preset(facts.spec), LONG))} |"
        for facts in PRESETS
    ]
    rows += [
        f"| [`{shown_spec(word)}`]({page_name(word)}) | {_sentence(summary(word))} | {cost(word)} | |"
        for word in undescribed()
    ]
    lines = [
        WRITTEN,
        "",
        "# Presets",
        "",
        _wrapped(
            "A page for each attention: its primal and its dual, what it costs, what it reduces to, whether its regression "
            "can be solved. Specs combine freely; these are the parts alone and some combinations."
        ),
        "",
        "| spec | the attention | time, all keys | kernel in `solve` |",
        "|---|---|---|---|",
        *rows,
        "",
        "N queries and keys of dimension D, F features, r the scale of a head. *Factored* kernels are dense below 4 F keys.",
        "",
        "The derivation: [From SVR to attention](../from_svr_to_attention.md). The parts:",
        "[All of primaldual](../all_of_primaldual.md). Written by `make docs`.",
    ]
    return "\n".join(lines) + "\n"


def undescribed() -> list[str]:
    """Words without facts."""
    pages = {facts.page for facts in PRESETS}
    return [word for word in PARTS if page_name(word) not in pages]


def cell(text: str) -> str:
    """Text for a cell of a table, which a bar would end."""
    return text.replace("|", r"\|")


def _sentence(text: str) -> str:
    return cell(f"{text[:1].upper()}{text[1:]}.")


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text,
        116,
        subsequent_indent="  " * text.startswith("* "),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _short(form: str) -> str:
    return form if form in ("dense", "factored") else "refused: a regression for each query"


def pages() -> dict[str, str]:
    """What belongs into the folder: file name -> text."""
    return {
        "README.md": index(),
        **{facts.page: page(facts) for facts in PRESETS},
        **{page_name(word): default_page(word) for word in undescribed()},
    }
