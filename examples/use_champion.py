"""Promote the best classifier of a folder of photos, and classify new photos with it.

    python examples/use_champion.py FOLDER NEW [MODEL]

FOLDER holds class/picture.jpg with some hundred photos of each class: a classifier is promoted only
if it is proven better than zero-shot. NEW is a folder of photos. MODEL encodes both: OpenAI's CLIP
(ViT-B-32), which is downloaded once, unless another is named.
"""

import sys

from clip_adapter import predict, promote


def main(folder: str, new: str, model: str | None = None) -> None:
    """Promote, classify the new photos, print their classes."""
    promotion = promote(f"imagefolder:{folder}", model, methods=["gda"], shots=[4], seeds=[1])
    print(promotion.summary)

    predictions = predict(f"champion:{promotion.record.dataset}", new)
    for row in predictions.to_arrow().to_pylist():
        print(f"{row['path']}: {row['predicted'] or row['error']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
