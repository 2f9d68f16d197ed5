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
    """What chose the training images of a run, as a name in a table shows it; empty for our sampler.

    >>> image_choice_in_words("own"), image_choice_in_words("budget:50")
    ('', 'budget of 50 images')
    >>> image_choice_in_words("published:0123456789abcdef")
    'published images 01234567'
    """
    kind, _, value = choice.partition(":")
    return {
        "budget": f"budget of {value} images",
        "published": f"published images {value[:8]}",
    }.get(kind, "")


def with_image_choice(name: str, choice: str) -> str:
    """The name of a method, and in words what chose its training images if that was not our sampler.

    >>> with_image_choice("gda", "own"), with_image_choice("gda", "budget:50")
    ('gda', 'gda, budget of 50 images')
    """
    words = image_choice_in_words(choice)
    return f"{name}, {words}" if words else name
