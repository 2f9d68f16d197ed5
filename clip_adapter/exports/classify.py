"""Classify image files: python classify.py PHOTO.jpg ...; needs numpy, Pillow and onnxruntime."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read_image(file: Any) -> Image.Image:
    """An upright RGB image; what is transparent is laid on white."""
    with Image.open(file) as opened:
        if opened.width * opened.height > 64_000_000 or opened.mode in {"I", "F"}:
            raise ValueError(f"{file} has over 64 million pixels, or 32 bits each: convert it")
        image: Image.Image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def pixel_values(image: Image.Image, settings: dict[str, Any]) -> Any:
    """Normalised pixels [1, 3, height, width], as config.json describes the preprocessing."""
    (height, width), mode = settings["size"], settings["resize_mode"]
    ratios = image.width / width, image.height / height
    size = width, height  # of the mode "squash"
    if mode == "shortest" and width == height:
        short = min(image.size)
        wide, high = (width if side == short else width * side / short for side in image.size)
        size = int(wide), int(high)
    elif mode != "squash":
        ratio = min(ratios) if mode == "shortest" else max(ratios)
        size = max(1, round(image.width / ratio)), max(1, round(image.height / ratio))
    image = image.resize(size, Image.Resampling[settings["interpolation"].upper()])
    canvas = Image.new("RGB", (width, height), (settings["fill_color"],) * 3)
    gaps = width - image.width, height - image.height
    canvas.paste(image, tuple(gap // 2 if gap > 0 else -round(-gap / 2) for gap in gaps))
    pixels = np.asarray(canvas, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.array(settings[name], np.float32)[:, None, None] for name in ("mean", "std"))
    return ((pixels - mean) / std)[None]


def main() -> None:
    """Write a line of JSON for each file: its five most probable classes."""
    if not (files := sys.argv[1:]) or files[0] in {"-h", "--help"}:
        sys.exit(__doc__)
    folder = Path(__file__).resolve().parent
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    failed = False
    for file in files:
        try:
            image = read_image(file)
        except Exception as error:  # noqa: BLE001  # Pillow's decoders raise what they like
            failed = True
            sys.stderr.write(f"{file}: {error}\n")
            continue
        pixels = pixel_values(image, config["preprocessing"])
        (found,) = session.run(["probabilities"], {"pixel_values": pixels})[0]
        best = {config["class_names"][n]: float(found[n]) for n in (-found).argsort()[:5]}
        sys.stdout.write(json.dumps({"file": file, "probabilities": best}) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
