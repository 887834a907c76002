"""Through how many functions and files of the package a call of `attend` goes.

Every Python function of primaldual that runs in one forward call is counted once, with its file; comprehensions and
lambdas count as parts of the function around them. Run:

    python -m benchmarks.path_of_a_call ["bn+sh(1,2,4,8)"] [--not-causal] [--names]
"""

import argparse
import sys
from pathlib import Path
from types import FrameType

import torch

import primaldual as pdl

ROOT = str(Path(pdl.__file__).parent)


def path_of(spec: str, is_causal: bool, length: int = 256) -> tuple[list[str], int]:
    """The functions, in order of their first call, and how often the call passes from one file to another."""
    problem = pdl.preset(spec).bind(4, 16)
    tensors = torch.randn(3, 1, 4, length, 16).unbind(0)
    names: dict[str, None] = {}
    changes, last = 0, ""

    def look(frame: FrameType, event: str, argument: object) -> None:
        nonlocal changes, last
        del argument
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(ROOT) or code.co_name.startswith("<"):
            return
        file = code.co_filename.removeprefix(ROOT + "/")
        names[f"{file}: {code.co_qualname}"] = None
        changes += file != last
        last = file

    problem.attend(*tensors, is_causal=is_causal)
    sys.setprofile(look)
    try:
        problem.attend(*tensors, is_causal=is_causal)
    finally:
        sys.setprofile(None)
    return list(names), changes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", nargs="*", default=["softmax", "bn", "sh(1,2,4,8)", "bn+sh(1,2,4,8)"])
    parser.add_argument("--not-causal", action="store_true")
    parser.add_argument("--names", action="store_true", help="list the functions")
    arguments = parser.parse_args()
    for spec in arguments.spec:
        names, changes = path_of(spec, not arguments.not_causal)
        files = {name.split(": ")[0] for name in names}
        print(f"{spec}: {len(names)} functions in {len(files)} files, {changes} changes of file")
        if arguments.names:
            print(*(f"  {name}" for name in names), sep="\n")


if __name__ == "__main__":
    main()
