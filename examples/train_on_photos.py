"""Encode a folder of photos once, train few-shot methods on it, and print how they did.

    python examples/train_on_photos.py FOLDER [MODEL]

The photos lie as FOLDER/class/picture.jpg, with about ten or more of each class. MODEL encodes
them: OpenAI's CLIP (ViT-B-32), which is downloaded once, unless another is named.
"""

import sys

from clip_adapter import extract, train


def main(folder: str, model: str | None = None) -> None:
    """Encode, train, print."""
    encoded = extract(f"imagefolder:{folder}", model)
    print(encoded.summary)

    training = train(
        f"imagefolder:{folder}",
        model,
        methods=["zero-shot", "gda", "clip-adapter"],
        shots=[1, 2],
        seeds=[1, 2, 3],
        settings={"clip-adapter": {"recipe": "fast"}},
    )
    for run in training.to_arrow().to_pylist():
        print(f"{run['method']:<14} {run['shots']:>2} shots  {run['accuracy']:.1%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
