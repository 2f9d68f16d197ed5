"""What a report says of one dataset and encoder, block by block."""

import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import altair as alt

from clip_adapter.escaping import slug
from clip_adapter.progress import duration
from clip_adapter.report import figures
from clip_adapter.report.blocks import (
    Block,
    Figure,
    Headline,
    Picture,
    Section,
    commits_in_words,
    dates_in_words,
    encoding_in_words,
    settings_values,
    tested_in_words,
)
from clip_adapter.report.interpretation import Interpretation, interpret, leaders
from clip_adapter.report.numbers import listed, points, probability
from clip_adapter.report.results import (
    DatasetResults,
    MethodSeries,
    Row,
    configuration_of,
    is_oracle,
)
from clip_adapter.report.tables import (
    Table,
    accuracy_table,
    base_to_new_table,
    calibration_table,
    choices_table,
    comparison_table,
    cost_table,
    grid,
    shift_table,
)
from clip_adapter.runs import ADVISED_SEEDS, RunDatabase, legend
from clip_adapter.shots import shots_in_words

if TYPE_CHECKING:
    from clip_adapter.report.studies import Study

MOST_PICTURES = 12
"""Largest number of pictures of a block."""
MOST_PAIRS, MOST_CLASSES = 12, 40
"""Largest number of confused pairs and of classes in a table."""
MOST_COMPARED = 120
"""Largest number of cells of a table of accuracies whose comparisons are all computed."""

_BOARD = (
    *(
        "dataset",
        "encoder",
        "model",
        "method",
        "shots",
        "seeds",
        "draws",
        "accuracy_mean",
        "accuracy_ci95",
    ),
    *("accuracy_min", "accuracy_max", "selected_on", "seconds_train_mean", "settings_fingerprint"),
    *("image_choice", "last_run"),
)
"""Columns of the statement `accuracy`."""
_CELLS = (
    *("method", "shots", "selected_on", "seed_list", "n_test", "n_leaked", "ece_mean"),
    *("ece_calibrated_mean", "temperature_mean", "temperature_fitted_on", "settings_fingerprint"),
    "image_choice",
)
"""Columns of the statement `cells` that a download has."""
Thumbnails = Callable[[Sequence[Row]], Sequence[str | None]]
"""Addresses `data:` of small versions of images, from rows with `path` and `image_sha256`; None for a gap."""
Projection = Callable[[], Sequence[Row]]


@dataclass(kw_only=True)
class SectionWriter:
    """Writes the section of one dataset and encoder.

    Attributes:
        database: database of the store.
        results: the results.
        champion: row of the champion of the dataset; None without one.
        costs: row of the view `costs`; None without one.
        thumbnails: makes small versions of images; None where there are none.
        projection: rows of the features before and after the adapter; None where there are none.
    """

    database: RunDatabase
    results: DatasetResults
    champion: Row | None = None
    costs: Row | None = None
    thumbnails: Thumbnails | None = None
    projection: Projection | None = None
    rows: dict[str, list[Row]] = field(default_factory=dict)
    compared: Interpretation | None = None

    def section(self) -> Section:
        """The section, with all blocks that have something to say."""
        results = self.results
        self._ask("data", index=results.about["index_fingerprint"])
        comparisons = self._comparisons()
        headline = self._headline(comparisons)
        names = [each.name for each in results.series]
        names += [row["name"] for row in (*results.base_to_new, *results.shift)]
        blocks = [
            *self._accuracy(headline, comparisons),
            *self._protocols(),
            *(self._mistakes(headline) if headline else ()),
            *self._studies(),
            *self._selection(),
            *self._champions(),
            *self._data(),
            *self._cost(),
            *self._provenance(),
        ]
        return Section(
            results=results,
            headline=headline,
            champion=self.champion,
            last_decision=next(iter(self.rows["champions"]), None),
            costs=self.costs,
            blocks=tuple(blocks),
            next_steps=tuple(self._next_steps(headline, blocks)),
            legend=tuple(legend(names)),
        )

    @property
    def is_indexed(self) -> bool:
        """Whether the images of the dataset are known, not its features alone."""
        return any(row["what"].startswith("images of") for row in self.rows["data"])

    def _ask(self, name: str, **values: str | int) -> tuple[str, list[Row]]:
        sql = self.results.statement(name, **values)
        rows = self.database.query(sql).to_pylist()
        self.rows[name] = rows
        return sql, rows

    def _figure(self, subject: str, title: str, draw: Callable[..., alt.TopLevelMixin]) -> Figure:
        name = f"{slug(self.results.dataset)}-{slug(self.results.encoder[:8])}-{subject}"
        return Figure(name=name, title=f"{title}: {self.results.subject}", draw=draw)

    def _leading(self) -> tuple[MethodSeries, int, str] | None:
        """The method of the headline with its shots, and why it is this one."""
        results, champion = self.results, self.champion
        if champion and champion["encoder"] == results.encoder:
            _, rows = self._ask("champion-settings", run=champion["run_id"])
            for each in results.series if rows else ():
                if (
                    each.configuration == configuration_of(rows[0])
                    and rows[0]["shots"] in each.rows
                ):
                    return each, rows[0]["shots"], "the settings of the champion"
        if results.reference:
            return (
                results.reference,
                max(results.reference.shots),
                "the reference method of this report",
            )
        trained = [
            each for each in results.series if each.uses_shots and not is_oracle(each.method)
        ]
        if not trained:
            return None
        most = max(trained, key=lambda each: (each.n_runs, each.recency, each.name))
        return most, max(most.shots), "the method with the most runs"

    def _comparisons(self) -> tuple[str, Interpretation] | None:
        """The method of the headline against every other."""
        leading = self._leading()
        if not leading:
            return None
        series, shots, _ = leading
        n_cells = sum(len(each.rows) for each in self.results.series)
        values = settings_values(series)
        if n_cells > MOST_COMPARED:
            sql, rows = self._ask("comparisons-at", **values, shots=shots)
        else:
            sql, rows = self._ask("comparisons", **values)
        found = interpret(series, rows, self.results.series)
        self.compared = found
        return (sql, found) if found else None

    def _headline(self, comparisons: tuple[str, Interpretation] | None) -> Headline | None:
        leading = self._leading()
        if not leading:
            return None
        series, shots, why = leading
        accuracy = series.mean("accuracy", shots)
        if accuracy is None:
            return None
        zero_shot = self.results.zero_shot
        name = zero_shot.name if zero_shot else ""
        found = comparisons[1].comparisons if comparisons else ()
        gain = next(
            (each.paired for each in found if (each.baseline, each.shots) == (name, shots)), None
        )
        return Headline(
            series=series,
            shots=shots,
            why=why,
            accuracy=accuracy,
            zero_shot=zero_shot.mean("accuracy", 0) if zero_shot else None,
            gain=gain,
            n_comparisons=len(found),
        )

    def _accuracy(
        self, headline: Headline | None, comparisons: tuple[str, Interpretation] | None
    ) -> Iterable[Block]:
        results = self.results
        if not results.series:
            return
        rows = [{**row, "name": each.name} for each in results.series for row in each.rows.values()]
        highlight = self._highlighted(headline)
        best = [f"{name} at {at}" for name, at in leaders(results.series)]
        yield Block(
            name="accuracy",
            title="Accuracy",
            says=(f"Highest mean: {'; '.join(best)}.",) if best else (),
            figure=self._figure(
                "accuracy",
                "Test accuracy by number of labelled images",
                partial(figures.accuracy, rows, highlight=highlight),
            ),
            table=accuracy_table(results.series),
            notes=_notes("accuracy"),
            sql=results.statement("accuracy"),
            rows=[{name: row[name] for name in ("name", *_BOARD)} for row in rows],
        )
        if comparisons:
            yield _comparison_block(*comparisons)
        if headline:
            yield from self._by_class(headline)
        yield from self._calibration(headline)

    def _highlighted(self, headline: Headline | None) -> list[str]:
        """The methods that stand out: that of the headline, zero-shot, and the highest at its shots."""
        results = self.results
        shown = [headline and headline.series, results.zero_shot]
        if headline:
            means = {
                each.name: mean.value
                for each in results.series
                if (mean := each.mean("accuracy", headline.shots)) is not None
                and not is_oracle(each.method)
            }
            highest = max(means, key=lambda name: means[name])
            shown.append(next(each for each in results.series if each.name == highest))
        return list(dict.fromkeys(each.name for each in (*shown, results.reference) if each))[:3]

    def _by_class(self, headline: Headline) -> Iterable[Block]:
        zero_shot = self.results.zero_shot
        subject = f"{headline.series.name} at {shots_in_words(headline.shots)}"
        if zero_shot:
            baseline, settings, choice = zero_shot.configuration
            sql, rows = self._ask(
                "per-class",
                **headline.values(),
                baseline=baseline,
                baseline_settings=settings,
                baseline_choice=choice,
            )
            if rows:
                worse, better = (
                    [row for row in rows if row["change"] * sign > 0] for sign in (-1, 1)
                )
                says = (
                    f"{subject} recognises {len(better):,} of {len(rows):,} classes better than zero-shot, "
                    f"and {len(worse):,} worse."
                )
                yield Block(
                    name="classes",
                    title="Classes against zero-shot",
                    says=(says, *_most_changed(rows), _lowest(rows)),
                    figure=self._figure(
                        "classes",
                        "Recall of each class, zero-shot and adapted",
                        partial(figures.per_class_change, rows),
                    ),
                    table=_class_table(rows),
                    notes=(
                        *_notes("classes"),
                        *_only_some(len(rows), MOST_CLASSES, "classes, those that changed most"),
                    ),
                    sql=sql,
                    rows=rows,
                    is_folded=True,
                )
        sql, rows = self._ask("confusion", **headline.values())
        wrong = [row for row in rows if row["class_name"] != row["predicted_name"]]
        if wrong:
            worst = wrong[0]
            yield Block(
                name="confusion",
                title="Classes that are confused",
                says=(
                    _confused(
                        worst,
                        n_images=self._images_of(worst["class_name"], rows, headline),
                        subject=subject,
                    ),
                ),
                figure=self._figure(
                    "confusion",
                    "Which class the images of the worst-confused classes are given",
                    partial(figures.confusion, rows),
                ),
                table=Table(
                    header=("class", "taken for", "% of its images", "predictions"),
                    rows=tuple(
                        (
                            row["class_name"],
                            row["predicted_name"],
                            f"{100 * row['share']:.1f}",
                            f"{row['n']:,}",
                        )
                        for row in wrong[:MOST_PAIRS]
                    ),
                    n_words=2,
                ),
                notes=_notes("confusion", subject=subject),
                sql=sql,
                rows=rows,
                is_folded=True,
            )

    def _images_of(self, class_name: str, rows: Sequence[Row], headline: Headline) -> int:
        """Number of test images of a class, from rows that count each once for each seed."""
        total: int = sum(row["n"] for row in rows if row["class_name"] == class_name)
        seeds: int = headline.series.rows[headline.shots]["seeds"]
        return round(total / seeds)

    def _calibration(self, headline: Headline | None) -> Iterable[Block]:
        if headline:
            sql, rows = self._ask("reliability", **headline.values())
            title = f"Confidence against accuracy of {headline.series.name} at {shots_in_words(headline.shots)}"
            if rows:
                yield Block(
                    name="reliability",
                    title="Reliability",
                    says=("Whether a confidence of 80 % is right in 80 % of cases.",),
                    figure=self._figure("reliability", title, partial(figures.reliability, rows)),
                    notes=_notes("reliability"),
                    sql=sql,
                    rows=rows,
                )
        cells = [row for each in self.results.series for row in each.rows.values()]
        if any(row["ece_mean"] is not None for row in cells):
            yield Block(
                name="calibration",
                title="Calibration",
                table=calibration_table(self.results.series),
                notes=_notes("calibration"),
                sql=self.results.statement("cells"),
                rows=[{name: row[name] for name in ("name", *_CELLS)} for row in cells],
                is_folded=True,
            )

    def _protocols(self) -> Iterable[Block]:
        results = self.results
        if results.base_to_new:
            yield Block(
                name="base-to-new",
                title="Base-to-new classes",
                figure=self._figure(
                    "base-to-new",
                    "Accuracy on trained and on new classes",
                    partial(figures.base_to_new, results.base_to_new),
                ),
                table=base_to_new_table(results.base_to_new),
                notes=_notes("base-to-new"),
                sql=_view_sql("base_to_new_means", "dataset", results),
                rows=results.base_to_new,
            )
        if results.shift:
            yield Block(
                name="other-datasets",
                title="Other datasets",
                table=shift_table(results.shift),
                notes=_notes("other-datasets", dataset=results.dataset),
                sql=_view_sql("shift_means", "source", results),
                rows=results.shift,
            )

    def _mistakes(self, headline: Headline) -> Iterable[Block]:
        subject = f"{headline.series.name} at {shots_in_words(headline.shots)}"
        sql, rows = self._ask("mistakes", **headline.values(), top=MOST_PICTURES)
        if rows:
            pictures = self._pictures(
                rows, lambda row: f"{100 * row['confidence']:.0f} % sure, {_runs(row['n_runs'])}"
            )
            yield Block(
                name="mistakes",
                title="The worst mistakes",
                says=(
                    f"Test images that {subject} gives another class than their label at every seed, the most sure first.",
                ),
                pictures=pictures,
                notes=_notes("mistakes", most=f"{MOST_PICTURES}"),
                sql=sql,
                rows=rows,
            )
        sql, rows = self._ask("suspects", shots=headline.shots, top=MOST_PICTURES)
        if rows:
            pictures = self._pictures(
                rows, lambda row: f"label: {_probability(row)}, {_runs(row['n_runs'])}"
            )
            others = shots_in_words(headline.shots)
            asked = " and zero-shot" if self.results.zero_shot else ""
            yield Block(
                name="labels",
                title="Labels to look at",
                says=(
                    f"Images whose label no classifier agrees with: two methods or more were asked, with {others}{asked}.",
                ),
                pictures=pictures,
                notes=_notes("labels", most=f"{MOST_PICTURES}"),
                sql=sql,
                rows=rows,
            )
        projected = self.projection() if self.projection and self.is_indexed else ()
        if projected:
            yield Block(
                name="features",
                title="Features before and after the adapter",
                figure=self._figure(
                    "features",
                    "Image features of test images on two principal components",
                    partial(figures.features, projected),
                ),
                notes=_notes("features"),
                rows=projected,
            )

    def _pictures(self, rows: Sequence[Row], note: Callable[[Row], str]) -> tuple[Picture, ...]:
        addresses = self.thumbnails(rows) if self.thumbnails else [None] * len(rows)
        return tuple(
            Picture(
                address=address,
                class_name=row["class_name"],
                predicted_name=row["predicted_name"],
                note=note(row),
                path=row["path"] or row["image_sha256"][:16],
            )
            for row, address in zip(rows, addresses, strict=True)
        )

    def _studies(self) -> Iterable[Block]:
        runs = self.results.study_runs
        if not runs:
            return
        # Most stores have no studies, and reading them imports the datasets.
        from clip_adapter.report.open_vocabulary import (  # noqa: PLC0415
            open_vocabulary_of,
            open_vocabulary_table,
        )
        from clip_adapter.report.selection_costs import (  # noqa: PLC0415
            selection_costs_of,
            selection_costs_table,
        )
        from clip_adapter.report.studies import studies_of  # noqa: PLC0415

        for study in studies_of(runs):
            yield self._study(study)
        if found := open_vocabulary_of(runs):
            seeds = _seeds({seed for each in found for seed in each.seeds})
            yield Block(
                name="open-vocabulary",
                title="Open vocabulary",
                table=open_vocabulary_table(found),
                notes=_notes("open-vocabulary", seeds=seeds),
                sql=self.results.statement("study", study="open-vocabulary"),
            )
        if costs := selection_costs_of(runs):
            seeds = _seeds({seed for each in costs for seed in each.seeds})
            yield Block(
                name="selection-costs",
                title="What choosing on test images adds",
                table=selection_costs_table(costs),
                notes=_notes("selection-costs", seeds=seeds),
                sql=self.results.statement("study", study="selection"),
            )

    def _study(self, study: "Study") -> Block:
        recipe = ", ".join(filter(None, [study.recipe and f"{study.recipe} recipe", study.images]))
        words = ["study", study.name, study.recipe, study.images]
        subject = "-".join(slug(each) for each in words if each)
        title = f"Study: {study.name}{recipe and f', {recipe}'}"
        means = {variant.name: variant.means for variant in study.variants}
        return Block(
            name=subject,
            title=title,
            figure=self._figure(
                subject, f"Accuracy against {study.varied}", partial(figures.study, study)
            ),
            table=grid(means, heading=study.varied),
            notes=_notes("study", varied=study.varied, seeds=_seeds(study.seeds)),
            sql=self.results.statement("study", study=study.name),
            rows=self._ask("study", study=study.name)[1],
        )

    def _selection(self) -> Iterable[Block]:
        if not self.results.series:
            return
        rows = [
            {"name": each.name, "shots": shots, "setting": name, "chosen": values}
            for each in self.results.series
            for shots, row in each.rows.items()
            for name, values in row["chosen"].items()
        ]
        yield Block(
            name="selection",
            title="How settings were chosen",
            table=choices_table(self.results.series),
            notes=_notes("selection"),
            sql=self.results.statement("choices"),
            rows=rows,
            is_folded=True,
        )

    def _champions(self) -> Iterable[Block]:
        sql, rows = self._ask("champions")
        if not rows:
            return
        last = rows[0]
        says = f"{_day(last['decided_at'])}: {last['decision']}, {last['reason']}."
        yield Block(
            name="champions",
            title="Champion and its history",
            says=(says,),
            figure=self._figure(
                "champions", "Decisions on the champion", partial(figures.champions, rows)
            )
            if any(row["accuracy_challenger"] is not None for row in rows[1:])
            else None,
            table=Table(
                header=(
                    "decided",
                    "decision",
                    "method",
                    "shots",
                    "difference",
                    "95 % interval",
                    "p",
                    "images",
                ),
                rows=tuple(
                    (
                        _day(row["decided_at"]),
                        row["decision"],
                        row["method"],
                        shots_in_words(row["shots"]),
                        *_challenge(row),
                        f"{row['n_images']:,}" if row["n_images"] else "",
                    )
                    for row in rows[:MOST_CLASSES]
                ),
                n_words=4,
            ),
            notes=_notes("champions"),
            sql=sql,
            rows=rows,
        )

    def _data(self) -> Iterable[Block]:
        rows = self.rows["data"]
        if not rows:
            return
        yield Block(
            name="data",
            title="Data",
            says=tuple(
                f"{row['n']:,} test {'image is' if row['n'] == 1 else 'images are'} elsewhere too, bit for bit."
                for row in rows
                if row["what"].startswith("test images")
            ),
            table=Table(
                header=("what", "for example", "files"),
                rows=tuple((row["what"], row["example"] or "", f"{row['n']:,}") for row in rows),
                n_words=2,
            ),
            notes=_notes("data"),
            sql=self.results.statement("data", index=self.results.about["index_fingerprint"]),
            rows=rows,
        )

    def _cost(self) -> Iterable[Block]:
        if not self.results.series:
            return
        about, costs = self.results.about, self.costs
        memory = (
            f", {about['peak_memory_bytes'] / 1e9:.1f} GB of memory at most"
            if about["peak_memory_bytes"]
            else ""
        )
        yield Block(
            name="cost",
            title="Seconds to train",
            says=(
                *((encoding_in_words(costs),) if costs else ()),
                f"{about['n_runs']:,} runs trained in {duration(about['seconds_train'] or 0)}{memory}, on {listed(about['devices'])}.",
            ),
            table=cost_table(self.results.series),
            notes=_notes("cost"),
            sql=self.results.statement("accuracy"),
            rows=[
                {name: row[name] for name in ("name", "shots", "seeds", "seconds_train_mean")}
                for each in self.results.series
                for row in each.rows.values()
            ],
            is_folded=True,
        )

    def _provenance(self) -> Iterable[Block]:
        about = self.results.about
        facts = {
            "encoder": f"{about['model']}, {about['encoder'][:12]}",
            "precision": about["precision"],
            "state of the dataset": about["index_fingerprint"][:12],
            "classes": f"{about['n_classes']:,}" if about["n_classes"] else "",
            "test images": tested_in_words(about),
            "seeds": _seeds(about["seeds"] or ()),
            "recipe": listed(about["recipes"] or ()),
            "prompts": _prompts(about["templates"] or ()),
            "runs of": dates_in_words(about),
            "code": commits_in_words(about),
            "device": listed(about["devices"]),
            "software": ", ".join(
                f"{name.replace('_', '-')} {version}"
                for name, version in (about["versions"] or {}).items()
                if version
            ),
        }
        yield Block(
            name="provenance",
            title="Provenance",
            table=Table(
                header=("what", "value"),
                rows=tuple((name, value) for name, value in facts.items() if value),
                n_words=2,
            ),
            sql=self.results.statement("about"),
            rows=[_without(about, "encoder_name")],
            is_folded=True,
        )

    def _next_steps(
        self, headline: Headline | None, blocks: Sequence[Block]
    ) -> Iterable[tuple[str, str]]:
        """What to look at next, the most urgent first."""
        about, names = self.results.about, {block.name: block for block in blocks}
        for failure in self.results.failures[:1]:
            yield (
                f"{_runs(failure['n_runs'])} of {failure['method']} failed: {failure['error'] or 'no reason is recorded'}",
                "",
            )
        if about["n_leaked"]:
            yield _leaked(about["n_leaked"]), "data" if "data" in names else ""
        yield from _about_gain(headline) if headline else ()
        yield from self._higher(headline)
        worse = [row for row in self.rows.get("per-class", []) if row["change"] < 0]
        if worse:
            lost = f"{worse[0]['class_name']} ({points(worse[0]['change'])} points)"
            if len(worse) == 1:
                yield f"Zero-shot recognises one class better: {lost}.", "classes"
            else:
                yield (
                    f"Zero-shot recognises {len(worse):,} classes better, most of all {lost}.",
                    "classes",
                )
        if "labels" in names:
            count = len(names["labels"].pictures)
            more = f"{count} or more" if count == MOST_PICTURES else f"{count}"
            yield f"Labels that no method agrees with: {more}. Look at the images.", "labels"
        if "confusion" in names:
            yield names["confusion"].says[0], "confusion"

    def _higher(self, headline: Headline | None) -> Iterable[tuple[str, str]]:
        """A method with a higher mean than that of the headline, which is the highest only by chance or choice."""
        found = self.compared.comparisons if self.compared else ()
        oracles = {each.name for each in self.results.series if is_oracle(each.method)}
        above = [
            each
            for each in found
            if headline and each.shots == headline.shots and each.paired.difference < 0
            if each.baseline not in oracles
        ]
        if not above:
            return
        best = min(above, key=lambda each: (each.paired.difference, each.baseline))
        shown = "is shown" if best.paired.verdict == "behind" else "is not significant"
        by = points(-best.paired.difference).lstrip("+")
        at = shots_in_words(best.shots)
        said = f"{best.baseline} has a higher mean at {at}, by {by} points; the difference {shown}."
        yield said, "comparison"


def _about_gain(headline: Headline) -> Iterable[tuple[str, str]]:
    """What would make the gain known, or better known."""
    if headline.gain is None:
        if headline.zero_shot is None:
            yield (
                "Run `zero-shot` as well: without it the gain of adaptation is not known.",
                "accuracy",
            )
        return
    if headline.accuracy.value >= 1:
        return
    n_seeds = len(headline.gain.seed_differences)
    could_draw = n_seeds < ADVISED_SEEDS and not headline.gain.same_training_images
    if headline.gain.verdict == "no difference shown":
        more = "train more seeds (`--seeds 1-10`), or " if could_draw else ""
        yield f"The gain is not significant: {more}label more images.", "comparison"
    elif n_seeds == 1 and could_draw:
        said = "One training set: train `--seeds 1-10` to see how much another would matter."
        yield said, "comparison"


def _comparison_block(sql: str, found: Interpretation) -> Block:
    n_comparisons = f"{len(found.comparisons)}"
    notes = [*_notes("comparison", n_comparisons=n_comparisons, reference=found.reference)]
    if found.n_of_one_draw:
        are = "comparison is" if found.n_of_one_draw == 1 else "comparisons are"
        notes.append(
            f"{found.n_of_one_draw} {are} at one seed, and about these classifiers only: other training images would move both sides."
        )
    if found.n_on_same_images:
        notes.append(
            f'In {found.n_on_same_images} all draws train on the same images ("same images"): the claim is about these.'
        )
    if found.could_show_more:
        notes.append(
            "Three seeds show large differences only; where training is cheap, train with `--seeds 1-10`."
        )
    if found.refused:
        notes.append(
            f"Not compared, as seeds, training images or test images are not the same: {listed(found.refused)}. "
            "`clip-adapter compare` says which."
        )
    return Block(
        name="comparison",
        title=f"Where {found.reference} wins, and where not",
        says=(f"{found.reference} is {found.tally}.",),
        entries=tuple(f"Against {baseline}: {verdict}." for baseline, verdict in found.verdicts),
        table=comparison_table(found.comparisons),
        notes=tuple(notes),
        sql=sql,
        rows=[
            {
                "against": each.baseline,
                "shots": each.shots,
                "difference": each.paired.difference,
                "low": each.paired.low,
                "high": each.paired.high,
                "wins": each.paired.wins,
                "losses": each.paired.losses,
                "n_images": each.paired.n_images,
                "verdict": each.paired.verdict,
                "p_value": each.paired.p_value,
                "adjusted_p_value": each.paired.adjusted_p_value,
            }
            for each in found.comparisons
        ],
        is_folded=len(found.comparisons) > MOST_PAIRS,
    )


@cache
def _all_notes() -> dict[str, list[str]]:
    text = (files("clip_adapter.report") / "templates" / "notes.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _notes(name: str, **values: str) -> tuple[str, ...]:
    """How to read a block, a paragraph each, with values in their places."""
    return tuple(text.format(**values) for text in _all_notes()[name])


def _leaked(count: int) -> str:
    images = "test image is" if count == 1 else "test images are"
    return f"{count:,} {images} in the training split as well, bit for bit: they test, and never train."


def _confused(row: Row, *, n_images: int, subject: str) -> str:
    share = f"{100 * row['share']:.0f} % of the {n_images:,} test images of {row['class_name']}"
    return f"{subject} takes {share} for {row['predicted_name']}."


def _class_table(rows: Sequence[Row]) -> Table:
    shown = sorted(rows, key=lambda row: (-abs(row["change"]), row["class_name"]))[:MOST_CLASSES]
    shown.sort(key=lambda row: (row["change"], row["class_name"]))
    return Table(
        header=(
            "class",
            "zero-shot recall",
            "adapted recall",
            "change",
            "precision",
            "predictions",
        ),
        rows=tuple(
            (
                row["class_name"],
                f"{100 * row['recall_zero_shot']:.1f}",
                f"{100 * row['recall_adapted']:.1f}",
                points(row["change"]),
                f"{100 * row['precision']:.1f}" if row["precision"] is not None else "",
                f"{row['n']:,}",
            )
            for row in shown
        ),
    )


def _most_changed(rows: Sequence[Row]) -> tuple[str, ...]:
    gained, lost = rows[-1], rows[0]
    said = []
    if gained["change"] > 0:
        said.append(f"{gained['class_name']} gains most, {points(gained['change'])} points")
    if lost["change"] < 0:
        said.append(f"{lost['class_name']} loses most, {points(lost['change'])}")
    return (f"{'; '.join(said)}.",) if said else ("No class changes.",)


def _lowest(rows: Sequence[Row]) -> str:
    lowest = min(rows, key=lambda row: (row["recall_adapted"], row["class_name"]))
    return f"Lowest recall: {lowest['class_name']}, {100 * lowest['recall_adapted']:.0f} %."


def _only_some(n: int, most: int, what: str) -> tuple[str, ...]:
    return (f"The table has {most} of {n:,} {what}; the statement gives all.",) if n > most else ()


def _challenge(row: Row) -> tuple[str, str, str]:
    if row["accuracy_challenger"] is None or row["accuracy_champion"] is None:
        return "", "", ""
    interval = "" if row["low"] is None else f"{points(row['low'])} to {points(row['high'])}"
    p_value = "" if row["p_value"] is None else probability(row["p_value"])
    return points(row["accuracy_challenger"] - row["accuracy_champion"]), interval, p_value


def _probability(row: Row) -> str:
    value = row["label_probability"]
    return "probability not recorded" if value is None else f"{100 * value:.0f} % probable"


def _runs(count: int) -> str:
    return f"{count:,} run{'s' * (count != 1)}"


def _day(time: Any) -> str:
    return str(time)[:10]


def _prompts(templates: Sequence[str]) -> str:
    more = f" and {len(templates) - 1} more" if len(templates) > 1 else ""
    return f"{templates[0]}{more}" if templates else ""


def _seeds(seeds: Iterable[int]) -> str:
    return listed([str(seed) for seed in sorted(seeds)]) or "none"


def _view_sql(view: str, source: str, results: DatasetResults, **equal: str) -> str:
    conditions = {source: results.dataset, "encoder": results.encoder, **equal}
    shown = [
        f"{name} = '{value.replace(chr(39), 2 * chr(39))}'" for name, value in conditions.items()
    ]
    return f"FROM {view} WHERE {' AND '.join(shown)}"


def _without(row: Row, *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
