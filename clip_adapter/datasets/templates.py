"""Prompts with a place for the class name."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from clip_adapter.datasets.errors import DatasetError

PROMPT_STYLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "class name": ("{}",),
        "photo": ("a photo of a {}.",),
        "ensemble": (
            "itap of a {}.",
            "a bad photo of the {}.",
            "a origami {}.",
            "a photo of the large {}.",
            "a {} in a video game.",
            "art of the {}.",
            "a photo of the small {}.",
        ),
    }
)
"""The bare name, CLIP's default, and the seven prompts that CLIP's authors found to be nearly as
good as all eighty for ImageNet (https://github.com/openai/CLIP, Prompt_Engineering_for_ImageNet)."""


def check_templates(templates: Iterable[str]) -> None:
    """Return if each template has one `{}` for the class name, and none comes twice.

    Raises:
        DatasetError: names the first that does not.
    """
    seen: set[str] = set()
    for template in templates:
        if template.count("{}") != 1:
            raise DatasetError(
                f"the template {template!r} has {template.count('{}')} places for the class name, "
                "expected one, written {}"
            )
        if template in seen:
            raise DatasetError(f"the template {template!r} comes twice; name it once")
        seen.add(template)
