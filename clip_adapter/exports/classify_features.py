"""Classify features: python classify.py FEATURES.npy ...; needs numpy and onnxruntime."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def read_features(file: str, width: int) -> Any:
    """The array [n, d] of a .npy file, in float32."""
    with Path(file).open("rb") as stream:
        features = np.lib.format.read_array(stream, allow_pickle=False).astype(np.float32)
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"its shape is {features.shape}, expected (n, {width})")
    return features


def main() -> None:
    """Write a line of JSON for each row of each file: its five most probable classes.

    A file holds an array [n, d] of raw features of the encoder that config.json names.
    """
    if not (files := sys.argv[1:]) or files[0] in {"-h", "--help"}:
        sys.exit(__doc__)
    folder = Path(__file__).resolve().parent
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(folder / "head.onnx", providers=["CPUExecutionProvider"])
    width, failed = session.get_inputs()[0].shape[1], False
    for file in files:
        try:
            features = read_features(file, width)
        except (OSError, ValueError) as error:
            failed = True
            sys.stderr.write(f"{file}: {error}\n")
            continue
        for row, found in enumerate(session.run(["probabilities"], {"features": features})[0]):
            best = {config["class_names"][n]: float(found[n]) for n in (-found).argsort()[:5]}
            line = {"file": file, "row": row, "probabilities": best}
            sys.stdout.write(json.dumps(line) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
