"""The paper's ablations: what each one varies, and what it holds still."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from clip_adapter.datasets import PROMPT_STYLES
from clip_adapter.studies import StudyName

__all__ = ["STUDIES", "Variant"]

RATIOS = tuple(tenths / 10 for tenths in range(11))
"""0 is zero-shot, 1 discards CLIP's feature."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One point of a study.

    Attributes:
        settings: of clip-adapter, where they differ from its defaults.
        templates: prompts; the dataset's own when empty.
        fewest_shots: below, the variant cannot be made.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    fewest_shots: int = 1

    @property
    def name(self) -> str:
        """What tells it from the others, a setting as `--set` takes it.

        >>> Variant(settings={"reduction": 8}).name, Variant(templates=("{}",)).name
        ('reduction=8', 'prompts=class name')
        """
        if self.settings:
            return ", ".join(f"{name}={_said(value)}" for name, value in self.settings.items())
        styles = {templates: style for style, templates in PROMPT_STYLES.items()}
        return f"prompts={styles.get(self.templates, 'of the dataset')}"


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _over(name: str, *values: Any) -> tuple[Variant, ...]:
    return tuple(Variant(settings={name: value}) for value in values)


STUDIES: Mapping[StudyName, tuple[Variant, ...]] = MappingProxyType(
    {
        "bottleneck-width": _over("reduction", 1, 2, 4, 8, 16, 32),
        "residual-ratio": _over("residual_ratios", *([ratio] for ratio in RATIOS)),
        "branch": _over("branch", "visual", "text", "both"),
        "prompt-style": (
            Variant(),
            *(Variant(templates=templates) for templates in PROMPT_STYLES.values()),
        ),
        "views": _over("views", 0, 1, 4, 16),
        "output-activation": _over("output_activation", True, False),
        "ratio-mode": (
            Variant(settings={"residual_ratios": [0.2]}),
            *_over("ratio_mode", "validation", "learned", "hypernetwork"),
            Variant(settings={"ratio_mode": "held-out-shots"}, fewest_shots=2),
        ),
    }
)
"""By name. The paper: section 4.4 and tables 3 to 6 of https://arxiv.org/abs/2110.04544."""
