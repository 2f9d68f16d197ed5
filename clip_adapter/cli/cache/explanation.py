"""Why features are reused or not, as a person reads it."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.cache.damage import Damage
from clip_adapter.cli.cache.reuse import Reuse
from clip_adapter.printable import printable

MOST_FIELDS = 10
"""Another architecture differs in everything; the first few say so."""
MOST_CHARACTERS = 16  # so that a field keeps half of 80 columns


def reasons_for(reuse: Reuse, damage: Damage) -> list[str]:
    """Why images are to be encoded, a sentence each; none if none are."""
    partly = reuse.n_to_encode - reuse.n_without_any
    n_damaged = len(damage.problems)
    reasons = []
    if reuse.encoder_is_new and not n_damaged:
        reasons.append("the store holds no image features of this very encoder")
    elif reuse.n_without_any:
        reasons.append(f"{reuse.n_without_any:,} images are not in the store")
    if partly:
        reasons.append(f"{partly:,} images are there, but not in all the views asked for")
    if n_damaged:
        files = "1 file is" if n_damaged == 1 else f"{n_damaged:,} files are"
        reasons.append(f"{files} damaged, and what they held counts as missing")
    return reasons


def show_explanation(console: Console, explanation: dict[str, Any], damage: Damage) -> None:
    """Say what was compared, the reasons, what sets other encoders apart, and the answer."""
    _say(console, _heading(explanation))
    for reason in explanation["reasons"]:
        _say(console, f"  - {reason}")
    damage.show(console)
    for other in explanation["others"]:
        _show_other(console, other, total=explanation["images"])
    _say(console, _answer(explanation), style="bold")


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, markup=False, soft_wrap=True, style=style)


def _heading(explanation: dict[str, Any]) -> str:
    fields, n_augmented = explanation["fields"], len(explanation["views"]) - 1
    views = f", each with {n_augmented:,} augmented views" if n_augmented else ""
    day = explanation["indexed"][:16].replace("T", " ")
    return (
        f"dataset  {printable(explanation['dataset'])}, as indexed {day} UTC\n"
        f"images   {explanation['images']:,}{views}\n"
        f"encoder  {explanation['encoder'][:12]}: {printable(explanation['model'])}, "
        f"{printable(fields['precision'])}"
    )


def _show_other(console: Console, other: dict[str, Any], *, total: int) -> None:
    models = ", ".join(map(printable, other["models"])) or "a model that was never named"
    damaged = f" ({other['damaged_files']} damaged files not counted)" * bool(
        other["damaged_files"]
    )
    _say(
        console,
        f"\n{other['encoder'][:12]}  {models}\n"
        f"  holds {other['images']:,} of the {total:,} images{damaged}, "
        "but it is another encoder:",
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("  field", "here", "there"):
        table.add_column(name, overflow="fold")
    # An architecture has many fields: those that a user can choose come before.
    differences = sorted(
        other["differences"], key=lambda each: each["field"].startswith("model_config")
    )
    for each in differences[:MOST_FIELDS]:
        table.add_row(
            *(
                Text(text)
                for text in (
                    f"  {printable(each['field'])}",
                    _shown(each["ours"]),
                    _shown(each["theirs"]),
                )
            )
        )
    console.print(table)
    more = len(other["differences"]) - MOST_FIELDS
    if more > 0:
        _say(console, f"  and {more} more, which --json lists")


def _shown(value: str | None) -> str:
    if value is None:
        return "(none)"
    text = printable(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def _answer(explanation: dict[str, Any]) -> str:
    reused, encoded = explanation["reused"], explanation["to_encode"]
    views = explanation["views_to_encode"]
    in_views = f" ({views:,} views)" if views != encoded else ""
    return (
        f"\n{reused:,} of {explanation['images']:,} images will be reused, "
        f"{encoded:,} will be encoded{in_views}"
    )
