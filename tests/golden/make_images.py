"""The pictures of the golden stores: `python tests/golden/make_images.py FOLDER` draws them.

Three classes of 90 PNGs, 8 pixels square: noise in which one channel stands out a little.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ("red", "green", "blue")
IMAGES_A_CLASS = 90
STRENGTH = 20  # weak enough that zero-shot errs and a few shots help


def main(folder: Path) -> None:
    """Draw every picture into `folder/class`."""
    for channel, colour in enumerate(COLOURS):
        (folder / colour).mkdir(parents=True)
        for number in range(IMAGES_A_CLASS):
            generator = np.random.default_rng([channel, number])
            pixels = generator.integers(64, 160, (8, 8, 3), dtype=np.uint8)
            pixels[..., channel] += STRENGTH
            Image.fromarray(pixels).save(folder / colour / f"{number:02d}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
