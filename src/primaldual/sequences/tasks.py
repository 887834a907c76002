"""The tasks of Long Range Arena, and what data each is learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from primaldual.errors import ArgumentError, DataError, did_you_mean
from primaldual.sequences.listops import ListOps
from primaldual.sequences.listops_task import COUNTS as LISTOPS_COUNTS
from primaldual.sequences.listops_task import listops_parts
from primaldual.sequences.pathfinder_task import COUNTS as PATHFINDER_COUNTS
from primaldual.sequences.pathfinder_task import pathfinder_parts
from primaldual.sequences.pixels import pixel_parts
from primaldual.sequences.run_settings import RunSettings
from primaldual.sequences.sources import listing
from primaldual.sequences.stored_sets import stored_parts
from primaldual.sequences.text_folders import read_text_folder
from primaldual.sequences.text_tables import read_text_tables
from primaldual.sequences.token_sets import Corpus, SequenceParts

Read = Callable[[RunSettings, int], SequenceParts]
"""Settings and number of processes -> parts."""

_SPECIAL = ("data", "difficulty", "cases", "columns", "truncate", "skip_bad")
"""Settings that only some tasks have."""


@dataclass(frozen=True)
class Task:
    """A kind of data.

    Attributes:
        max_length: longest sequence, in tokens.
        accepts: settings that the task has, of those that only some have.
        read: reads or generates the parts.
    """

    max_length: int
    accepts: frozenset[str]
    read: Read


def parts_of(settings: RunSettings, processes: int = 1) -> SequenceParts:
    """The parts of a task, generated or read into the folder of data sets where they are not there yet.

    Args:
        settings: of the run.
        processes: that generate.

    Raises:
        ArgumentError: no such task, or settings that the task does not have.
        DataError: data that cannot be used, or sequences that are longer than the longest accepted one.
    """
    task = task_named(settings.task)
    for field in fields(settings):
        if field.name in _SPECIAL and field.name not in task.accepts:
            value = getattr(settings, field.name)
            if value != field.default:
                users = ", ".join(name for name, one in TASKS.items() if field.name in one.accepts)
                raise ArgumentError(f"{field.name} is for {users}; task {settings.task} got {value!r}")
    if "data" in task.accepts and settings.data is None:
        raise ArgumentError(f"data must be given for {settings.task}, which is not generated; got None")
    return task.read(settings, processes)


def task_named(name: str) -> Task:
    """A task.

    Raises:
        ArgumentError: no such task.
    """
    if name not in TASKS:
        raise ArgumentError(
            f"task must be one of {', '.join(TASKS)}; got {name!r}{did_you_mean(name, TASKS)}"
        )
    return TASKS[name]


def _listops(settings: RunSettings, processes: int) -> SequenceParts:
    rules = ListOps(settings.max_length or TASKS["listops"].max_length)
    counts = _counts(LISTOPS_COUNTS, settings.cases)
    return listops_parts(settings.folder, rules, settings.data_seed, counts, processes)


def _pathfinder(settings: RunSettings, processes: int) -> SequenceParts:
    counts = _counts(PATHFINDER_COUNTS, settings.cases)
    difficulty = settings.difficulty or "hard"
    return pathfinder_parts(settings.folder, difficulty, settings.data_seed, counts, processes)


def _counts(usual: Mapping[str, int], cases: int | None) -> dict[str, int]:
    """So many training cases, and for each other part an eighth of them but not more than usual."""
    if cases is None:
        return dict(usual)
    others = {name: min(count, max(cases // 8, 2)) for name, count in usual.items()}
    return {**others, "training": cases}


def _pixels(settings: RunSettings, processes: int) -> SequenceParts:
    del processes
    return pixel_parts(settings.folder, _data(settings), settings.skip_bad)


def _text(settings: RunSettings, processes: int) -> SequenceParts:
    del processes
    data, columns = _data(settings), settings.columns
    if columns is not None:
        return _tables(settings, data, columns, 2, "the text and the label")
    if not data.is_dir():
        raise DataError(f"data {data} is not a folder of text files; give columns for a table")
    key = {"source": listing(data), "skip_bad": settings.skip_bad}
    return stored_parts(settings.folder, "text", key, partial(read_text_folder, data, settings.skip_bad))


def _retrieval(settings: RunSettings, processes: int) -> SequenceParts:
    del processes
    columns = settings.columns or ("text1", "text2", "label")
    return _tables(settings, _data(settings), columns, 3, "both texts and the label")


def _tables(
    settings: RunSettings, data: Path, columns: tuple[str, ...], count: int, meaning: str
) -> SequenceParts:
    if len(columns) != count or len(set(columns)) != count:
        raise ArgumentError(
            f"columns must be {count} different names, of {meaning}; got {', '.join(columns)}"
        )
    if settings.skip_bad:
        raise ArgumentError("skip_bad is for folders of files; columns are of a table")
    key = {"source": listing(data), "columns": columns}
    make: Callable[[], Corpus] = partial(read_text_tables, data, columns)
    return stored_parts(settings.folder, settings.task, key, make)


def _data(settings: RunSettings) -> Path:
    assert settings.data is not None
    return settings.data.expanduser()


TASKS: Mapping[str, Task] = {
    "listops": Task(2000, frozenset({"cases"}), _listops),
    "pathfinder": Task(1024, frozenset({"difficulty", "cases"}), _pathfinder),
    "pixels": Task(1024, frozenset({"data", "skip_bad"}), _pixels),
    "text": Task(4000, frozenset({"data", "columns", "truncate", "skip_bad"}), _text),
    "retrieval": Task(4000, frozenset({"data", "columns", "truncate"}), _retrieval),
}
"""Tasks by name."""
