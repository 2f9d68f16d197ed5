"""The report in a real browser: nothing is cut off, nothing is loaded, names do nothing, and everybody can use it."""

import csv
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.pipeline.report import write_report
from clip_adapter.pipeline.train import train
from clip_adapter.runs import connect

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = (390, 768, 1280)
HOSTILE = "</title></script><script>window.hit=1</script><img src=x onerror=window.hit=1>"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
PutRuns = Callable[..., None]
Open = Callable[..., Any]

# What is right of its frame and can be reached by no scrolling.
CUT_OFF = """() => {
  const scrolls = (each) => ["auto", "scroll"].includes(getComputedStyle(each).overflowX);
  const inFrame = (each) => {
    for (let above = each.parentElement; above; above = above.parentElement) if (scrolls(above)) return true;
    return false;
  };
  return [...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    if (!box.width || each.closest(".hidden, .skip, svg *, defs")) return false;
    const right = box.right + window.scrollX;
    return right > document.documentElement.clientWidth + 1 && !inFrame(each);
  }).map((each) => each.outerHTML.slice(0, 120));
}"""
CELLS = """(name) => [...document.querySelectorAll(`[id$="-${name}"] tbody tr`)].map(
  (row) => [...row.children].map((cell) => cell.textContent.trim()))"""


@cache
def axe() -> str:
    """The rules of axe-core, as JavaScript."""
    package = pytest.importorskip("axe_playwright_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(name="opened")
def _opened(browser: Any) -> Iterator[Open]:
    """Open a file; what it asks for and complains of is in `page.told`."""
    contexts = []

    def open_file(path: Path, *, width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.told = []
        page.on("pageerror", lambda error: page.told.append(str(error)))
        page.on(
            "console",
            lambda message: message.type in {"error", "warning"} and page.told.append(message.text),
        )
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:")) or page.told.append(request.url)
            ),
        )
        page.goto(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()


def scroll_through(page: Any) -> None:
    """See the whole page, so that every figure is drawn."""
    for top in range(0, page.evaluate("document.documentElement.scrollHeight"), 600):
        page.evaluate(f"window.scrollTo(0, {top})")
        page.wait_for_timeout(40)
    page.wait_for_function(
        "() => document.querySelectorAll('.live svg').length"
        " === document.querySelectorAll('figure').length"
    )


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with a champion and base-to-new, and a dataset of an own folder."""
    root = tmp_path_factory.mktemp("report") / "store"
    methods = ["zero-shot", "gda", "clip-adapter"]
    settings = {"clip-adapter": {"recipe": "fast"}}
    train(
        "digits",
        root=root,
        methods=methods,
        shots=[1, 4],
        seeds=[1, 2, 3],
        settings=settings,
        promote=True,
    )
    train(
        "digits",
        root=root,
        methods=["zero-shot", "gda"],
        shots=[4],
        seeds=[1, 2],
        protocol="base-to-new",
    )
    folder = root.parent / "numerals"
    for label in (root / "images" / "digits").iterdir():
        (folder / label.name).mkdir(parents=True)
        for image in sorted(label.iterdir())[:12]:
            shutil.copy(image, folder / label.name / image.name)
    train(
        f"imagefolder:{folder}",
        root=root,
        model="glyphs",
        methods=["zero-shot", "gda"],
        shots=[1],
        seeds=[1],
    )
    return root


@pytest.fixture(name="page_of_all", scope="module")
def _page_of_all(store: Path) -> Path:
    return write_report(store, store.parent / "all.html").page


@pytest.fixture(name="page_of_one", scope="module")
def _page_of_one(store: Path) -> Path:
    return write_report(store, store.parent / "one.html", datasets=["digits"]).page


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_and_nothing_leaves_the_page(
    page_of_all: Path, opened: Open, width: int
) -> None:
    page = opened(page_of_all, width=width)
    scroll_through(page)
    for details in page.query_selector_all("main details"):
        details.evaluate("each => { each.open = true }")
    assert page.evaluate(CUT_OFF) == []
    assert page.told == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(page_of_all: Path, opened: Open, scheme: str) -> None:
    page = opened(page_of_all, color_scheme=scheme, bypass_csp=True)
    scroll_through(page)
    page.evaluate(axe())
    found = page.evaluate("axe.run()")
    assert found["passes"]
    assert [
        (each["id"], [node["html"][:200] for node in each["nodes"]][:3])
        for each in found["violations"]
    ] == []


def test_the_switch_and_the_system_choose_the_colours(page_of_one: Path, opened: Open) -> None:
    page = opened(page_of_one, color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.get_by_text("Light", exact=True).click()
    light = page.evaluate(colour)
    assert (dark, light) == ("rgb(21, 24, 29)", "rgb(255, 255, 255)")


def test_without_scripts_the_figures_are_there(page_of_one: Path, opened: Open) -> None:
    page = opened(page_of_one, java_script_enabled=False)
    figures = page.locator("figure")
    stills = page.locator("figure .still svg")
    shown = [stills.nth(place).is_visible() for place in range(stills.count())]
    assert figures.count() == sum(shown) > 4
    assert page.locator("th", has_text="method").first.is_visible()


def test_the_contents_follow(page_of_one: Path, opened: Open) -> None:
    page = opened(page_of_one)
    page.locator(".contents a", has_text="Provenance").click()
    current = page.locator(".contents a[aria-current]")
    page.wait_for_function("() => scrollY > 1000")
    page.wait_for_function(
        "() => document.querySelector('.contents a[aria-current]').hash.endsWith('-provenance')"
    )
    assert current.inner_text() == "Provenance"


def test_cells_are_those_of_sql(page_of_one: Path, store: Path, opened: Open) -> None:
    page = opened(page_of_one)
    with connect(store) as database:
        board = database.query(
            "SELECT method, shots, accuracy_mean FROM leaderboard WHERE dataset = 'digits'"
        ).to_pylist()
        classes = database.query(
            "SELECT class_name, recall FROM per_class WHERE dataset = 'digits' AND method = 'zero-shot'"
        ).to_pylist()
    shown = {row[0]: row[1:] for row in page.evaluate(CELLS, "accuracy")}
    columns = {0: 0, 1: 1, 4: 2}
    assert len(board) == 5
    for row in board:
        cell = shown[row["method"]][columns[row["shots"]]]
        assert cell.partition(" ")[0] == f"{100 * row['accuracy_mean']:.1f}"
    recalls = {row[0]: row[1] for row in page.evaluate(CELLS, "classes")}
    assert recalls == {row["class_name"]: f"{100 * row['recall']:.1f}" for row in classes}


def test_the_statement_of_a_block_gives_its_rows(
    page_of_one: Path, store: Path, opened: Open, tmp_path: Path
) -> None:
    page = opened(page_of_one)
    assert page.locator("section.block").count() > 8
    for place in range(page.locator("section.block:has(pre)").count()):
        block = page.locator("section.block:has(pre)").nth(place)
        sql = block.locator("pre").text_content()
        with connect(store) as database:
            assert database.query(sql).num_rows > 0
    with page.expect_download() as download:
        page.locator("[id$=-classes] a.button").click()
    file = tmp_path / "rows.csv"
    download.value.save_as(file)
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    sql = page.locator("[id$=-classes] pre").text_content()
    with connect(store) as database:
        wanted = database.query(sql).to_pylist()
    assert [row["class_name"] for row in rows] == [row["class_name"] for row in wanted]
    changes = [row["change"] for row in wanted]
    assert [float(row["change"]) for row in rows] == pytest.approx(changes)


def test_what_is_printed_is_dark_on_white_and_unfolded(page_of_one: Path, opened: Open) -> None:
    page = opened(page_of_one)
    page.get_by_text("Dark", exact=True).click()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".contents").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.notes p").first.is_visible()


def test_a_figure_that_is_seen_becomes_one_to_point_at(page_of_one: Path, opened: Open) -> None:
    page = opened(page_of_one)
    scroll_through(page)
    page.locator("[id$=-accuracy] .live svg .mark-symbol path").first.hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert page.locator("[id$=-accuracy] .wide .live svg").is_visible()
    assert not page.locator("[id$=-accuracy] .wide .still").is_visible()


def test_mistakes_are_shown_as_pictures_unless_they_are_not_wanted(
    page_of_one: Path, store: Path, tmp_path: Path
) -> None:
    text = page_of_one.read_text()
    assert text.count('<img src="data:image/jpeg;base64,') >= 12
    without = write_report(
        store, tmp_path / "no.html", datasets=["digits"], has_images=False
    ).page.read_text()
    assert "<img" not in without.partition("<script>")[0]
    assert len(without) < 2_000_000
    assert "The worst mistakes" in without


def test_hostile_names_do_nothing(put_runs: PutRuns, root: Path, opened: Open) -> None:
    zero_shot = {"method": "zero-shot", "shots": 0, "split_fingerprint": ""}
    named: dict[str, Any] = {"model": HOSTILE, "class_names": (HOSTILE, HOSTILE + "b")}
    put_runs([120], seeds=[None], **zero_shot, **named)
    put_runs([150, 150, 150], **named)
    put_runs([140, 150, 160], method="gda", settings_fingerprint="gda", **named)
    page = opened(write_report(root, root.parent / "hostile.html").page)
    scroll_through(page)
    page.locator("[id$=-classes] .live svg .mark-symbol path").first.hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert page.evaluate("window.hit") is None
    assert page.told == []
    assert page.locator("img").count() == 0
    assert "<img src=x" in page.inner_text("main")
