"""Promote the best classifier of a folder of photos, and classify new photos with it.

    python examples/use_champion.py FOLDER NEW [MODEL]

FOLDER holds class/picture.jpg with some hundred photos of each class: a classifier is promoted only
if it is proven better than zero-shot. NEW holds folders of photos whose names do not matter.
MODEL encodes both: OpenAI's CLIP (ViT-B-32), which is downloaded once, unless another is named.
"""

import sys

from clip_adapter import extract, promote
from clip_adapter.methods import decode_classifier
from clip_adapter.runs import PromotionStore


def main(folder: str, new: str, model: str | None = None) -> None:
    """Promote, encode the new photos, print their classes."""
    promotion = promote(f"imagefolder:{folder}", model, methods=["gda"], shots=[4], seeds=[1])
    print(promotion.summary)

    photos = extract(f"imagefolder:{new}", model)
    champion = PromotionStore(photos.dataset.root).champion(
        promotion.record.dataset, on_corruption=print
    )
    if champion is None:
        sys.exit("zero-shot is as good: there is no champion")

    saved = decode_classifier(champion.content, source=str(champion.path))
    table = photos.to_arrow()
    features = table["feature"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    predicted = saved.classifier.logits(features).argmax(axis=1)
    for path, label in zip(table["path"].to_pylist(), predicted, strict=True):
        print(f"{path}: {saved.classifier.class_names[label]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
