"""Numbers of labelled images a class, the number that stands for all, and what chose the images, in words."""

ALL_SHOTS = 2**31 - 1
"""All images of a class, however many it has; the run store records this number."""


def shots_from_words(text: str) -> int:
    """Parse a number of shots, or "all"; 0 is none.

    >>> shots_from_words("16"), shots_from_words("all") == ALL_SHOTS
    (16, True)

    Raises:
        ValueError: the text is neither.
    """
    if text.strip() == "all":
        return ALL_SHOTS
    if not text.strip().isdecimal() or int(text) >= ALL_SHOTS:
        message = f"{text!r} is no number of shots; expected 0 to {ALL_SHOTS - 1}, or all"
        raise ValueError(message)
    return int(text)


def shots_to_text(shots: int) -> str:
    """A number of shots as a user types it.

    >>> shots_to_text(16), shots_to_text(ALL_SHOTS)
    ('16', 'all')
    """
    return "all" if shots == ALL_SHOTS else str(shots)


def shots_in_words(shots: int) -> str:
    """A number of shots as a heading shows it.

    >>> shots_in_words(0), shots_in_words(1), shots_in_words(16), shots_in_words(ALL_SHOTS)
    ('none', '1 shot', '16 shots', 'all shots')
    """
    return {0: "none", 1: "1 shot", ALL_SHOTS: "all shots"}.get(shots, f"{shots} shots")


def image_choice_in_words(choice: str) -> str:
    """What chose the training images of a run, as a name in a table says it.

    >>> image_choice_in_words("own"), image_choice_in_words("budget:50")
    ('own splits', 'budget of 50 images')
    >>> image_choice_in_words("published:0123456789abcdef")
    'published splits'
    """
    kind, _, value = choice.partition(":")
    return f"budget of {value} images" if kind == "budget" else f"{kind} splits"


def unusual_images(choice: str) -> str:
    """What chose the training images of a run, in words; empty for our sampler.

    >>> unusual_images("own"), unusual_images("published:0123456789abcdef")
    ('', 'published splits')
    """
    return "" if choice == "own" else image_choice_in_words(choice)
