"""The interactive diagram, in a browser: the library's figures, by keyboard, in any width, light and dark."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import re
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.explore import PAGE, SCRIPTS, library_figures, random_settings

from sparsenet_models.aggregation import StageGraph

WIDTHS = (360, 1600)
DRAWN = [  # settings whose picture is checked
    "depth=1",
    "depth=12&layer=5",
    "depth=64&layer=63",
    "depth=27&rule=sparse&base=3",
    "depth=12&rule=dense",
    "depth=48&rule=dense&layer=20",
    "depth=64&rule=resnet",
    "depth=64&rule=own&offsets=1,2,3,5,8,13,21,34&layer=40",
]


def fragment(setting: dict[str, Any]) -> str:
    offsets = ",".join(map(str, setting["offsets"]))
    return "&".join(f"{key}={offsets if key == 'offsets' else value}" for key, value in setting.items())


def test_without_javascript_the_page_says_what_it_would_show_and_links_to_a_figure():
    root = re.search(
        r'<div id="explore" markdown>\n\n(.*?)\n\n</div>', PAGE.read_text(encoding="utf-8"), re.S
    )
    assert root is not None
    assert root[1].startswith("With JavaScript, this page draws")
    (link,) = re.findall(r"\]\((.*?)\)", root[1])
    assert (PAGE.parent / link).is_file()


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page without a theme, as explore/ and as explore.html, below a path; return its address."""
    markdown = pytest.importorskip("markdown", reason="needs Markdown: pip install 'sparsenet-models[docs]'")
    text = PAGE.read_text(encoding="utf-8").partition("---\n\n")[2]
    body = markdown.markdown(text, extensions=["attr_list", "md_in_html"])
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width"><title>Explore</title>'
        f'<body style="font: 16px sans-serif; margin: 16px">{body}</body></html>'
    )
    root = tmp_path_factory.mktemp("site")
    shutil.copytree(SCRIPTS, root / "project" / "explore")
    for address in ("explore.html", "explore/index.html"):
        (root / "project" / address).write_text(html, encoding="utf-8")
    handler = functools.partial(QuietFiles, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/project/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium that can reach this machine alone and writes down its requests."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="needs selenium: pip install 'sparsenet-models[dev]'"
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Chromium and its driver: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.set_script_timeout(120)
        yield browser


def open_page(browser: Any, address: str, *, width: int = 1000, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get("about:blank")  # another fragment alone would not load the page anew
    browser.get(address)
    browser.execute_async_script(
        """const done = arguments[0];
        const styled = () => document.querySelector('link[href$="explore.css"]')?.sheet;
        const drawn = () => document.querySelector(".explore tbody tr");
        const wait = () => (styled() && drawn() ? done() : setTimeout(wait, 20));
        wait();"""
    )


def columns(browser: Any) -> list[dict[str, int]]:
    """Return the table's three columns: this stage, the dense rule with concat, and with sum."""
    rows = browser.execute_script(
        """return [...document.querySelectorAll(".explore tbody tr")].map((row) =>
          [...row.cells].slice(1).map((cell) => [cell.dataset.figure, Number(cell.dataset.value)]));"""
    )
    return [dict(column) for column in zip(*rows)]


def words(browser: Any, name: str) -> str:
    return browser.execute_script(
        "return document.querySelector(arguments[0]).textContent", f"figcaption .{name}"
    )


@pytest.mark.slow
def test_the_table_and_the_arcs_of_200_random_settings_are_the_librarys(site, browser):
    open_page(browser, f"{site}explore/")
    for setting in random_settings(200):
        browser.execute_async_script(
            """addEventListener("hashchange", () => arguments[1](), { once: true });
            location.hash = arguments[0];""",
            fragment(setting),
        )
        mine, dense, resnet = columns(browser)
        depth = {"depth": setting["depth"], "base": 2, "offsets": []}
        assert mine == library_figures(setting), setting
        assert dense == library_figures({**depth, "rule": "dense", "merge": "concat"})
        assert resnet == library_figures({**depth, "rule": "resnet", "merge": "sum"})
        arcs, lit = browser.execute_script(
            """const outlines = (name) => [...document.querySelectorAll(`svg .explore-${name} path`)]
              .map((path) => path.getAttribute("d")).join("");
            return ["links", "path"].map((name) => outlines(name).split("A").length - 1);"""
        )
        assert (arcs, lit) == (mine["links_unrolled"], mine["shortest_path"])


@pytest.mark.slow
def test_the_page_opens_with_the_first_stage_of_a_net_of_the_library(site, browser):
    from sparsenet_models import create_model

    open_page(browser, f"{site}explore.html")
    stage = create_model("sparsenet_40_k12", device="meta").stages[0]
    assert columns(browser)[0]["parameters"] == sum(parameter.numel() for parameter in stage.parameters())


@pytest.mark.slow
def test_the_keyboard_alone_chooses_a_setting_and_walks_the_layers(site, browser):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    def focused(attribute: str) -> str | None:
        return browser.switch_to.active_element.get_attribute(attribute)

    open_page(browser, f"{site}explore/")
    press(Keys.TAB)
    assert focused("name") == "depth"
    press(*[Keys.ARROW_RIGHT] * 4)
    assert browser.current_url.endswith("#depth=16&rule=sparse&base=2&merge=concat")
    press(Keys.TAB, Keys.TAB)
    assert focused("name") == "base"
    press(Keys.TAB, Keys.TAB)
    assert (focused("role"), focused("data-output")) == ("option", "16")
    assert words(browser, "explore-reads") == "Layer 16 reads outputs 0, 8, 12, 14 and 15."
    press(Keys.HOME, *[Keys.ARROW_RIGHT] * 9, Keys.ARROW_LEFT)
    assert focused("aria-label") == (
        "Layer 8 reads outputs 0, 4, 6 and 7. Output 8 is read by layers 9, 10, 12 and 16."
    )
    assert words(browser, "explore-readers") == "Output 8 is read by layers 9, 10, 12 and 16."
    press(Keys.ENTER)
    assert browser.current_url.endswith("&layer=8")
    assert focused("aria-selected") == "true"
    press(Keys.ENTER)
    assert focused("aria-selected") == "false"
    press(Keys.END, Keys.ENTER)
    browser.execute_script("document.activeElement.blur()")
    assert words(browser, "explore-readers") == "Output 16 is read by the stage's output."


@pytest.mark.slow
def test_a_pointer_lights_what_the_nearest_layer_reads_and_a_click_holds_it(site, browser):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    open_page(browser, f"{site}explore/#depth=12&rule=own&offsets=1,3&merge=sum")
    option = browser.find_element(By.CSS_SELECTOR, '[data-output="7"]')
    ActionChains(browser).move_to_element(option).move_by_offset(5, -20).perform()
    assert words(browser, "explore-reads") == "Layer 7 reads outputs 4 and 6."
    ActionChains(browser).click().move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    assert words(browser, "explore-reads") == "Layer 7 reads outputs 4 and 6."
    address = browser.current_url
    assert address.endswith("#depth=12&rule=own&offsets=1,3&merge=sum&layer=7")
    seen = columns(browser)
    open_page(browser, address)
    assert columns(browser) == seen
    assert words(browser, "explore-reads") == "Layer 7 reads outputs 4 and 6."


@pytest.mark.slow
def test_bad_offsets_are_named_and_the_picture_stays(site, browser):
    from selenium.webdriver import Keys
    from selenium.webdriver.common.by import By

    open_page(browser, f"{site}explore/#depth=12&rule=own&offsets=1,3&merge=sum")
    seen = columns(browser)
    field = browser.find_element(By.NAME, "offsets")
    field.send_keys(Keys.CONTROL, "a", Keys.NULL, "2, 4")
    problem = browser.find_element(By.CLASS_NAME, "explore-problem")
    assert problem.text == "offsets must contain 1, or layer 1 would read nothing; got 2, 4."
    assert columns(browser) == seen
    field.send_keys(", 1", Keys.ENTER)
    assert problem.text == ""
    assert browser.current_url.endswith("offsets=1,2,4&merge=sum")


@pytest.mark.slow
def test_going_to_a_heading_keeps_the_setting(site, browser):
    open_page(browser, f"{site}explore/#depth=30")
    browser.execute_async_script(
        """addEventListener("hashchange", () => setTimeout(arguments[0]), { once: true });
        location.hash = "what-is-drawn-and-counted";"""
    )
    assert columns(browser)[0]["links_unrolled"] == StageGraph(30).link_count()


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("setting", DRAWN)
def test_nothing_is_cut_off_and_no_numbers_overlap(site, browser, width, setting):
    open_page(browser, f"{site}explore/#{setting}", width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(
        """const svg = document.querySelector(".explore svg");
        const { left, right, top, bottom } = svg.getBoundingClientRect();
        return [...svg.querySelectorAll("path, circle, text")].map((part) => part.getBoundingClientRect())
          .filter((part) => part.left < left || part.right > right || part.top < top || part.bottom > bottom)
          .length;"""
    ) == 0  # fmt: skip
    edges = browser.execute_script(
        """return [...document.querySelectorAll(".explore svg text")]
          .map((text) => text.getBoundingClientRect()).map(({ left, right }) => [left, right]);"""
    )
    edges.sort()
    assert len(edges) >= 2
    assert all(right + 3 < left for (_, right), (left, _) in itertools.pairwise(edges))


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_the_bars_of_a_row_have_one_scale(site, browser, width):
    open_page(browser, f"{site}explore/#depth=64", width=width)
    bars = browser.execute_script(
        """return [...document.querySelectorAll('[data-figure="links"]')].map((cell) =>
          parseFloat(getComputedStyle(cell, "::after").width));"""
    )
    assert len(bars) == 3
    assert max(bars) - min(bars) < 1


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_each_number_of_the_table_has_room_in_its_cell(site, browser, width):
    open_page(browser, f"{site}explore/#depth=64&rule=dense", width=width)
    room = browser.execute_script(
        """return [...document.querySelectorAll(".explore tbody td")].map((cell) => {
          const text = document.createRange();
          text.selectNodeContents(cell);
          return cell.clientWidth - text.getBoundingClientRect().width;
        });"""
    )
    assert len(room) == 18
    assert min(room) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_page_in_light_and_dark(site, browser, scheme):
    def luminance(colour: str) -> float:
        channels = [int(channel) / 255 for channel in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    open_page(browser, f"{site}explore/#depth=12&layer=5", scheme=scheme)
    page, *others = browser.execute_script(
        """const style = (selector) => getComputedStyle(document.querySelector(selector));
        const said = ["path", "reads", "readers"].map((name) => `figcaption .explore-${name}`);
        const words = ["tbody th", "tbody td", ...said].map((part) => style(`.explore ${part}`).color);
        return [style("body").backgroundColor, style("body").color, ...words];"""
    )
    background = 1.0 if page == "rgba(0, 0, 0, 0)" else luminance(page)
    assert (background > 0.5) == (scheme == "light")
    for colour in others:
        low, high = sorted([background, luminance(colour)])
        assert (high + 0.05) / (low + 0.05) >= 4.5, colour  # WCAG 2, level AA


@pytest.mark.slow
@pytest.mark.parametrize("address", ["explore/", "explore/index.html", "explore.html"])
def test_no_request_leaves_the_site_and_none_fails(site, browser, address):
    browser.get_log("performance")
    browser.get_log("browser")
    open_page(browser, f"{site}{address}")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(requests) >= len(list(SCRIPTS.iterdir())) + 1
    assert all(url.startswith((site, "about:", "data:")) for url in requests), requests
    assert browser.get_log("browser") == []
