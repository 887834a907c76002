"""``python -m benchmarks.when_it_helps``."""

import sys

from benchmarks.when_it_helps.command import main

if __name__ == "__main__":
    main(sys.argv[1:])
