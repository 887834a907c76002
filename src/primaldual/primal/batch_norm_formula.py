"""Batch normalisation as lines of an equation."""


def batch_norm_formula(beta: float | None, eps: float | None, running: bool, style: str) -> list[str]:
    """T(x) = (x - beta mu) / sqrt(sigma^2 + eps), and what mu and sigma^2 are.

    Args:
        beta: the factor on the mean; None = learned, one for each head.
        eps: added to the variance; None = no division.
        running: whether running averages stand for mu and sigma^2 in evaluation.
        style: "text" or "latex".

    Example:
        >>> batch_norm_formula(0.5, None, True, "text")
        ['T(x) = x − 0.5 μ', 'μ = mean_j k_j', 'in evaluation μ is its running average over the training batches']
    """
    latex = style == "latex"
    moved = beta is None or beta != 0
    centred = _centred(beta, latex) if moved else "x"
    if latex:
        mean, variance = r"\mu = \tfrac1N\sum_j k_j", r",\quad \sigma^2 = \tfrac1N\sum_j (k_j - \mu)^2"
    else:
        mean, variance = "μ = mean_j k_j", ",  σ² = mean_j (k_j − μ)²"
    if eps is None:
        whole, used = centred, [mean] if moved else []
    else:
        whole, used = _divided(f"({centred})" if moved else centred, eps, latex), [mean + variance]
    if running and used:
        used.append(_in_evaluation(eps is not None, latex))
    return [f"T(x) = {whole}", *used]


def _centred(beta: float | None, latex: bool) -> str:
    number = "" if beta is None or abs(beta) == 1 else f"{abs(beta):g}"
    sign = "+" if beta is not None and beta < 0 else "-" if latex else "−"
    if latex:
        return f"x {sign} " + (r"\beta_h" if beta is None else number) + r"\mu"
    return f"x {sign} " + ("β_h " if beta is None else f"{number} ".lstrip()) + "μ"


def _divided(centred: str, eps: float, latex: bool) -> str:
    if not latex:
        return f"{centred} / √(σ² + {eps:g})"
    mantissa, _, exponent = f"{eps:e}".partition("e")
    shown = ("" if float(mantissa) == 1 else rf"{float(mantissa):g}\cdot ") + rf"10^{{{int(exponent)}}}"
    return centred + rf"\big/\sqrt{{\sigma^2 + {shown}}}"


def _in_evaluation(divided: bool, latex: bool) -> str:
    """What running statistics change."""
    words = "are their running averages" if divided else "is its running average"
    words += " over the training batches"
    if latex:
        which = r"\mu, \sigma^2" if divided else r"\mu"
        return rf"\text{{in evaluation }} {which} \text{{ {words}}}"
    return f"in evaluation {'μ, σ²' if divided else 'μ'} {words}"


def gain_formula(per: str, style: str) -> str:
    """Where the learned gain stands.

    Example:
        >>> gain_formula("feature", "text")
        'queries are multiplied by a learned g_hd, one for each feature of each head'
    """
    letter, owner = ("g_{hd}", "feature of each head") if per == "feature" else ("g_h", "head")
    if style == "latex":
        return rf"\text{{queries are multiplied by a learned }} {letter} \text{{, one for each {owner}}}"
    return f"queries are multiplied by a learned {letter.replace('{', '').replace('}', '')}, one for each {owner}"
