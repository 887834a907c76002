"""``python -m primaldual``, and with it ``accelerate launch -m primaldual`` and ``torchrun -m primaldual``."""

from primaldual.cli import main

if __name__ == "__main__":
    main()
