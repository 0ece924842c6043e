"""The HTML report, as text and in a real browser."""

import html
import json
import re
import shutil
import subprocess

import pytest

from analysis.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

TIMES = {
    **{("preprocess", 1): [(0.1, 0.1)] * 3, ("subnetwork", 1): [(1.0, 2.0)] * 3},
    **{("postprocess", 0): [(0.1, 0.1)] * 3},
}
LONG = "parquet:/home/somebody/data/a-long-folder-name/of-flowers"
NASTY = "<img src=x onerror=alert(1)> & \"$\\frac{1}$' --><script>"


def report(store):
    write_report(store.path)
    return (store.path / "report" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full(tmp_path_factory, writer):
    """The page of two data sets, two networks, every status, long words."""
    store = writer(tmp_path_factory.mktemp("full") / "store")
    for dataset, depth in (("digits", 56), (LONG, 56), (LONG, 110)):
        for n in (1, 3, 6):
            for seed in range(3):
                errors = [60.0, 9.0 - seed, 5.0 + n / 10]
                trial_id = store.trial(n, seed, errors=errors, dataset=dataset, depth=depth)
                store.timings(trial_id, TIMES, critical_path=[3.0 / n] * 3)
    store.trial(12, 0, errors=[70.0], status="running")
    store.trial(12, 1, errors=[95.0], status="diverged", error="the loss was not finite in epoch 2")
    store.trial(12, 2, status="failed", error=f"OSError: {'x' * 120} {NASTY}")
    return report(store)


def test_page_is_one_small_file_that_asks_for_nothing(full):
    page = full
    assert len(page.encode()) < 3e6
    for attribute, target in re.findall(r'\b(src|href|action|data|poster|srcset)="([^"]*)"', page):
        assert target.startswith(("#", "data:,")), (attribute, target)
    assert "<script" not in page
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "default-src 'none'" in page


def test_page_answers_every_question(full):
    text = html.unescape(re.sub(r"<[^>]+>", " ", full))
    for expected in (
        *("30 trials: 27 finished", "node1", "2026-03-01", "abc1234", "2 cpu"),
        *("Figure 3", "Table 1", "Table 2", "Speed-up over N = 1", "Which N gets there first"),
        *(
            "Error minus that of N = 1 (points)",
            "Validation error (%)",
            "Training time (s)",
            "Time of one gradient",
        ),
        *("the loss was not finite in epoch 2", "OSError", "To reproduce", "python -m orchestrator.sweep"),
    ):
        assert expected in text, expected
    assert full.count("<svg ") == 3 + 3 + 3 + 3 + 3
    assert text.index("ResNet-56 on digits torn into 6: steps 6.0 times") < text.index("30 trials")


def test_ids_are_unique_and_lead_somewhere(full):
    ids = re.findall(r' id="([^"]*)"', full)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', full)) <= set(ids)


def test_whatever_users_write_is_text(store):
    store.trial(1, errors=[4.0], dataset=f"parquet:{NASTY}", network=f"my:{NASTY}", depth=None)
    store.timings(store.trial(3, errors=[4.0], dataset=f"parquet:{NASTY}"), TIMES, device=NASTY)
    store.trial(6, status="failed", error=NASTY, host=NASTY)
    page = report(store)
    assert "<img" not in page
    assert "<script" not in page
    assert page.count(html.escape(NASTY).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")) >= 4


@pytest.mark.parametrize("status", [None, "running", "failed"])
def test_page_stands_whatever_is_missing(store, status):
    if status:
        store.trial(3, status=status, error="out of memory")
    page = report(store)
    assert "No epoch has been recorded yet." in page
    assert "No gradient has been timed yet." in page
    assert ("out of memory" in page) == (status == "failed")
    assert ("orchestrator.sweep" in page) == (status is not None)


def browse(folder, *options):
    """Open a page without a screen; returns its document and what the browser said."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
    ]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def framed(page, width, scheme):
    """A page in a window of that width, measured there: the title tells the widths and contrasts."""
    look = f"width:{width}px;height:800px;border:0;color-scheme:{scheme}"
    return f"""<!DOCTYPE html><title></title>
<iframe style="{look}" srcdoc="{html.escape(page)}"></iframe>
<script>
const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(c => c / 255)
  .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0.05);
onload = () => {{
  const frame = document.querySelector("iframe"), root = frame.contentDocument.documentElement;
  const style = selector => frame.contentWindow.getComputedStyle(root.querySelector(selector));
  const ground = light(style("body").backgroundColor);
  const contrasts = ["body", ".kicker", ".note", "thead th", "figcaption span"]
    .map(selector => light(style(selector).color))
    .map(ink => Math.max(ink, ground) / Math.min(ink, ground));
  const wide = [...root.querySelectorAll(".scroll, pre")].filter(box => box.scrollWidth > box.clientWidth);
  document.title = JSON.stringify({{
    inner: root.clientWidth, content: root.scrollWidth, scrolling: wide.length, ground,
    contrast: Math.min(...contrasts), turned: style("figure svg").filter != "none",
  }});
}};
</script>"""


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_page_fits_its_window_and_the_browser_has_no_complaint(full, tmp_path, width, scheme):
    path = tmp_path / "framed.html"
    path.write_text(framed(full, width, scheme), encoding="utf-8")
    document, complaints = browse(tmp_path, "--window-size=1800,900", "--dump-dom", path.as_uri())
    assert complaints == []
    measured = json.loads(re.search(r"<title>(.*?)</title>", document)[1])
    assert measured["inner"] == width
    assert measured["content"] <= width
    assert measured["scrolling"] > 0  # what is too wide scrolls in its own box
    assert measured["contrast"] >= 4.5
    assert (measured["ground"] < 0.1) == measured["turned"] == (scheme == "dark")


@in_browser
def test_browser_would_complain_about_a_request(full, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(full.replace("<main>", '<main><img src="http://example.org/x.png">'))
    _, complaints = browse(tmp_path, "--dump-dom", path.as_uri())
    assert "Content Security Policy" in complaints[0]
