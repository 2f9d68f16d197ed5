"""What a person sees in Prefect's UI after a run, and that no name from data does anything there."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHECKOUT = Path(__file__).parents[2]
START_SECONDS = 120

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]

# Each sets `window.hit` if anything of it is obeyed; the tiny text tower reads 14 tokens.
CLASSES = (
    "a|b<script>hit=1",
    "[c](javascript:hit=1)",
    "<img src=x onerror=hit=1>",
)
# What steers text is refused in names of classes, and escaped in names of files.
BROKEN = "<svg onload=hit=1>\u202e\n# f.jpg"
# As a worker does, whose flow run belongs to a deployment.
PROGRAM = """
import json, sys
from prefect.flows import load_flow_from_entrypoint
from tasks import reporter
reporter.FIRST_AFTER_SECONDS = 0.0
flow = load_flow_from_entrypoint("flows/train_adapters.py:train_adapters")
flow(**json.loads(sys.argv[1]))
"""
Look = Callable[[str], str]


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a database of its own; its address."""
    place = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "PREFECT_HOME": str(place),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_UI_API_URL": f"{address}/api",
    }
    command = (sys.executable, "-m", "prefect", "server", "start", "--port", str(port))
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    _wait_until_healthy(address)
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture(name="root", scope="module")
def _root(
    server: str,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: str,
    put_photos: Callable[..., Path],
) -> Path:
    """The store of a run whose every name is hostile."""
    place = tmp_path_factory.mktemp("hostile")
    model = place / "<b>m|o**d**"
    shutil.copytree(tiny_model.removeprefix("local-dir:"), model)
    photos = place / "photos"
    for name, colour in zip(CLASSES, ("red", "green", "blue"), strict=True):
        put_photos(photos, name, range(30), colour=colour)
    (photos / CLASSES[0] / BROKEN).write_bytes(b"no picture")
    asked = {
        "dataset": f"imagefolder:{photos}",
        "model": f"local-dir:{model}",
        "root": str(place / "store"),
        "templates": ["{}"],
        "methods": ["zero-shot", "clip-adapter"],
        "shots": [1, 2],
        "seeds": [1, 2],
        "settings": {"clip-adapter": {"epochs": 2}},
    }
    environment = os.environ | {
        "PREFECT_API_URL": f"{server}/api",
        "PYTHONPATH": str(CHECKOUT),
        "PREFECT__RUNTIME__DEPLOYMENT__ID": "00000000-0000-0000-0000-000000000000",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_TO_API_ENABLED": "true",
        "CLIP_ADAPTER_REPORTS_URL": "http://127.0.0.1:1/reports",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(asked)],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "could not be published" not in done.stderr
    return place / "store"


@pytest.fixture(name="page")
def _page(server: str) -> Iterator[Any]:
    """A browser that fails the test if a page opens a dialog or asks a stranger for anything."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # only where there is a browser

    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        yield page
        browser.close()
    known = (server, "data:", "blob:", "file:")
    strangers = [url for url in asked if not url.startswith(known)]
    # Prefect's own UI asks for its fonts and its telemetry; neither is here.
    assert [url for url in strangers if "prefect" not in url] == []


@pytest.fixture(name="look")
def _look(server: str, page: Any, tmp_path: Path, root: Path) -> Look:
    """Open the latest artifact of the key that begins so, take its picture, and return what is to be read."""
    assert root.exists()

    def look(beginning: str) -> str:
        (artifact,) = [each for each in _artifacts(server) if each["key"].startswith(beginning)]
        page.goto(f"{server}/artifacts/artifact/{artifact['latest_id']}")
        page.wait_for_selector(".artifact-data-view", timeout=60_000)
        page.wait_for_timeout(1500)  # Markdown is parsed by a worker of the page
        page.screenshot(path=tmp_path / f"{beginning}.png", full_page=True)
        sys.stdout.write(f"looked at {tmp_path / beginning}.png\n")
        assert page.evaluate("window.hit") is None
        text: str = page.inner_text("body")
        return text

    return look


def test_the_summary_tells_of_hostile_names_and_obeys_none(look: Look, page: Any) -> None:
    text = look("summary-photos")
    assert "runs trained in" in text
    assert "Test accuracy, %" in text
    assert "<b>m|o**d**" in text
    assert "Quarantined: 1 file" in text
    assert "<svg onload=hit=1>\\u202e\\n# f.jpg" in text
    assert "a|b<script>hit=1" in text
    assert "[c](javascript:hit=1)" in text
    addresses = page.eval_on_selector_all("a", "links => links.map(link => link.href)")
    assert [each for each in addresses if each.startswith("javascript:")] == []
    (link,) = [each for each in addresses if each.endswith(".html")]
    assert link.startswith("http://127.0.0.1:1/reports/photos.html")
    shown = page.eval_on_selector_all(
        "img", "all => all.map(each => [each.src, each.naturalWidth])"
    )
    (picture,) = [each for each in shown if each[0].startswith("data:image/png;base64,")]
    assert picture[1] > 700


def test_the_leaderboard_is_a_table_of_the_very_names(look: Look) -> None:
    text = look("leaderboard-photos")
    assert "<b>m|o**d**" in text
    assert text.count("clip-adapter") == 2


def test_the_leaderboard_is_not_cut_off(look: Look, page: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 1000})
    look("leaderboard-photos")
    widths = "table => [table.scrollWidth, table.parentElement.clientWidth]"
    needed, shown = page.eval_on_selector("table", widths)
    assert needed <= shown


def test_the_summary_is_one_click_from_the_log_of_a_run_with_a_readable_name(
    root: Path, server: str, page: Any, tmp_path: Path
) -> None:
    assert root.exists()
    run = _trained(server)
    assert re.fullmatch(r"photos \d{4}-\d\d-\d\d \d\d:\d\d UTC", run["name"])
    assert "runs trained" in run["state"]["message"]
    page.goto(f"{server}/runs/flow-run/{run['id']}")
    page.locator("a[href*='/artifacts/artifact/']").first.wait_for(timeout=60_000)
    page.screenshot(path=tmp_path / "log.png")
    sys.stdout.write(f"looked at {tmp_path / 'log.png'}\n")
    page.locator("a[href*='/artifacts/artifact/']").first.evaluate("link => link.target = '_self'")
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    page.wait_for_selector(".artifact-data-view", timeout=60_000)
    page.get_by_text("Test accuracy, %").wait_for(timeout=30_000)


def test_the_progress_of_the_extraction_is_there(look: Look) -> None:
    text = look("progress-photos-encoding")
    assert "90 of 90 images" in text
    assert "100%" in text


def test_the_report_in_a_browser_obeys_no_name(page: Any, root: Path, tmp_path: Path) -> None:
    (report,) = (root / "reports").iterdir()
    page.goto(report.as_uri())
    page.screenshot(path=tmp_path / "report.png", full_page=True)
    sys.stdout.write(f"looked at {tmp_path}/report.png\n")
    assert page.evaluate("window.hit") is None
    assert "<b>m|o**d**" in page.inner_text("body")
    widths = page.eval_on_selector_all(
        "figure svg, figure canvas", "all => all.map(each => each.getBoundingClientRect().width)"
    )
    assert max(widths) > 500


def _artifacts(server: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310  # loopback
        f"{server}/api/artifacts/latest/filter",
        data=json.dumps({"limit": 100}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # the same
        found: list[dict[str, Any]] = json.load(answer)
    return found


def _trained(server: str) -> dict[str, Any]:
    """The only flow run."""
    request = urllib.request.Request(  # noqa: S310  # loopback
        f"{server}/api/flow_runs/filter",
        data=b"{}",
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # the same
        (run,) = json.load(answer)
    found: dict[str, Any] = run
    return found


def _wait_until_healthy(address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/api/health", timeout=5).close()  # noqa: S310  # loopback
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
        else:
            return
    pytest.fail(f"no server at {address} after {START_SECONDS} s")
