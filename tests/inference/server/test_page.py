"""The page of the server, in a browser."""

import csv
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import classify_images
from core import flags

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from tests.inference.server.between import Between  # noqa: E402
from tests.inference.server.browser import Page  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
CHROMIUM, CHROMEDRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not installed"
)

MARKUP = '<img src=x onerror="document.title=1">'
CLASSES = ("red", "=green, or so", f"blue {MARKUP}")
NUM_PHOTOS = 12
MAX_BYTES = 1_000_000
PHONE = 360  # pixels
FINGER = 44  # pixels, the smallest target of WCAG 2.2, level AAA
TEXT_CONTRAST, CONTROL_CONTRAST = 4.5, 3.0  # WCAG 2.2, level AA


@pytest.fixture(scope="module")
def run(colour_run, tmp_path_factory):
    """Directory of `colour_run` with the names CLASSES."""
    directory = tmp_path_factory.mktemp("page") / "run"
    shutil.copytree(colour_run, directory)
    path = directory / "run.json"
    content = path.read_text(encoding="utf-8")
    names = re.compile(r'\[\s*"red",\s*"green",\s*"blue"\s*\]')
    path.write_text(names.sub(lambda _: json.dumps(CLASSES), content), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def server(run):
    """Address of a server, a process of its own."""
    command = [sys.executable, str(ROOT / "serve_image_classifier.py")]
    options = [f"--checkpoint_path={run}", "--port=0", "--max_image_mb=1"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        found = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stdout)
        yield next(match[0] for match in found if match)
        process.terminate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, png):
    """A folder of NUM_PHOTOS pictures, two files that are none, and three that are ignored."""
    root = tmp_path_factory.mktemp("chosen") / "photos"
    (root / "deep" / "down").mkdir(parents=True)
    noise = np.random.RandomState(2)
    for number in range(NUM_PHOTOS):
        pixels = noise.randint(0, 128, (16, 12, 3)).astype(np.uint8)
        pixels[..., number % 3] += np.uint8(10 * number)  # later ones are clearer
        place = root / ("deep", "deep/down", ".")[number % 3]
        (place / f"{number}.png").write_bytes(png(pixels))
    (root / f"{MARKUP}.png").write_bytes(b"no picture")
    (root / "=large.png").write_bytes(bytes(2 * MAX_BYTES))
    for junk in (".hidden.png", "Thumbs.db", "deep/Notes.TXT"):
        (root / junk).write_bytes(b"x")
    return root


@pytest.fixture(scope="module")
def photos(folder):
    """The pictures among the files of `folder`, in byte order of their paths."""
    return sorted(path for path in folder.rglob("*.png") if path.stem.isdigit())


@pytest.fixture(scope="module")
def table(run, folder, tmp_path_factory):
    """What classify_images.py writes of `folder`."""
    path = tmp_path_factory.mktemp("table") / "predictions.csv"
    arguments = [f"--checkpoint_path={run}", f"--images={folder}", f"--output={path}"]
    config = flags.parse(classify_images.define, [*arguments, "--allow_errors"])
    classify_images.main(config)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(CHROMEDRIVER))
    yield Page(driver, downloads)
    driver.quit()


@pytest.fixture
def page(browser, server):
    browser.open(server)
    return browser


def classify(server, path):
    """What the server answers to a picture."""
    headers = {"Content-Type": "image/png"}
    request = urllib.request.Request(f"{server}/classify", path.read_bytes(), headers)
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def percent(probability):
    """As the page writes it, in English."""
    if 0 < probability < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < probability < 1 else f"{probability:.1%}"


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_photo_shows_what_the_server_answers(page, server, photos):
    page.choose(photos[0])
    page.wait_for("Done.")
    expected = classify(server, photos[0])["predictions"]
    assert len(expected) == len(CLASSES)
    assert page.texts("#photo .class") == [found["class"] for found in expected]
    assert page.texts("#photo .percent") == [percent(found["probability"]) for found in expected]
    bars = page.driver.find_elements(By.CSS_SELECTOR, "#photo .bar")
    widths = [float(bar.get_attribute("style").split()[1].rstrip("%;")) for bar in bars]
    assert widths == pytest.approx([100 * found["probability"] for found in expected], abs=0.01)
    assert page.texts("#photo figcaption") == [photos[0].name]
    assert page.element("#photo img").get_property("naturalWidth") == 12
    assert re.fullmatch(r"Answered in \d+ ms|Answered in .* sec", page.element(".took").text)
    # Nothing was blocked by the content security policy, nothing failed.
    assert page.driver.get_log("browser") == []


def test_the_page_tells_the_model_and_the_limit(page):
    described = page.element("#model").text
    assert re.fullmatch(r"Model classifier · lenet · version \d+ · 3 classes", described)
    assert "up to 1 MB each" in page.element("#limits").text


@pytest.mark.parametrize("way", ["choose", "drop"])
def test_a_folder_gives_the_table_of_the_command_line(page, folder, table, way):
    if way == "choose":
        page.choose(folder, by="#folder")
    else:
        page.drop(folder)
    notice = page.wait_for("Done: 14 photos in ")
    assert notice.endswith(". 2 failed. 3 other files were skipped.")
    found, expected = page.download(), table
    assert found.read_text().splitlines()[0] == expected.read_text().splitlines()[0]
    for mine, theirs in zip(rows(found), rows(expected), strict=True):
        assert bool(mine.pop("error")) == bool(theirs.pop("error"))
        for column in theirs:
            if column.startswith("probability") and theirs[column]:
                value = pytest.approx(float(theirs[column]), abs=1e-6)
                assert float(mine[column]) == value
            else:
                assert mine[column] == theirs[column]


@pytest.mark.parametrize(
    ("languages", "done", "option", "large", "other"),
    [
        (
            *("en-US", "Done", "Failed (2)"),
            *("The picture is too large.", "The file is not a picture of a known format."),
        ),
        (
            *("ru-RU", "Готово: 14", "\N{CYRILLIC CAPITAL LETTER ES} ошибкой (2)"),
            *("Изображение слишком большое.", "Это не изображение известного формата."),
        ),
    ],
)
def test_files_that_failed_have_a_reason(
    browser, server, folder, languages, done, option, large, other
):
    browser.open(server, languages)
    browser.choose(folder, by="#folder")
    browser.wait_for(done)
    browser.choose_option("#class_filter", option)
    assert browser.texts(".card .path") == [f"{MARKUP}.png", "=large.png"]
    assert browser.texts(".card .class") == [other, large]


def test_the_table_gives_the_reasons_of_the_server_and_our_own(page, folder):
    page.choose(folder, by="#folder")
    page.wait_for("Done")
    errors = {row["path"]: row["error"] for row in rows(page.download()) if row["error"]}
    assert errors["'=large.png"] == f"The file exceeds the limit of {MAX_BYTES} bytes."
    assert errors.keys() == {"'=large.png", f"{MARKUP}.png"}


def test_a_single_file_that_is_no_picture(page, folder):
    page.choose(folder / "deep" / "Notes.TXT")
    page.wait_for("Done.")
    assert page.texts("#photo .failure") == ["The file is not a picture of a known format."]


def test_nothing_but_text_files(page, tmp_path):
    (tmp_path / "a.txt").write_text("x")
    page.choose(tmp_path, by="#folder")
    assert page.wait_for("No photos") == "No photos found. 1 other file was skipped."


def test_several_files_are_named_by_their_names_in_byte_order(page, server, photos):
    page.choose(*reversed(photos))
    page.wait_for(f"Done: {NUM_PHOTOS} photos in ")
    names = [path.name for path in by_name(photos)]
    answers = [classify(server, path) for path in by_name(photos)]
    assert page.texts(".card .path") == names
    assert page.texts(".card .class") == [answer["class"] for answer in answers]
    assert page.texts(".card .percent") == [percent(answer["probability"]) for answer in answers]
    assert [row["path"] for row in rows(page.download())] == names


def by_name(paths):
    return sorted(paths, key=lambda path: path.name)


def test_filters_and_orders(page, server, photos):
    page.choose(*photos)
    page.wait_for("Done")
    answers = {path.name: classify(server, path) for path in by_name(photos)}
    sureness = {name: answer["probability"] for name, answer in answers.items()}
    for order, names in (
        ("least sure", sorted(sureness, key=sureness.get)),
        ("most sure", sorted(sureness, key=sureness.get, reverse=True)),
        ("by path", list(sureness)),
    ):
        page.choose_option("#order", order)
        assert page.texts(".card .path") == names

    for name in CLASSES:
        members = [path for path, answer in answers.items() if answer["class"] == name]
        if members:
            page.choose_option("#class_filter", f"{name} ({len(members)})")
            assert page.texts(".card .path") == members
            assert page.element("#matches").text == f"{len(members)} of {NUM_PHOTOS} photos"

    page.choose_option("#class_filter", f"All ({NUM_PHOTOS})")
    slider = page.element("#below")
    slider.send_keys(Keys.ARROW_LEFT * 10)
    unsure = [name for name, probability in sureness.items() if probability < 0.9]
    assert 0 < len(unsure) < NUM_PHOTOS
    assert page.element("#below_text").text == "below 90%"
    assert page.texts(".card .path") == unsure
    slider.send_keys(Keys.END)
    assert len(page.texts(".card")) == NUM_PHOTOS


def test_more_cards_are_made_when_one_scrolls_to_their_end(page, photos, tmp_path):
    for number in range(130):
        shutil.copy(photos[0], tmp_path / f"{number:03}.png")
    page.choose(tmp_path, by="#folder")
    page.wait_for("Done: 130 photos in ")
    assert page.element("#gallery").get_property("childElementCount") == 120
    page.driver.execute_script("scrollTo(0, document.body.scrollHeight)")
    page.wait_until(lambda: page.element("#gallery").get_property("childElementCount") == 130)
    assert not page.element("#more").is_displayed()
    # Of what has been scrolled past no file is held.
    page.wait_until(lambda: page.element(".card img").get_attribute("src") is None)


def test_markup_in_names_is_shown_as_text(page, folder):
    page.choose(folder, by="#folder")
    page.wait_for("Done")
    assert CLASSES[2] in page.texts(".card .class")
    assert f"{MARKUP}.png" in page.texts(".card .path")
    page.choose_option("#class_filter", CLASSES[2])
    page.element(".card").click()
    assert CLASSES[2] in page.texts("dialog .class")
    assert page.driver.find_elements(By.CSS_SELECTOR, "img[src=x], img[onerror]") == []
    assert page.driver.title == "Image classifier"


@pytest.mark.parametrize(
    ("languages", "lang", "title", "classes"),
    [
        ("en-US,en,ru", "en", "Image classifier", "3 classes"),
        ("ru-RU,ru,en", "ru", "Классификатор изображений", "3 класса"),
        ("uk,ru", "ru", "Классификатор изображений", "3 класса"),
    ],
)
def test_the_language_is_the_users(browser, server, languages, lang, title, classes):
    browser.open(server, languages)
    assert browser.element("html").get_attribute("lang") == lang
    assert browser.driver.title == browser.element("h1").text == title
    assert browser.element("#model").text.endswith(classes)


def test_the_language_can_be_switched_with_results_on_show(page, photos):
    page.choose(*photos)
    page.wait_for("Done")
    english = page.texts(".card .percent")
    page.element("#languages [lang=ru]").click()
    page.wait_for("Готово: 12 фото за ")
    assert page.element("html").get_attribute("lang") == "ru"
    assert page.element("#matches").text == "12 из 12 фото"
    assert page.texts(".card .percent") == [
        text.replace(".", ",").replace("%", "\N{NO-BREAK SPACE}%") for text in english
    ]
    assert page.texts("[aria-pressed=true]") == ["Русский"]


@pytest.fixture
def texts(page):
    """All texts of the page: language -> key -> text, or plural category -> text."""
    return page.driver.execute_async_script("""
        const done = arguments[0];
        import("/static/texts.js").then(({TEXTS}) => done(TEXTS));
    """)


def test_both_languages_have_the_same_texts_with_all_their_plurals(page, texts):
    assert texts.keys() == {"en", "ru"}
    assert texts["en"].keys() == texts["ru"].keys()
    for code, entries in texts.items():
        categories = page.driver.execute_script(
            "return new Intl.PluralRules(arguments[0]).resolvedOptions().pluralCategories", code
        )
        for key, entry in entries.items():
            assert not isinstance(entry, dict) or set(entry) == set(categories), key
            assert placeholders(entry) == placeholders(texts["en"][key]), key


def placeholders(entry):
    """The names in braces in each form of a text, which are the same for all."""
    forms = entry.values() if isinstance(entry, dict) else [entry]
    (found,) = {frozenset(re.findall(r"\{\w+\}", form)) for form in forms}
    return found


def test_all_texts_that_the_page_names_exist(page, texts):
    keys = page.driver.execute_script("""
        const all = [document, ...[...document.querySelectorAll("template")].map((t) => t.content)];
        return all.flatMap((root) => [...root.querySelectorAll("[data-text], [data-label]")])
            .flatMap(({dataset}) => [dataset.text, dataset.label]).filter(Boolean);
    """)
    assert len(keys) > 20
    assert set(keys) <= texts["en"].keys()


def test_every_reason_of_the_server_has_a_text(server, texts):
    with urllib.request.urlopen(f"{server}/openapi.json") as response:
        answers = json.load(response)["paths"]["/classify"]["post"]["responses"]
    refusals = [answers[status]["description"] for status in answers if status != "200"]
    reasons = {reason for listed in refusals for reason in listed.split(", ")}
    assert {"too_large", "unreadable_image", "busy", "stopping"} <= reasons
    assert {f"reason_{reason}" for reason in reasons} <= texts["en"].keys()


@pytest.mark.parametrize("languages", ["en-US", "ru-RU"])
def test_a_phone_shows_everything_within_its_width(browser, server, folder, languages):
    browser.open(server, languages, width=PHONE, touch=True)
    for chosen, by, sign in (
        (folder / "2.png", "#photos", "#photo .bar"),
        (folder, "#folder", ".filters"),
    ):
        browser.choose(chosen, by=by)
        browser.wait_until(lambda sign=sign: browser.texts(sign))
        browser.wait_for("Done" if languages == "en-US" else "Готово")
        assert browser.element("html").get_property("scrollWidth") == PHONE
        targets = "button, select, .button, [type=range]"
        found = browser.driver.find_elements(By.CSS_SELECTOR, targets)
        heights = [target.size["height"] for target in found if target.is_displayed()]
        assert len(heights) >= 4
        assert min(heights) >= FINGER


def test_the_keyboard_reaches_everything_in_order(page, photos):
    page.choose(*photos[:2])
    page.wait_for("Done")
    order = []
    for _ in range(10):
        page.press(Keys.TAB)
        name = page.focused.accessible_name
        assert name, page.focused.get_attribute("outerHTML")
        order.append(page.focused.get_attribute("id") or name)
    assert order[:4] == ["English", "Русский", "photos", "folder"]
    assert order[4:8] == ["class_filter", "below", "order", "download"]
    assert [name.split()[-1] for name in order[8:]] == [path.name for path in photos[:2]]
    card = page.focused
    page.press(Keys.ENTER)
    assert page.element("#closeup").is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.element("#closeup").is_displayed()
    assert page.focused == card


def test_what_has_the_focus_can_be_seen(page):
    for _ in range(2):
        page.press(Keys.TAB)
    for name in ("Choose photos", "Choose a folder"):
        page.press(Keys.TAB)
        assert page.focused.accessible_name == name
        label = page.focused.find_element(By.XPATH, "..")
        assert label.value_of_css_property("outline-style") == "solid"
        assert label.value_of_css_property("outline-width") == "3px"


def luminance(colour):
    """Relative luminance of #rrggbb, WCAG 2.2."""
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(scheme):
    style = (ROOT / "inference/server/page/page.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", light if scheme == "light" else dark))
    grounds = ("ground", "surface")
    pairs = [
        *(
            (text, ground, TEXT_CONTRAST)
            for text in ("text", "quiet", "wrong")
            for ground in grounds
        ),
        *(("quiet", "track", TEXT_CONTRAST), ("on-accent", "accent", TEXT_CONTRAST)),
        *(("line", ground, CONTROL_CONTRAST) for ground in grounds),
        *(("accent", ground, CONTROL_CONTRAST) for ground in (*grounds, "track")),
    ]
    for one, other, least in pairs:
        darker, lighter = sorted((luminance(colours[one]), luminance(colours[other])))
        assert (lighter + 0.05) / (darker + 0.05) >= least, (one, other)


@pytest.fixture
def between(server):
    with Between(server) as between:
        thread = threading.Thread(target=between.serve_forever)
        thread.start()
        yield between
        between.gate.set()
        between.shutdown()
        thread.join()


def test_uploads_go_four_at_a_time_and_again_while_the_server_is_busy(browser, between, photos):
    between.busy = 2
    hold(browser, between, photos)
    between.gate.set()
    browser.wait_for("Done: 12 photos in ")
    assert len(browser.texts(".card .percent")) == NUM_PHOTOS
    assert between.most_at_once == 4
    again = 0
    while between.arrived.acquire(blocking=False):
        again += 1
    assert 4 + again == NUM_PHOTOS + 2


def hold(browser, between, photos):
    """Has the page send photos, of which the first four are on their way."""
    browser.open(between.address)
    between.gate.clear()
    browser.choose(*photos)
    for _ in range(4):
        assert between.arrived.acquire(timeout=30)
    browser.wait_for("Classifying 12 photos…")


def test_stopping_and_going_on(browser, between, photos):
    hold(browser, between, photos)
    assert browser.element("progress").get_property("position") == 0
    assert browser.element("#progress_text").text == "0 of 12"
    browser.element("#stop").click()
    assert browser.wait_for("Stopped") == "Stopped at 0 of 12."
    assert not browser.element("#progress").is_displayed()
    between.gate.set()
    assert browser.focused.text == "Go on with 12 photos"
    browser.press(Keys.ENTER)
    browser.wait_for("Done: 12 photos in ")
    assert len(browser.texts(".card .percent")) == NUM_PHOTOS


def test_without_a_server_nothing_is_lost(browser, between, photos):
    hold(browser, between, photos)
    between.hangs_up = lambda _: True
    between.gate.set()
    assert browser.wait_for("The server") == "The server cannot be reached."
    browser.element("#resume").click()
    browser.wait_for("The server")
    between.hangs_up = lambda _: False
    browser.element("#resume").click()
    browser.wait_for("Done: 12 photos in ")
    assert len(browser.texts(".card .percent")) == NUM_PHOTOS


def test_a_broken_connection_costs_one_photo_and_can_be_made_good(browser, between, photos):
    browser.open(between.address)
    unlucky = photos[3].read_bytes()
    between.hangs_up = lambda body: body == unlucky
    browser.choose(*photos)
    assert browser.wait_for("Done").endswith(" 1 failed.")
    assert browser.texts(".failed .class") == ["The connection broke."]
    assert browser.texts(".failed .path") == [photos[3].name]
    between.hangs_up = lambda _: False
    assert browser.element("#resume").text == "Go on with 1 photo"
    browser.element("#resume").click()
    browser.wait_until(
        lambda: len(list(filter(None, browser.texts(".card .percent")))) == NUM_PHOTOS
    )
    assert browser.texts(".failed") == []


def test_another_model_is_told(browser, between, photos):
    browser.open(between.address)
    version = int(re.search(r"version (\d+)", browser.element("#model").text)[1])
    between.newer = 1
    browser.choose(photos[0])
    browser.wait_for("Done.")
    assert browser.element("#model_changed").text == (
        f"The model has changed: version {version + 1} answers now, not version {version}."
    )
    assert f"version {version + 1}" in browser.element("#model").text
