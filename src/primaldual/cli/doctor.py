"""``primaldual doctor``."""

from __future__ import annotations

import json
import shutil
from typing import Annotated

import typer

from primaldual.cli import options


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Look versions up; import no package of an extra.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print versions, devices, the forms that serve here and why others do not, and what is half installed.

    Nothing that is missing or broken makes it fail, and the exit code is 0 whatever it finds.

    Examples:
    $ primaldual doctor
    $ primaldual doctor --quick
    $ primaldual doctor --json
    """
    from primaldual.cli.screen import visible
    from primaldual.environment import doctor as examination
    from primaldual.environment.report import WIDTH, report

    found = examination.doctor(imports=not quick)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        print(visible(report(found, shutil.get_terminal_size((WIDTH, 1)).columns)))
