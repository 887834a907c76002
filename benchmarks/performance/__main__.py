"""``python -m benchmarks.performance``."""

import sys

from benchmarks.performance.command import main

if __name__ == "__main__":
    main(sys.argv[1:])
