"""``python -m primaldual.cli``."""

from primaldual.cli import main

if __name__ == "__main__":
    main()
