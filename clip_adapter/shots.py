"""Number of labelled images a class, or all of them."""

ALL_SHOTS = 2**31 - 1
"""All images of each class; the run store holds this number."""


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


def shots_in_words(shots: int) -> str:
    """Format a number of shots for a heading.

    >>> shots_in_words(0), shots_in_words(1), shots_in_words(16), shots_in_words(ALL_SHOTS)
    ('none', '1 shot', '16 shots', 'all shots')
    """
    return {0: "none", 1: "1 shot", ALL_SHOTS: "all shots"}.get(shots, f"{shots} shots")
