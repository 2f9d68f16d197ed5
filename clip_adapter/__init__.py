"""Few-shot adaptation of CLIP on cached features.

`extract`, `train`, `promote`, `predict`, `reproduce` and `maintain` do what the commands of these names
do, `train_all` and `reproduce_all` on several datasets; `load` gives a trained classifier, `update` corrects its images; `connect` opens the results in SQL. `similar` finds images like a
text or an image, as the command `search` does, and `ImageSearch` does so many times. The module `plots` draws figures.
`FewShotClassifier`, `ClipAdapterClassifier`, `TrainedClassifier` and `CachedImageEncoder` are
estimators of scikit-learn.
`ResidualAdapter` and `logits` work on arrays alone. Each is imported when it is first used, so that
importing the package costs nothing.
"""

from itertools import chain
from typing import TYPE_CHECKING

from clip_adapter.lazy import when_asked

_SHOWN = {
    "adapters": ("ResidualAdapter", "logits"),
    "estimators": (
        "CachedImageEncoder",
        "ClipAdapterClassifier",
        "FewShotClassifier",
        "TrainedClassifier",
    ),
    "pipeline.ablations": ("reproduce",),
    "pipeline.export": ("export",),
    "pipeline.extract": ("extract",),
    "pipeline.load": ("load",),
    "pipeline.maintain": ("maintain",),
    "pipeline.predict": ("predict",),
    "pipeline.reproduce_all": ("reproduce_all",),
    "pipeline.search": ("ImageSearch", "similar"),
    "pipeline.train": ("promote", "train"),
    "pipeline.train_all": ("train_all",),
    "pipeline.update": ("update",),
    "runs": ("connect",),
}

if TYPE_CHECKING:
    from clip_adapter.adapters import ResidualAdapter as ResidualAdapter
    from clip_adapter.adapters import logits as logits
    from clip_adapter.estimators import CachedImageEncoder as CachedImageEncoder
    from clip_adapter.estimators import ClipAdapterClassifier as ClipAdapterClassifier
    from clip_adapter.estimators import FewShotClassifier as FewShotClassifier
    from clip_adapter.estimators import TrainedClassifier as TrainedClassifier
    from clip_adapter.pipeline.ablations import reproduce as reproduce
    from clip_adapter.pipeline.export import export as export
    from clip_adapter.pipeline.extract import extract as extract
    from clip_adapter.pipeline.load import load as load
    from clip_adapter.pipeline.maintain import maintain as maintain
    from clip_adapter.pipeline.predict import predict as predict
    from clip_adapter.pipeline.reproduce_all import reproduce_all as reproduce_all
    from clip_adapter.pipeline.search import ImageSearch as ImageSearch
    from clip_adapter.pipeline.search import similar as similar
    from clip_adapter.pipeline.train import promote as promote
    from clip_adapter.pipeline.train import train as train
    from clip_adapter.pipeline.train_all import train_all as train_all
    from clip_adapter.pipeline.update import update as update
    from clip_adapter.runs import connect as connect
else:
    __getattr__ = when_asked(__name__, **_SHOWN)

__version__ = "0.1.0"


def __dir__() -> list[str]:
    """All names, those that are not imported yet as well, so that they can be completed."""
    return sorted({*globals(), *chain(*_SHOWN.values())})
