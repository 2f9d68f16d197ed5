"""Classifiers as ONNX graphs: of features, and of pixels with the image tower in front."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip_adapter.adapters import bottleneck, logits, predicted_ratio, residual_blend
from clip_adapter.encoders.encoder import Encoder
from clip_adapter.errors import DataError, EncoderError
from clip_adapter.exports.folder import DEFAULT_OPSET
from clip_adapter.methods import SavedClassifier
from clip_adapter.methods.classifiers import (
    AdapterClassifier,
    BlendedClassifier,
    CacheClassifier,
    KernelClassifier,
    LinearClassifier,
    PrototypeClassifier,
    WeightedCacheClassifier,
)

if TYPE_CHECKING:  # takes a second to import
    from onnx_ir import Model

MOST_BYTES_INSIDE = 1_900_000_000
"""Largest size of the weights in an .onnx file, which cannot have 2 GB."""
FEATURES, PIXELS = "features", "pixel_values"
"""Names of the inputs of the two graphs."""
OUTPUTS = ("logits", "probabilities")
NOISY_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class _Head(nn.Module):
    """Raw features to logits, by the rule of a kind of classifiers."""

    def __init__(self, classifier: Any, *, method: str) -> None:
        super().__init__()
        if type(classifier) not in _RULES:
            kinds = ", ".join(kind.__name__ for kind in _RULES)
            raise DataError(
                f"a {type(classifier).__name__}, as {method} makes it, cannot be exported: "
                f"expected {kinds}; let the method return one of these"
            )
        self.rule = _RULES[type(classifier)]
        self.constants: dict[str, Any] = {}
        for field in fields(classifier):
            value = getattr(classifier, field.name)
            if isinstance(value, np.ndarray):
                # `tensor` copies, and so takes read-only arrays of a file.
                kind = torch.int64 if value.dtype.kind in "iu" else torch.float32
                self.register_buffer(field.name, torch.tensor(value, dtype=kind))
            elif field.name == "parts":
                self.parts = nn.ModuleList(_Head(part, method=method) for part in value)
            else:
                self.constants[field.name] = value

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return self.rule(self, features, **self.constants)


class FeatureClassifier(nn.Module):
    """Raw features to logits and probabilities, as `SavedClassifier` computes them.

    Args:
        saved: a classifier of a kind that is saved.

    Raises:
        DataError: the classifier is of another kind.
    """

    def __init__(self, saved: SavedClassifier) -> None:
        super().__init__()
        self.head = _Head(saved.classifier, method=saved.method)
        self.temperature = (saved.metadata and saved.metadata.temperature) or 1.0

    def forward(
        self, features: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
        """Logits, and their softmax after the temperature."""
        scores = self.head(features)
        return scores, torch.softmax(scores / self.temperature, dim=-1)


class PixelClassifier(nn.Module):
    """Normalised pixels to logits and probabilities: the image tower, then the classifier.

    Args:
        tower: open_clip's model, in float32.
        head: the classifier of its features.
    """

    def __init__(self, tower: nn.Module, head: FeatureClassifier) -> None:
        super().__init__()
        self.tower = tower
        self.head = head

    def forward(
        self, pixel_values: Float[Tensor, "n 3 h w"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
        """Logits and probabilities of images."""
        encode: Callable[..., Tensor] = self.tower.encode_image  # type: ignore[assignment]  # a Module's attributes have no types
        found: tuple[Tensor, Tensor] = self.head(encode(pixel_values, normalize=False))
        return found


def write_head(saved: SavedClassifier, path: Path, *, opset: int = DEFAULT_OPSET) -> None:
    """Write the classifier of features as an ONNX file: `features` to `logits`, `probabilities`.

    Args:
        saved: the classifier.
        path: file to write.
        opset: version of the operators, 18 to 23.

    Raises:
        DataError: the classifier is of a kind that cannot be exported.
    """
    example = torch.randn(2, saved.classifier.width, generator=torch.Generator().manual_seed(0))
    _write(_graph(FeatureClassifier(saved), example, name=FEATURES, opset=opset), path)


def write_model(
    saved: SavedClassifier, encoder: Encoder, path: Path, *, opset: int = DEFAULT_OPSET
) -> None:
    """Write image tower and classifier as one ONNX file: `pixel_values` to `logits`, `probabilities`.

    Weights of more than `MOST_BYTES_INSIDE` are written to `<path>.data`, which belongs beside it.

    Args:
        saved: the classifier.
        encoder: its encoder, on the CPU in fp32.
        path: file to write.
        opset: version of the operators, 18 to 23.

    Raises:
        DataError: the classifier is of a kind that cannot be exported.
        EncoderError: torch cannot export this image tower.
    """
    head = FeatureClassifier(saved)
    height, width = encoder.geometry.size
    example = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    try:
        graph = _graph(PixelClassifier(encoder.model, head), example, name=PIXELS, opset=opset)
    except Exception as error:  # torch.export fails on a model in any way it likes
        raise EncoderError(
            f"the image tower of {encoder.name!r} cannot be exported as ONNX: {_reason(error)}; "
            "export the classifier alone with --no-encoder, which takes features of this encoder"
        ) from error
    _write(graph, path)


def _graph(module: nn.Module, example: Tensor, *, name: str, opset: int) -> "Model":
    with torch.inference_mode(mode=False), torch.no_grad(), _silenced():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            input_names=[name],
            output_names=[*OUTPUTS],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=opset,
            verbose=False,
        )
    if program is None:
        raise EncoderError("torch returned no graph")
    return _anonymous(program.model)


def _anonymous(model: "Model") -> "Model":
    """The graph without torch's notes, which hold stack traces with paths of this machine."""
    values = [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]
    nodes = [*model.graph.all_nodes()]
    for function in model.functions.values():
        nodes += function.all_nodes()
        function.metadata_props.clear()
        function.doc_string = None
    values += [output for node in nodes for output in node.outputs]
    noted_parts: list[Any] = [model, model.graph, *nodes, *values]
    for noted in noted_parts:
        noted.metadata_props.clear()
        noted.doc_string = None
    return model


def _write(model: "Model", path: Path) -> None:
    import onnx_ir

    n_bytes = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    outside = f"{path.name}.data" if n_bytes > MOST_BYTES_INSIDE else None
    onnx_ir.save(model, path, external_data=outside)


@contextmanager
def _silenced() -> Iterator[None]:
    """Without what the exporter reports about its own work."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first line of the error that the exporter wraps."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]:.300}" if lines else type(cause).__name__


def _prototype_rule(
    head: Any, features: Tensor, *, logit_scale: float, class_names: object
) -> Tensor:
    del class_names
    return logits(features, head.class_prototypes, logit_scale)


def _linear_rule(head: Any, features: Tensor, *, class_names: object) -> Tensor:
    del class_names
    scores: Tensor = nn.functional.normalize(features, dim=-1) @ head.weight.T + head.bias
    return scores


def _adapter_rule(head: Any, features: Tensor, **values: Any) -> Tensor:
    adapted = bottleneck(
        features, head.down.T, head.up.T, output_activation=values["output_activation"]
    )
    ratio: float | Tensor = values["residual_ratio"]
    if "ratio_query" not in values:  # then it is an array
        ratio = predicted_ratio(features, head.ratio_query[:, None], values["ratio_offset"])
    blended = residual_blend(features, adapted, ratio)
    return logits(blended, head.class_prototypes, values["logit_scale"])


def _blend_rule(head: Any, features: Tensor, *, weights: tuple[float, ...]) -> Tensor:
    scores: list[Tensor] = [part(features) for part in head.parts]
    return torch.stack([weight * each for weight, each in zip(weights, scores, strict=True)]).sum(0)


def _kernel_rule(head: Any, features: Tensor, **values: Any) -> Tensor:
    of_text = logits(features, head.class_prototypes, values["logit_scale"])
    cosines = nn.functional.normalize(features, dim=-1) @ head.keys.T
    scores: Tensor = of_text + torch.exp(-values["beta"] * (1 - cosines)) @ head.values
    return scores


def _cache_rule(head: Any, features: Tensor, **values: Any) -> Tensor:
    of_text = logits(features, head.class_prototypes, values["logit_scale"])
    directions = nn.functional.normalize(features, dim=-1)
    weights: float | Tensor = 1.0
    if hasattr(head, "channels"):
        directions = nn.functional.normalize(directions * head.channels, dim=-1)
        weights = head.image_weights
    affinities = torch.exp(-values["beta"] * (1 - directions @ head.keys.T)) * weights
    # `sums_by_class` takes the length of a tensor, which would fix the size of the batch.
    of_cache = torch.zeros_like(of_text).index_add(1, head.labels, affinities)
    scores: Tensor = of_text + values["alpha"] * of_cache
    return scores


_RULES: dict[type, Callable[..., Tensor]] = {
    PrototypeClassifier: _prototype_rule,
    LinearClassifier: _linear_rule,
    AdapterClassifier: _adapter_rule,
    CacheClassifier: _cache_rule,
    WeightedCacheClassifier: _cache_rule,
    KernelClassifier: _kernel_rule,
    BlendedClassifier: _blend_rule,
}
