"""The page as a reader meets it, in Debian's Chromium: pointer, keys, small screens, and nothing asked of a network."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

import ghostsweep
from ghostsweep import analysis
from ghostsweep.figures import style
from ghostsweep.store import tables

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install 'ghostsweep[test]'")
pytest.importorskip("altair", reason="pip install 'ghostsweep[report]'")
from selenium.webdriver.common.actions.action_builder import ActionBuilder  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

RESULTS = Path(__file__).parents[2] / "results"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
NAMES = ("rank_lr", "cue_lr_delay", "companion_narrow_reduced")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium: apt-get install chromium chromium-driver"
)

PLACE = """
const [host, x, rate] = arguments, view = host.view, box = host.querySelector("canvas").getBoundingClientRect();
const [left, top] = view.origin();
return [box.left + left + view.scale("x")(x), box.top + top + view.scale("y")(rate)];
"""


DRAWN = "return arguments[0].view.data('curves')"
CELLS = "return arguments[0].view.data('cells')"
CHOSEN = "return arguments[0].querySelector('.chosen').dataset.cell"


class Page:
    """A page in a browser."""

    def __init__(self, path: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(BROWSER)
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
        self.driver.set_window_size(1400, 1000)
        self.path = path
        self.driver.get(path.as_uri())
        self.wait(lambda: self.script("return document.documentElement.dataset.ready") == str(len(NAMES)))

    def wait(self, until: Any) -> Any:
        return WebDriverWait(self.driver, 30).until(lambda _: until())

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def point(self, host: Any, x: float, rate: float, press: bool = False) -> None:
        """Move the pointer to a place of a phase diagram, and press there."""
        self.script("arguments[0].scrollIntoView({block: 'center'})", host)
        at = [round(value) for value in self.script(PLACE, host, x, rate)]
        actions = ActionBuilder(self.driver)
        actions.pointer_action.move_to_location(at[0] - 2, at[1])
        actions.pointer_action.move_to_location(*at)
        if press:
            actions.pointer_action.click()
        actions.perform()

    def drawn(self, section: str, cell: pd.DataFrame) -> None:
        """Wait for the curves of a cell, and compare them with its runs and the table of curves."""
        runs = cell.set_index("seed")
        curves = tables.read(NAMES[int(section[-1])], RESULTS).curves
        rows = pd.DataFrame(self.wait(lambda: self.rows(section, cell)))
        assert set(rows["seed"]) == set(runs.index)
        for seed, own in rows.groupby("seed"):
            assert own["outcome"].unique().tolist() == [str(runs.loc[seed, "outcome"]).replace("_", " ")]
            table = curves[curves["run_id"] == runs.loc[seed, "run_id"]].set_index("epoch")["loss"]
            assert np.allclose(own["loss"], table[own["epoch"]], rtol=1e-3)
        lines = self.driver.find_elements(By.CSS_SELECTOR, f"#{section} .curves .mark-line path")
        assert len(lines) == len(runs)

    def rows(self, section: str, cell: pd.DataFrame) -> list[dict[str, Any]]:
        """The curves that are drawn, once they are those of the cell."""
        told = self.find(f"#{section} .chosen").text
        if f"learning rate {cell['learning_rate'].iloc[0]:.4g};" not in told:
            return []
        done = "const s = arguments[0]; return s.dataset.drawn === s.querySelector('.chosen').dataset.cell"
        if not self.script(done, self.find(f"#{section}")):
            return []
        found: list[dict[str, Any]] = self.script(DRAWN, self.find(f"#{section} .curves"))
        return found


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = ghostsweep.report(NAMES, to=tmp_path_factory.mktemp("page") / "page.html", out=RESULTS)
    found = Page(path)
    yield found
    found.driver.quit()


def runs_of(name: str) -> pd.DataFrame:
    return analysis.outcomes(tables.read(name, RESULTS).runs)


def cell_of(runs: pd.DataFrame, **fields: Any) -> pd.DataFrame:
    for field, value in fields.items():
        runs = runs[runs[field] == value]
    return runs


def test_a_cell_under_the_pointer_tells_its_numbers_and_a_click_draws_its_curves(opened: Page) -> None:
    runs = runs_of("rank_lr")
    rates = np.sort(runs["learning_rate"].unique())
    cell = cell_of(runs, rank=10, learning_rate=rates[len(rates) // 2 + 1])
    host = opened.find("#sweep-0 .panels .chart")
    opened.point(host, 10, cell["learning_rate"].iloc[0])
    tip = opened.wait(lambda: opened.find("#vg-tooltip-element.visible")).text
    assert re.search(r"rank K\s+10\b", tip) and re.search(r"seeds\s+10\b", tip)
    assert f"{cell['learning_rate'].iloc[0]:.4g}" in tip
    shares = analysis.shares(cell, ["rank", "learning_rate"]).iloc[0]
    for outcome in analysis.OUTCOMES:
        share, name = shares[f"share_{outcome}"], outcome.replace("_", " ")
        told = re.search(rf"{name}\s+(\d+)% \((\d+)\)", tip)
        assert (told is None) == (share == 0)
        assert told is None or (int(told[1]), int(told[2])) == (round(100 * share), round(share * 10))
    opened.point(host, 10, cell["learning_rate"].iloc[0], press=True)
    opened.drawn("sweep-0", cell)
    opened.find("h1").click()  # away, and back to what is now marked
    opened.wait(lambda: not opened.driver.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible"))
    opened.point(host, 10, cell["learning_rate"].iloc[0])
    assert opened.wait(lambda: opened.find("#vg-tooltip-element.visible")).text == tip


def test_keys_do_the_same(opened: Page) -> None:
    runs = runs_of("cue_lr_delay")
    opened.find("#sweep-1 .cells-table summary").send_keys("")  # what is before the menus
    menus = opened.driver.find_elements(By.CSS_SELECTOR, "#sweep-1 .cell-menus select")
    assert [menu.accessible_name for menu in menus] == ["Panel", "delay (ms)", "learning rate"]
    for menu in menus:
        opened.driver.switch_to.active_element.send_keys(Keys.TAB)
        assert opened.driver.switch_to.active_element == menu
    panel, delay, rate = menus
    panel.send_keys(Keys.END)
    delay.send_keys(Keys.HOME)
    rate.send_keys(Keys.HOME, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    lowest = cell_of(runs, task="dmts", delay_ms=runs["delay_ms"].min())
    opened.drawn("sweep-1", cell_of(lowest, learning_rate=np.sort(lowest["learning_rate"].unique())[2]))
    assert opened.driver.switch_to.active_element == rate
    opened.find("#sweep-1 .curves-table summary").send_keys(Keys.ENTER)
    rows = opened.wait(lambda: opened.driver.find_elements(By.CSS_SELECTOR, "#sweep-1 .curves-table tbody tr"))
    assert len(rows) == 5 * 19
    opened.find("#sweep-1 .cells-table summary").send_keys(Keys.ENTER)
    rows = opened.wait(lambda: opened.driver.find_elements(By.CSS_SELECTOR, "#sweep-1 .cells-table tbody tr"))
    assert len(rows) == lowest["learning_rate"].nunique()


def test_cells_and_curves_are_judged_by_the_task_or_as_usual(opened: Page) -> None:
    """By the task at first; by keys as usual, and back: the same cell, its numbers, colours, curves and meanings."""
    runs = tables.read(NAMES[2], RESULTS).runs
    own, usual = analysis.own_outcomes(runs), analysis.outcomes(runs)
    assert own is not None
    rates = np.sort(runs["learning_rate"].unique())
    where = {"delay_ms": 200, "learning_rate": rates[6]}
    host = opened.find("#sweep-2 .panels .chart")
    opened.point(host, 200, rates[6], press=True)
    choice = opened.find("#sweep-2 .layout select")
    assert choice.accessible_name == "Outcomes"
    for key, judged, other in ((None, own, usual), (Keys.END, usual, own), (Keys.HOME, own, usual)):
        if key:
            choice.send_keys(key)
        cell = cell_of(judged, **where)
        opened.drawn("sweep-2", cell)
        told = opened.find("#sweep-2 .chosen").text
        shares = analysis.shares(cell, list(where)).iloc[0]
        for name in judged["outcome"].cat.categories:
            share = round(10 * shares[f"share_{name}"])
            assert (f"{name.replace('_', ' ')} {10 * share}% ({share})" in told) == (share > 0)
        shown = opened.find("#sweep-2 .outcomes:not([hidden]) .legend").text
        present, absent = (set(each["outcome"].astype(str)) for each in (judged, other))
        assert all(name.replace("_", " ") in shown for name in present)
        assert not any(name.replace("_", " ") in shown for name in absent - present)
        fills = {row["id"]: row["fill"] for row in opened.script(CELLS, opened.find("#sweep-2 .panels .chart"))}
        color = np.array(to_rgb(style.outcome_colors(list(judged["outcome"].cat.categories))[shares["majority"]]))
        faded = 255 * (1 - shares[f"share_{shares['majority']}"] * (1 - color))
        drawn = re.findall(r"\d+", fills[opened.script(CHOSEN, opened.find("#sweep-2"))])
        np.testing.assert_allclose([int(part) for part in drawn], faded, atol=1)


def test_pictures_have_texts_and_fit_a_small_screen(opened: Page) -> None:
    charts = opened.driver.find_elements(By.CSS_SELECTOR, "[role='graphics-document']")
    assert len(charts) >= 1 + 2 + 2 + 2 and all(len(chart.get_attribute("aria-label")) > 30 for chart in charts)
    for width in (400, 1400):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        opened.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        opened.wait(lambda: opened.script("return document.documentElement.scrollWidth <= innerWidth"))
        canvas = opened.find("#sweep-0 .panels canvas")
        opened.wait(lambda width=width, canvas=canvas: 0.45 * width < canvas.size["width"] <= width)
    opened.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_was_asked_of_a_network_and_nothing_was_complained_of(opened: Page) -> None:
    assert opened.driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in opened.driver.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {opened.path.as_uri()}
