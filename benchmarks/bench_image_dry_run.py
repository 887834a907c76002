"""A few steps of DeiT-tiny on generated JPEGs in the layout of ImageNet, by several processes on CPUs.

ImageNet itself is not needed: this shows that the command reads its folders and trains. Run:

    python -m benchmarks.bench_image_dry_run --out /tmp/dry-run
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 20


def write_folder(folder: Path, images: int) -> None:
    """``train`` and ``val`` with photos of noise, 9 to 1; sizes vary as those of photos do."""
    generator = np.random.default_rng(0)
    for number in range(images):
        part = "val" if number % 10 == 9 else "train"
        label = number // 10 % CLASSES
        place = folder / part / f"n{label:08d}"
        place.mkdir(parents=True, exist_ok=True)
        height, width = generator.integers(250, 500, 2)
        coarse = generator.integers(0, 256, (8, 8, 3)) // 2 + 6 * label
        photo = Image.fromarray(coarse.astype(np.uint8)).resize(
            (int(width), int(height)), Image.Resampling.BICUBIC
        )
        photo.save(place / f"n{label:08d}_{number}.JPEG", quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000, help="JPEGs to generate")
    parser.add_argument("--processes", type=int, default=2, help="that train")
    parser.add_argument("--steps", type=int, default=20, help="of the optimizer")
    parser.add_argument("--batch-size", type=int, default=32, help="images per step, over all processes")
    parser.add_argument("--attention", default="bn+sh(1,2,4)", help="spec")
    parser.add_argument("--out", type=Path, required=True, help="folder for images and run")
    given = parser.parse_args()
    write_folder(given.out / "imagenet", given.images)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(given.processes)]
    words = ["train", "images", "--data", str(given.out / "imagenet"), "--out", str(given.out / "run")]
    words += ["--model", "deit_tiny", "--attention", given.attention, "--steps", str(given.steps)]
    words += ["--batch-size", str(given.batch_size), "--checkpoint-every", "10", "--no-corruptions"]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "ACCELERATE_USE_CPU": "true"}
    sys.exit(
        subprocess.run(
            [sys.executable, *launcher, "-m", "primaldual", *words], env=environment, check=False
        ).returncode
    )


if __name__ == "__main__":
    main()
