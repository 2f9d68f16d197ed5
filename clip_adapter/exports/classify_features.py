"""Classify features: python classify.py FEATURES.npy ...; needs numpy and onnxruntime."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    """Write a line of JSON for each row of each file: its five most probable classes.

    A file holds an array [n, d] of raw features of the encoder that config.json names.
    """
    folder = Path(__file__).resolve().parent
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(folder / "head.onnx", providers=["CPUExecutionProvider"])
    for file in sys.argv[1:]:
        with Path(file).open("rb") as stream:
            features = np.lib.format.read_array(stream, allow_pickle=False).astype(np.float32)
        for row, found in enumerate(session.run(["probabilities"], {"features": features})[0]):
            best = {config["class_names"][n]: float(found[n]) for n in (-found).argsort()[:5]}
            line = {"file": file, "row": row, "probabilities": best}
            sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
