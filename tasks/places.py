"""Where a flow's parameters say that things lie."""

from clip_adapter.settings import Settings
from tasks.imported_features import check_encoding
from tasks.index_dataset import index_dataset
from tasks.references import Encoding, IndexedDataset

__all__ = ["index_for_training"]


def index_for_training(
    dataset: str,
    *,
    encoding: Encoding,
    images: str | None,
    root: str | None,
    data: str | None,
    max_bad_fraction: float,
    templates: list[str] | None = None,
) -> IndexedDataset:
    """Check what can be checked beforehand, then index, with a flow's own parameters.

    Raises:
        DatasetError, UnknownNameError, EncoderError: as `check_encoding` and `index_dataset`.
    """
    check_encoding(dataset, encoding, images=images)
    places = Settings.of(root=root, data=data)
    return index_dataset(
        dataset,
        root=places.location,
        data=places.data_folder,
        images=Settings.folder(images),
        max_bad_fraction=max_bad_fraction,
        templates=templates,
    )
