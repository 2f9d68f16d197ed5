"""A classifier and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from clip_adapter.errors import ClipAdapterError
from clip_adapter.methods.classifiers.classifier import Classifier


class ClassifierFileError(ClipAdapterError, ValueError):
    """A file that holds no classifier, or not a whole one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedClassifier:
    """A classifier and where it comes from.

    Attributes:
        classifier: ready to use.
        method: that made it.
        settings: every hyper-parameter as used.
        encoder: fingerprint of the encoder whose features it takes; empty when unknown.
    """

    classifier: Classifier
    method: str
    settings: Mapping[str, float | int | str | bool]
    encoder: str = ""

    def check_encoder(self, encoder: str) -> None:
        """Return if the classifier takes the features of that encoder.

        Raises:
            ClassifierFileError: it was fitted to those of another one.
        """
        if self.encoder and encoder != self.encoder:
            message = (
                f"the classifier was fitted to features of encoder {self.encoder[:12]}, not of "
                f"{encoder[:12]}: encode the images with its own, or fit it again"
            )
            raise ClassifierFileError(message)
