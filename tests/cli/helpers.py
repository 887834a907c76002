"""Run commands in this process."""

from __future__ import annotations

from primaldual.cli import main

TINY = ["--epochs", "1", "--embed-dim", "8", "--heads", "2", "--layers", "1"]
TINY += ["--feedforward-dim", "8", "--batch-size", "40"]


def run(capsys, *words):
    """Exit code, standard output and standard error of a command."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err
