"""Which encoder a request means, and which views of the images it is to encode."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from clip_adapter.datasets import check_imported_alone
from clip_adapter.devices import choose_device
from clip_adapter.encoders import BUILT_IN, EncoderError, Precision, parse_model_name
from clip_adapter.images import Augmentation, ResizeMode, augmented_views
from clip_adapter.methods import Method
from clip_adapter.network import Probe

if TYPE_CHECKING:
    from clip_adapter.encoders import Encoder

__all__ = ["Encoding", "n_views"]


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """An encoder by its name and options, and the views of every image that it encodes.

    Attributes:
        model: a name `load_encoder` knows; the built-in model when None.
        device: where to encode, in torch's spelling, or "auto".
        precision: numeric format of the forward pass; another one is another encoder.
        resize: the model's own way when None, else shortest (CLIP), squash (CoOp) or longest.
        views: number of augmented views an image, beside the evaluation view.
        augmentation: how they are drawn: tip-adapter or coop.
        processes: number of processes that load images; 0 for threads.

    Raises:
        ViewError: more views than there are.
    """

    model: str | None = None
    device: str = "auto"
    precision: Precision = "fp32"
    resize: ResizeMode | None = None
    views: int = 0
    augmentation: Augmentation = "tip-adapter"
    processes: int = 0

    def __post_init__(self) -> None:
        """Refuse views that do not exist, before anything is done."""
        _ = self.view_numbers

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: another process loads the encoder again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def model_name(self) -> str:
        """The model that encodes, chosen or not."""
        return self.model or BUILT_IN

    @property
    def view_numbers(self) -> list[int]:
        """The views of every image: the evaluation view, then the augmented ones."""
        return [0, *augmented_views(self.views, self.augmentation)]

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder, loaded when it is first asked for and kept.

        Raises:
            EncoderError: it cannot be loaded.
            DeviceError: this machine has no such device.
        """
        from clip_adapter.encoders import load_encoder  # noqa: PLC0415  # imports torch

        return load_encoder(
            self.model_name,
            device=choose_device(self.device),
            precision=self.precision,
            resize=self.resize,
        )

    def loaded(self, encoder: "Encoder") -> "Encoding":
        """This encoding with its encoder, so that it is not loaded again."""
        vars(self)["encoder"] = encoder
        return self

    def check(self, dataset: str, *, images: object = None) -> None:
        """Raise for an encoder that cannot be had, before any image is read.

        Args:
            dataset: as asked for; features:NAME has an encoder already, and takes no other.
            images: the folder given with it.

        Raises:
            UnknownNameError, EncoderError: as `parse_model_name` and `check_available`.
            DatasetError: for features:NAME, if a model, a precision or anything else was chosen.
            DeviceError: this machine has no such device.
        """
        name = parse_model_name(self.model_name)
        check_imported_alone(
            dataset,
            model=self.model,
            images=images,
            precision=self.precision != "fp32",
            resize=self.resize,
            views=self.views,
        )
        if self.device != "auto":
            choose_device(self.device)
        if name.where in {"hub", "tag"}:
            # Importing takes seconds, in which the hub has time to answer.
            probe = Probe.of_hub()
            from clip_adapter.encoders import check_available  # noqa: PLC0415  # imports torch

            check_available(name, probe=probe)

    def with_views(self, methods: Iterable[Method]) -> "Encoding":
        """A copy with as many augmented views as the most demanding method trains on."""
        return replace(self, views=max(n_views(method) for method in methods))

    def refuse_other(self, fingerprint: str) -> None:
        """Raise if the encoder is not the one with this fingerprint.

        Raises:
            EncoderError: the model changed since.
        """
        if self.encoder.fingerprint != fingerprint:
            raise EncoderError(
                f"{self.model_name} is now encoder {self.encoder.fingerprint[:12]}, the images were "
                f"encoded by {fingerprint[:12]}: extract them again"
            )


def n_views(method: Method) -> int:
    """Number of augmented views a method trains on; 0 for one that takes the images themselves."""
    wanted: int = getattr(method, "views", 0)
    return wanted
