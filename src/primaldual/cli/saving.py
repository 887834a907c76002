"""Where commands write, checked before anything is computed."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from primaldual.errors import ArgumentError, CheckpointError
from primaldual.experiments.saved_classifier import is_saved_classifier
from primaldual.reporting.files import check_file, check_writable, is_free

Rows = Sequence[Mapping[str, Any]]


def check_model_folder(folder: Path) -> None:
    """Refuse a place where a classifier cannot be saved.

    Raises:
        ArgumentError: its parent is not writable, or something else is there.
    """
    check_writable(folder.parent)
    if not (is_free(folder) or is_saved_classifier(folder)):
        raise ArgumentError(
            f"out {folder} exists and is not a saved classifier; give a new folder or an empty one"
        )


def check_target(out: Path | None, as_json: bool) -> str:
    """The kind of file to write, a key of `WRITERS`.

    Raises:
        ArgumentError: another ending than .csv or .json, or than --json asks for, a folder that is not writable, or a file
            that holds something else.
    """
    if out is None:
        return ".json" if as_json else ".csv"
    ending = out.suffix.lower()
    if ending not in WRITERS:
        raise ArgumentError(f"out {out} ends in {ending or 'nothing'}; accepted: {', '.join(WRITERS)}")
    if as_json and ending != ".json":
        raise ArgumentError(f"--json writes .json; out {out} ends in {ending}")
    check_file(out, "a table of predictions", OPENINGS[ending])
    return ending


def _csv_text(rows: Rows) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def _json_text(rows: Rows) -> str:
    return json.dumps(rows, indent=2) + "\n"


WRITERS: Mapping[str, Callable[[Rows], str]] = {".csv": _csv_text, ".json": _json_text}
"""Text of a table of predictions, by file ending."""

OPENINGS: Mapping[str, bytes] = {".csv": b"case,predicted,", ".json": b'[\n  {\n    "case": '}
"""How these texts begin."""


def save_classifier(classifier: Any, out: Path) -> None:
    """Save; where that fails, in a temporary folder, for training may have taken long.

    Raises:
        CheckpointError: ``out`` cannot be written.
    """
    from primaldual.cli.mishaps import in_one_line

    try:
        classifier.save(out)
    except Exception as error:
        reason = in_one_line(error)
        if reason is None:
            raise
        elsewhere = Path(tempfile.mkdtemp(prefix="primaldual-")) / "model"
        try:
            classifier.save(elsewhere)
        except Exception:
            shutil.rmtree(elsewhere.parent, ignore_errors=True)
            raise CheckpointError(f"out {out} cannot be written: {reason}") from error
        raise CheckpointError(
            f"out {out} cannot be written: {reason}; the trained classifier is in {elsewhere}"
        ) from error
