"""Finished cells as tables of other programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from primaldual.errors import ArgumentError
from primaldual.experiments.comparing import Groups
from primaldual.experiments.store import Result
from primaldual.reporting.files import check_file, replacing, write_text
from primaldual.reporting.numbers import interval_text

TSML = "tsml"
_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}


def export(results: Sequence[Result], target: Path) -> list[Path]:
    """Write finished cells; the ending of the target chooses the form.

    Args:
        results: the cells.
        target: a ``.csv`` or ``.parquet`` file (a row for each cell), a ``.md`` or ``.tex`` file (a table of means), or
            a folder named ``tsml`` or without an ending, for the layout that aeon's results loaders read.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: another ending, nothing to write, a place that cannot be written, or a file that is no export.
    """
    if not results:
        raise ArgumentError("there are no finished results to export")
    ending = target.suffix.lower()
    if ending in {"", f".{TSML}"}:
        return _write_tsml(results, target)
    if ending == ".parquet":
        return _write_parquet(results, target)
    if ending not in _TEXTS:
        accepted = ", ".join([*_TEXTS, ".parquet", "a folder without an ending"])
        raise ArgumentError(f"export {target} ends in {ending}; accepted: {accepted}")
    text = _TEXTS[ending](results)
    _check(target, text.partition("\n")[0].encode())
    write_text(target, text)
    return [target]


def _check(target: Path, opening: bytes) -> None:
    check_file(target, "an earlier export of results", opening)


def rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A row of plain values for each cell."""
    return [
        {
            "data": result.data,
            "method": result.method,
            "seed": result.seed,
            "accuracy": result.accuracy,
            "balanced_accuracy": result.balanced_accuracy,
            "seconds": result.seconds,
            "cpu_seconds": result.cpu_seconds,
            "predict_seconds": result.predict_seconds,
            "best_epoch": result.best_epoch,
            "operations": result.measures.get("operations"),
            "head_distance": result.measures.get("head_distance"),
            "protocol": result.config["protocol"]["name"],
            "optimistic": result.optimistic,
            "estimator": result.config["estimator"],
            "code": result.config["code"],
            "key": result.key,
        }
        for result in results
    ]


def _csv(results: Sequence[Result]) -> str:
    target = io.StringIO()
    found = rows(results)
    writer = csv.DictWriter(target, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return target.getvalue()


def _cells(results: Sequence[Result], plus_minus: str) -> list[list[str]]:
    """Means with deviations, a row for each data set, and their mean with its interval."""
    groups = Groups(results)
    found = [["data set", *groups.methods]]
    for data in groups.data:
        row = [groups.of(data, method) for method in groups.methods]
        found.append([data, *("" if one is None else one.accuracy.text(1, 100) for one in row)])
    if len(groups.common) > 1:
        means = [f"{(groups.mean_accuracy(method) or 0.0) * 100:.1f}" for method in groups.methods]
        spans = [interval_text(groups.mean_interval(method)) for method in groups.methods]
        name = f"mean of {len(groups.common)}, 95 % interval"
        found.append([name, *(mean + span for mean, span in zip(means, spans, strict=True))])
    return [[cell.replace("±", plus_minus) for cell in row] for row in found]


def _warning(results: Sequence[Result]) -> str:
    if not any(result.optimistic for result in results):
        return ""
    return "Optimistic: the epoch was chosen by the test part."


def _markdown(results: Sequence[Result]) -> str:
    head, *body = ([cell.replace("|", r"\|") for cell in row] for row in _cells(results, "±"))
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    warning = _warning(results)
    return (
        f"Test accuracy in percent, mean ± sample deviation over seeds. {warning}".rstrip() + f"\n\n{table}"
    )


def _latex(results: Sequence[Result]) -> str:
    head, *body = ([_escaped(cell) for cell in row] for row in _cells(results, "±"))
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\hline",
        " & ".join(head) + r" \\",
        r"\hline",
    ]
    lines += [" & ".join(row) + r" \\" for row in body]
    warning = _warning(results)
    note = [f"% Test accuracy in percent, mean and sample deviation over seeds. {warning}".rstrip()]
    return "\n".join([*note, *lines, r"\hline", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text).replace("±", r"$\pm$")


_TEXTS: Mapping[str, Callable[[Sequence[Result]], str]] = {".csv": _csv, ".md": _markdown, ".tex": _latex}


def _write_parquet(results: Sequence[Result], target: Path) -> list[Path]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ArgumentError('export to .parquet needs pyarrow: pip install "primaldual[parquet]"') from None
    _check(target, b"PAR1")
    with replacing(target) as fresh:
        parquet.write_table(pyarrow.Table.from_pylist(rows(results)), fresh)
    return [target]


def _write_tsml(results: Sequence[Result], folder: Path) -> list[Path]:
    """``classification/accuracy/<method>_accuracy.csv``: a row for each data set, a column for each seed."""
    groups = Groups(results)
    written = []
    for method in groups.methods:
        found = {
            data: {result.seed: result.accuracy for result in group.results}
            for data in groups.data
            if (group := groups.of(data, method)) is not None
        }
        seeds = sorted({seed for accuracies in found.values() for seed in accuracies})
        target = io.StringIO()
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(["Resamples:", *seeds])
        writer.writerows(
            [data, *(accuracies.get(seed, "") for seed in seeds)] for data, accuracies in found.items()
        )
        path = folder / "classification" / "accuracy" / f"{_name_of_aeon(method)}_accuracy.csv"
        _check(path, b"Resamples:")
        write_text(path, target.getvalue())
        written.append(path)
    return written


def _name_of_aeon(method: str) -> str:
    """The name by which aeon knows a method; the label, fit for a file, of one that it does not know."""
    from aeon.benchmarking.results_loaders import estimator_alias

    try:
        return str(estimator_alias({"1-NN": "1NN-DTW"}.get(method, method)))
    except ValueError:
        return re.sub(r"[^\w.,()=+-]", "-", method)
