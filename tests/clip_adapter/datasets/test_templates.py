"""What counts as a prompt template."""

import pytest

from clip_adapter.datasets import PROMPT_STYLES, DatasetError, check_templates


@pytest.mark.parametrize("templates", PROMPT_STYLES.values(), ids=list(PROMPT_STYLES))
def test_the_named_styles_are_templates(templates: tuple[str, ...]) -> None:
    check_templates(templates)


@pytest.mark.parametrize(
    ("templates", "reason"),
    [
        (["a photo"], "'a photo' has 0 places for the class name, expected one"),
        (["{} and {}"], "has 2 places"),
        (["a {}.", "the {}.", "a {}."], "'a {}.' comes twice"),
    ],
)
def test_others_are_refused_with_the_reason(templates: list[str], reason: str) -> None:
    with pytest.raises(DatasetError, match=reason.replace("{", r"\{").replace("}", r"\}")):
        check_templates(templates)
