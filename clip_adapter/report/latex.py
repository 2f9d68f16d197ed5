"""The accuracy of every method as tables of LaTeX, with a caption that says what chose what."""

from collections.abc import Iterable, Sequence

from clip_adapter.escaping import escape_latex, slug
from clip_adapter.report.numbers import Mean, listed
from clip_adapter.report.results import DatasetResults, MethodSeries, Row
from clip_adapter.shots import shots_to_text

_CHOSEN_ON = {
    "validation": "chosen on validation images",
    "held-out shots": "chosen on held-out training images",
    "training": "learned on training images",
    "nothing": "stated defaults",
    "test (oracle)": "chosen on the test images themselves, which is no result",
}
_HEAD = r"""% Tables of accuracy; \usepackage{booktabs} in the preamble.
"""


def latex_report(results: Iterable[DatasetResults]) -> str:
    """One table of LaTeX for each dataset and encoder with runs on the leaderboard.

    Rows are methods, columns numbers of shots. A cell is the mean over seeds in percent with the
    half-width of its 95 % interval; the highest mean of a column is bold.
    """
    tables = [_table(each) for each in results if each.series]
    return _HEAD + "\n".join(tables)


def _table(results: DatasetResults) -> str:
    series = results.series
    shots = sorted({each for one in series for each in one.shots})
    rows = [_row(one, shots, _best(series, shots)) for one in series]
    label = slug(f"{results.dataset} {results.encoder[:8]}")
    head = " & ".join(shots_to_text(each) for each in shots)
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_caption(results, series)}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{l{'r' * len(shots)}}}",
            r"    \toprule",
            rf"    & \multicolumn{{{len(shots)}}}{{c}}{{labelled images a class}} \\",
            rf"    \cmidrule(l){{2-{len(shots) + 1}}}",
            rf"    method & {head} \\",
            r"    \midrule",
            *(rf"    {row} \\" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _row(series: MethodSeries, shots: Sequence[int], best: Sequence[float]) -> str:
    cells = [
        _cell(series.mean("accuracy", each), highest)
        for each, highest in zip(shots, best, strict=True)
    ]
    return " & ".join([escape_latex(series.name), *cells])


def _best(series: Sequence[MethodSeries], shots: Sequence[int]) -> list[float]:
    """The highest mean at each number of shots."""
    return [
        max(mean.value for one in series if (mean := one.mean("accuracy", each)) is not None)
        for each in shots
    ]


def _cell(mean: Mean | None, best: float) -> str:
    if mean is None:
        return ""
    number = f"{100 * mean.value:.1f}"
    shown = rf"\mathbf{{{number}}}" if mean.value == best else number
    if mean.same_images:
        return rf"${shown}^{{\dagger}}$"
    spread = "" if mean.half_width is None else rf" \pm {100 * mean.half_width:.1f}"
    return f"${shown}{spread}$"


def _caption(results: DatasetResults, series: Sequence[MethodSeries]) -> str:
    rows = [row for one in series for row in one.rows.values()]
    seeds = _seeds_in_words(rows)
    n_test = listed([f"{n:,}" for n in sorted({n for row in rows for n in row["n_test"]})])
    n_leaked = max(row["n_leaked"] for row in rows)
    means = [one.mean("accuracy", each) for one in series for each in one.shots]
    subject = escape_latex(f"{results.dataset} with {results.about['encoder_name']}")
    sentences = [
        f"Test accuracy on {subject} in percent of {n_test} images.",
        rf"Mean over {seeds} $\pm$ half-width of its 95\,\% interval (Student's $t$); one seed "
        "has no interval; bold is the highest mean of a column."
        if seeds
        else "Bold is the highest mean of a column.",
        r"$\dagger$: all seeds train on the same images." if _any_of_same_images(means) else "",
        f"{n_leaked:,} test images also occur among the training images." if n_leaked else "",
        _chosen_on(series),
    ]
    return " ".join(filter(None, sentences))


def _seeds_in_words(rows: Iterable[Row]) -> str:
    """The seeds of every cell, or how many a cell has where they differ; empty without seeds."""
    of_cells = [set(row["seed_list"]) for row in rows if row["seed_list"]]
    if not of_cells:
        return ""
    first, *others = of_cells
    if all(each == first for each in others):
        return f"seeds {listed([str(each) for each in sorted(first)])}"
    sizes = [len(each) for each in of_cells]
    few, many = min(sizes), max(sizes)
    return (
        f"{few} to {many} seeds a cell" if few < many else f"{few} seeds a cell, not all the same,"
    )


def _any_of_same_images(means: Iterable[Mean | None]) -> bool:
    return any(mean is not None and mean.same_images for mean in means)


def _chosen_on(series: Sequence[MethodSeries]) -> str:
    """What chose the hyper-parameters of which method."""
    methods: dict[str, list[str]] = {}
    for one in series:
        for source in dict.fromkeys(one.rows[shots]["selected_on"] for shots in one.shots):
            methods.setdefault(source, []).append(escape_latex(one.name))
    chosen = [f"{_CHOSEN_ON[source]} ({listed(names)})" for source, names in methods.items()]
    return f"Hyper-parameters: {'; '.join(chosen)}."
