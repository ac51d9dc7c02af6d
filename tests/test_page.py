"""The page that is sent to a colleague: opened from a disk, without a network, in a browser, with a mouse, a finger and keys."""
import base64
import json
import math
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ARGS
from PIL import Image

from hear_nb.data.dataset import bundled
from hear_nb.viz import page as page_module
from hear_nb.viz.page import nearest, save_map, save_players
from hear_nb.viz.player import _picture, Player

EVIL = "<img src=x onerror=alert(1)>"
DECODED = """async (audio) => {
    const bytes = await (await fetch(audio.src)).arrayBuffer();
    const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
    return Array.from(sound.getChannelData(0));
}"""


@pytest.fixture(scope="module")
def browser():
    "Skips, and says what to get, where there is no browser to drive."
    api = pytest.importorskip("playwright.sync_api", reason='no Playwright: pip install -e ".[dev]"')
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None: pytest.skip("no Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*ARGS, "--autoplay-policy=no-user-gesture-required"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    "Opens a page from the disk with the network off; in the end its console must have said nothing."
    contexts, said = [], []

    def open_page(path, width=1366, height=768, wanted=(), **options):
        context = browser.new_context(viewport=dict(width=width, height=height), offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") and not any(w in m.text for w in wanted) else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("dialog", lambda d: said.append(f"a dialog: {d.message}") or d.dismiss())
        page.on("request", lambda r: None if r.url.startswith(("file:", "blob:", "data:")) else said.append(f"it asked for {r.url}"))
        page.goto(Path(path).as_uri())
        page.wait_for_selector("#dots, .hear-canvas")
        page.wait_for_timeout(300)
        return page
    yield open_page
    for context in contexts: context.close()
    assert said == []


@pytest.fixture(scope="module")
def sounds():
    "Forty held-out sounds, short ones, one with a hostile family."
    sounds = bundled().where('split == "test" and family != "speech"')
    short = np.argsort([len(x) for x in sounds], kind="stable")[:44]
    sounds = sounds.where(np.isin(np.arange(len(sounds)), short))
    table = sounds.table[["file", "label", "family", "author"]].copy()
    table.loc[7, "family"] = EVIL
    table["loudness"] = [float(10 * x.square().mean().log10()) for x in sounds]
    return sounds, table


@pytest.fixture(scope="module")
def places(sounds):
    "A ring a family: no dot hides another."
    count = len(sounds[1])
    angle = np.arange(count) * 2.399963
    return np.c_[np.cos(angle), np.sin(angle)] * np.sqrt(np.arange(count) / count)[:, None]


@pytest.fixture(scope="module")
def saved(sounds, places, tmp_path_factory):
    "The page of all of them, with two maps."
    dataset, table = sounds
    vectors = np.c_[places * 5, np.zeros((len(table), 3))]
    return save_map(tmp_path_factory.mktemp("page") / "map.html", {"HEAR": places, "CLAP": places * [-1, 1]}, table, dataset,
                    color="family", neighbours=nearest(vectors), title=f"{EVIL} & all", note=EVIL)


def dot(page, number, space=0):
    "Returns where a dot is on the screen before anybody has zoomed."
    told = json.loads(page.evaluate("document.getElementById('data').textContent"))
    xy = np.frombuffer(base64.b64decode(told["spaces"][space]["xy"]), "<f4").reshape(-1, 2)[number]
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    unit = min(box["width"] - 2, box["height"] - 2) / 2.16
    return float(box["x"] + box["width"] / 2 + xy[0] * unit), float(box["y"] + box["height"] / 2 - xy[1] * unit)


def title(page, text):
    page.wait_for_function("(t) => document.querySelector('.hear-title')?.textContent === t", arg=text)


def name(table, number): return Path(table.file[number]).name


def same(heard, wanted):
    "Returns whether an MP3 sounds like its source, at the same moment."
    size = min(len(heard), len(wanted))
    around = [np.corrcoef(np.roll(heard[:size], lag), wanted[:size])[0, 1] for lag in (-160, 0, 160)]
    return abs(len(heard) - len(wanted)) < 1200 and around[1] > .95 and around[1] == max(around)


def test_click_plays_that_clip(opened, saved, sounds):
    dataset, table = sounds
    page = opened(saved, bypass_csp=True)  # a test may read the player's sound, the page itself may fetch nothing
    for number in (3, 20):
        page.mouse.click(*dot(page, number))
        title(page, name(table, number))
        page.wait_for_function("() => document.querySelector('.hear-audio').currentTime > 0")
        assert same(np.array(page.locator(".hear-audio").evaluate(DECODED)), dataset[number].numpy())
    assert [b.inner_text().split("\n")[0] for b in page.locator("#near button").all()][0] != name(table, 20)
    assert page.locator("#near button").count() == 6


def test_policy_lets_the_page_play_and_nothing_else(opened, saved, sounds):
    page = opened(saved, wanted=["Content Security Policy"])
    page.mouse.click(*dot(page, 3))
    page.wait_for_function("() => document.querySelector('.hear-audio').currentTime > 0")
    page.evaluate("""() => {
        window.hurt = 0;
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='hurt = 1'>");
        const script = document.createElement("script");
        script.textContent = "hurt = 2";
        document.body.append(script);
    }""")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hurt") == 0
    assert page.evaluate("fetch('https://example.org').then(() => 'answered', () => 'refused')") == "refused"


def test_picture_is_that_of_python(opened, saved, sounds):
    page, code = opened(saved), Path(page_module.__file__).with_name("mel.js")
    for x in (sounds[0][3], torch.sin(torch.arange(480_000) ** 1.5 / 9000)):  # of half a minute, columns are averaged
        image = Image.open(BytesIO(_picture(x)))
        palette = np.array(image.getpalette()[:768], np.uint8)
        wanted = np.array(image.convert("RGB")).astype(int)
        wide, pixels = page.evaluate("""([code, samples, palette]) => {
            const floats = new Float32Array(Uint8Array.from(atob(samples), (c) => c.charCodeAt(0)).buffer);
            const image = new Function(code + "; return melPicture")()(floats, palette);
            return [image.width, Array.from(image.data)];
        }""", [code.read_text(), base64.b64encode(x.numpy().tobytes()).decode(), palette.tolist()])
        drawn = np.array(pixels).reshape(128, wide, 4)[..., :3]
        assert drawn.shape == wanted.shape and np.abs(drawn - wanted).max() <= 4 and np.abs(drawn - wanted).mean() < .1


def test_hostile_text_stays_text(opened, saved, sounds):
    page = opened(saved)
    assert page.title() == f"{EVIL} & all" and page.locator("h1").inner_text() == f"{EVIL} & all"
    page.mouse.move(*dot(page, 7), steps=4)
    page.wait_for_function("(t) => document.getElementById('tip').textContent.includes(t)", arg=EVIL)
    page.mouse.click(*dot(page, 7))
    page.wait_for_function("(t) => document.getElementById('facts').textContent.includes(t)", arg=EVIL)
    page.locator("#search").fill("onerror")
    page.keyboard.press("Enter")
    page.wait_for_function("(t) => document.querySelector('#rows td:nth-child(3)').textContent === t", arg=EVIL)
    assert page.locator("#legend button").filter(has_text=EVIL).count() == 1
    assert page.locator("img").count() == 0


def test_legend_filters_and_search_finds(opened, saved, sounds):
    page, table = opened(saved), sounds[1]
    counts = table.family.value_counts()
    first, second = counts.index[:2]
    page.locator("#legend button").filter(has=page.get_by_text(first, exact=True)).click()
    assert page.locator("#found").inner_text() == f"{counts[first]} of {len(table)}"
    page.locator("#legend button").filter(has=page.get_by_text(second, exact=True)).click()
    assert page.locator("#found").inner_text() == f"{counts[first] + counts[second]} of {len(table)}"
    away = int(np.flatnonzero(~table.family.isin([first, second]))[0])
    page.mouse.click(*dot(page, away))  # what is filtered away cannot be clicked
    assert page.locator("#empty").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#found").inner_text() == ""
    word = name(table, 20).split(".")[0]
    page.locator("#search").fill(word.upper())
    wanted = int(table.astype(str).apply(lambda c: c.str.contains(word, case=False, regex=False)).any(axis=1).sum())
    page.wait_for_function("(t) => document.getElementById('found').textContent === t", arg=f"{wanted} of {len(table)}")


def test_numbers_colour_and_filter(opened, saved, sounds):
    page, table = opened(saved), sounds[1]
    page.locator("#colour").select_option(label="loudness")
    page.get_by_label("loudness from").fill("500")
    middle = (table.loudness.min() + table.loudness.max()) / 2
    assert page.locator("#found").inner_text() == f"{(table.loudness >= middle).sum()} of {len(table)}"


def test_lasso_ends_in_a_table_and_a_csv(opened, saved, sounds, places, tmp_path):
    page, table = opened(saved), sounds[1]
    page.locator("#tool-lasso").click()
    middle, radius = np.array(dot(page, 0)), 90
    around = [middle + radius * np.array([math.cos(a), math.sin(a)]) for a in np.linspace(0, 1.95 * math.pi, 40)]
    page.mouse.move(*around[0])
    page.mouse.down()
    for at in around: page.mouse.move(*at)
    page.mouse.up()
    page.wait_for_selector("#rows td")
    away = np.array([np.hypot(*(np.array(dot(page, k)) - middle)) for k in range(len(table))])
    with page.expect_download() as download: page.locator("#csv").click()
    download.value.save_as(tmp_path / "chosen.csv")
    rows = pd.read_csv(tmp_path / "chosen.csv", keep_default_na=False)
    assert list(rows.columns) == list(table.columns) and page.locator("#rows tbody tr").count() == len(rows) > 3
    chosen = set(table.index[table.file.isin(rows.file)])
    assert set(np.flatnonzero(away < radius - 5)) <= chosen <= set(np.flatnonzero(away < radius + 5))
    whole = table.loc[sorted(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, whole.astype(rows.dtypes), check_exact=False, rtol=1e-12)


def test_csv_is_read_back_as_it_was(opened, tmp_path):
    odd = ['a,b', 'say "so"', "two\nlines", "=1+1", " spaces ", "größe", "", EVIL]
    table = pd.DataFrame(dict(file=[f"{k}.wav" for k in range(8)], label=odd))
    page = opened(save_map(tmp_path / "odd.html", np.random.default_rng(0).normal(size=(8, 2)), table, None))
    page.locator("#search").fill(".wav")
    page.wait_for_timeout(400)
    page.keyboard.press("Enter")
    with page.expect_download() as download: page.locator("#csv").click()
    download.value.save_as(tmp_path / "chosen.csv")
    assert pd.read_csv(tmp_path / "chosen.csv", keep_default_na=False, dtype=str).label.tolist() == odd


def test_neighbours_and_play_all(opened, saved, sounds):
    page, (_, table) = opened(saved), sounds
    page.mouse.click(*dot(page, 20))
    title(page, name(table, 20))
    beside = page.locator("#near .name").first.inner_text()
    page.locator("#near button").first.click()
    title(page, beside)
    page.locator("#search").fill("perc_")
    page.wait_for_timeout(400)
    page.keyboard.press("Enter")
    count = page.locator("#rows tbody tr").count()
    assert count > 2
    page.locator("#all").click()
    page.wait_for_function("(t) => document.getElementById('which').textContent === t", arg=f"1 of {count}")
    first = page.locator(".hear-title").inner_text()
    page.locator("#skip").click()
    page.wait_for_function("(t) => document.getElementById('which').textContent === t", arg=f"2 of {count}")
    page.wait_for_function("(t) => document.getElementById('which').textContent === t", arg=f"3 of {count}")  # by itself, when it has ended
    assert page.locator(".hear-title").inner_text() != first and page.locator("#rows tr.now").count() == 1
    page.locator("#stop").click()
    page.wait_for_function("() => document.querySelector('.hear-audio').paused")
    assert page.locator("#which").inner_text() == ""


def test_keys_alone_are_enough(opened, saved):
    page = opened(saved)
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.hear-title')?.textContent")
    first = page.locator(".hear-title").inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("(t) => document.querySelector('.hear-title').textContent !== t", arg=first)
    assert page.locator("#said").inner_text().startswith(page.locator(".hear-title").inner_text())
    page.keyboard.press("/")
    page.keyboard.type("perc_")
    page.wait_for_timeout(400)
    page.keyboard.press("Enter")
    assert page.locator("#chosen").is_visible()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.textContent"))
    assert {"tool-lasso", "tool-more", "hear-play", "all", "csv", "theme"} <= reached


def test_two_maps(opened, saved, sounds):
    page, table = opened(saved), sounds[1]
    number = int(np.argmax(np.abs(np.array([dot(page, k)[0] - dot(page, k, 1)[0] for k in range(len(table))]))))
    page.get_by_role("button", name="CLAP").click()
    page.wait_for_timeout(1500)
    page.mouse.click(*dot(page, number, space=1))
    title(page, name(table, number))


def test_wheel_scrolls_until_the_map_was_clicked(opened, saved, sounds):
    page, table = opened(saved, height=500), sounds[1]
    page.mouse.move(*dot(page, 20))
    page.mouse.wheel(0, 60)
    page.wait_for_function("() => scrollY > 0 && document.getElementById('hint').classList.contains('seen')")
    page.evaluate("scrollTo(0, 0)")
    at = dot(page, 20)
    page.mouse.click(*at)
    page.mouse.wheel(0, -900)
    page.wait_for_timeout(500)
    assert page.evaluate("scrollY") == 0
    page.mouse.click(*at)  # zoomed around the mouse: the dot is where it was
    title(page, name(table, 20))
    page.mouse.click(*dot(page, int(np.argmax(np.hypot(*(np.array([dot(page, k) for k in range(len(table))]) - at).T)))))
    title(page, name(table, 20))  # far dots have left their places


@pytest.mark.parametrize("width", [1366, 1000, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_and_follows_the_theme(opened, saved, sounds, width, scheme):
    page = opened(saved, width, 844, color_scheme=scheme, has_touch=width < 500)
    if width < 500: page.touchscreen.tap(*dot(page, 20))
    else: page.mouse.click(*dot(page, 20))
    title(page, name(sounds[1], 20))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    left, side = page.locator("#left").bounding_box(), page.locator("#side").bounding_box()
    if width >= 900: assert side["x"] >= left["x"] + left["width"] - 1 and side["y"] == left["y"]
    else: assert side["y"] >= left["y"] + left["height"] - 1
    light = lambda: sum(map(int, page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(","))) > 380
    assert light() == (scheme == "light")
    page.locator("#theme").click()
    assert light() == (scheme == "dark")


def test_two_fingers_zoom(opened, saved, sounds):
    page = opened(saved, 390, 844, has_touch=True, is_mobile=True)
    box = page.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    send = lambda kind, apart: touch.send("Input.dispatchTouchEvent", dict(type=kind, touchPoints=[
        dict(x=x - apart, y=y, id=0), dict(x=x + apart, y=y, id=1)] if apart else []))
    before = page.evaluate("document.getElementById('dots').toDataURL()")
    send("touchStart", 20)
    for apart in (25, 30, 40, 60, 80): send("touchMove", apart)
    send("touchEnd", 0)
    page.wait_for_timeout(500)
    assert page.evaluate("document.getElementById('dots').toDataURL()") != before
    assert page.evaluate("visualViewport.scale") == 1  # the map was zoomed, and not the page


def test_sounds_beside_the_page(opened, sounds, places, tmp_path):
    dataset, table = sounds
    path = save_map(tmp_path / "näch ste#1.html", places, table, dataset, color="family", where="folder")
    page = opened(path, bypass_csp=True)
    page.mouse.click(*dot(page, 20))
    page.wait_for_function("() => document.querySelector('.hear-audio').currentTime > 0")
    assert same(np.array(page.locator(".hear-audio").evaluate(DECODED)), dataset[20].numpy())
    strict = opened(path, wanted=["ERR_FILE_NOT_FOUND"])
    strict.mouse.click(*dot(strict, 3))
    strict.wait_for_function("() => document.querySelector('.hear-audio').currentTime > 0")
    (path.with_name(path.stem + "_sounds") / "20.js").unlink()
    strict.mouse.click(*dot(strict, 20))
    strict.wait_for_selector("#problem:visible")
    assert "20.js is missing" in strict.locator("#problem").inner_text()
    strict.mouse.click(*dot(strict, 5))
    title(strict, name(table, 5))
    assert strict.locator("#problem").is_hidden()


def test_moments_of_a_recording(opened, sounds, tmp_path):
    dataset, _ = sounds
    times = np.linspace(.2, 1., 9)
    table = pd.DataFrame(dict(file="one.wav", label=["a", "b", "c"] * 3))
    long = torch.cat([dataset[20], dataset[3], dataset[20]])[:24_000]
    page = opened(save_map(tmp_path / "frames.html", np.c_[times, times ** 2], table, [long], clip=np.zeros(9, int), time=times))
    page.mouse.click(*dot(page, 8))
    title(page, "one.wav · 1 s")
    page.wait_for_function("() => { const a = document.querySelector('.hear-audio'); return a.paused && a.currentTime > 1.2; }")
    assert page.locator(".hear-audio").evaluate("a => a.currentTime") < 1.45  # a quarter of a second on either side


def test_players_are_saved_as_they_are(opened, sounds, tmp_path):
    x = sounds[0][20]
    player = Player(x, title=EVIL, compare={"backwards": x.flip(0)}, marks=[.1])
    page = opened(save_players(tmp_path / "clip.html", player), bypass_csp=True)
    assert page.locator(".hear-title").inner_text() == EVIL
    for track, wanted in (("original", x), ("backwards", x.flip(0))):
        page.get_by_role("button", name=track).click()
        if page.locator(".hear-play").inner_text().startswith("▶"): page.locator(".hear-play").click()
        page.wait_for_function("() => document.querySelector('.hear-audio').currentTime > 0")
        assert same(np.array(page.locator(".hear-audio").evaluate(DECODED)), wanted.numpy())
        page.locator(".hear-plot").press(" ")
