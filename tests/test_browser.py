"""What people see and do: JupyterLab in a browser, with a mouse. `conftest.py` says what is needed."""
import math
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile as sf
from nbformat.v4 import new_code_cell, new_notebook

from hear_nb import data

tutorials = Path(__file__).parents[1] / "nbs/tutorials"
EVIL = "<img src=x onerror=alert(1)>.wav"
MAP = """from hear_nb import HEAR, AcousticTokenizer, data
from hear_nb.viz.embeddings import explore
import json, torch
torch.set_num_threads(1)
sounds = data.bundled().where('split == "test" and family != "speech"')
tokenizer = AcousticTokenizer.from_pretrained('hear-tiny')
view = explore(HEAR.from_pretrained('hear-tiny'), sounds, color='family', method='pca', tokenizer=tokenizer)
view"""


def run_all(page):
    "Runs all cells, and waits until the kernel has done so. Fails if a cell shows an error."
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    cells = ".jp-CodeCell:has(.cm-line)"
    page.wait_for_function(f"""() => {{
        const prompts = [...document.querySelectorAll('{cells} .jp-InputPrompt')].map((p) => p.textContent);
        return prompts.length && prompts.every((p) => /\\[\\d+\\]/.test(p));
    }}""", timeout=240_000)
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts() == []
    assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts() == []


def ask(page, code):
    "Returns what the kernel prints, without a cell."
    return page.evaluate("""async (code) => {
        const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        const future = kernel.requestExecute({ code, store_history: false });
        let text = "";
        future.onIOPub = (m) => { text += m.content.text ?? (m.content.traceback ?? []).join("\\n"); };
        await future.done;
        return text.trim();
    }""", code)


def until(page, code, wanted, seconds=60):
    "Waits until the kernel prints what is wanted, a value or a test of it."
    right = wanted if callable(wanted) else lambda text: text == str(wanted)
    for _ in range(seconds * 4):
        if right(text := ask(page, f"print({code})")): return text
        page.wait_for_timeout(250)
    pytest.fail(f"{code} is {text}, wanted {wanted}")


def places(page):
    "Returns where the dots are on the page, (points, 2) in pixels."
    page.wait_for_timeout(1500)  # until they are drawn
    page.locator("canvas:visible").first.scroll_into_view_if_needed()
    box = page.locator("canvas:visible").first.bounding_box()
    xy = np.array(eval(ask(page, "print(view.maps.scatters[0].widget.points[:, :2].tolist())")))
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    return middle + xy * [1, -1] * box["height"] / 2 / 1.15


def heard(page):
    "Returns the samples that the player's audio element decodes to, at 16 kHz."
    return np.array(page.locator(".hear-audio").first.evaluate("""async (audio) => {
        const bytes = await (await fetch(audio.src)).arrayBuffer();
        const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
        return Array.from(sound.getChannelData(0));
    }"""))


@pytest.fixture(scope="module")
def page(lab):
    "A page with the map of the held-out sounds."
    nb = new_notebook(cells=[new_code_cell(MAP)],
                      metadata=dict(kernelspec=dict(name="python3", display_name="Python 3", language="python")))
    nbformat.write(nb, lab.folder / "map.ipynb")
    page = lab.open("map.ipynb")
    page.on("dialog", lambda dialog: page.errors.append(f"a dialog: {dialog.message}") or dialog.dismiss())
    run_all(page)
    page.wait_for_selector("canvas:visible")
    yield page
    page.close()


@pytest.fixture(scope="module")
def sounds(): return data.bundled().where('split == "test" and family != "speech"')


def test_tutorial_runs(lab):
    shutil.copy(tutorials / "01_tour.ipynb", lab.folder)
    page = lab.open("01_tour.ipynb")
    run_all(page)
    assert page.errors == []
    page.close()


def test_click_plays_that_clip(page, sounds):
    xy = places(page)
    apart = np.linalg.norm(xy[:, None] - xy, axis=-1) + 1e9 * np.eye(len(xy))
    lone = int(apart.min(1).argmax())  # a dot that cannot be mistaken for another
    page.mouse.move(*xy[lone], steps=5)
    page.wait_for_selector(f"text={Path(sounds.table.file[lone]).name}")  # the tooltip
    page.mouse.click(*xy[lone])
    until(page, "view.selection.tolist()", [lone])
    page.wait_for_function("() => document.querySelector('.hear-audio').src")
    samples, wanted = heard(page), sounds[lone].numpy().clip(-1, 1)
    assert len(samples) == len(wanted) and np.abs(samples - wanted).max() < 2 / 2**15
    assert page.locator(".hear-title").first.inner_text() == Path(sounds.table.file[lone]).name
    assert page.locator("button:has-text('♪')").count() == 6  # neighbours
    assert page.errors == []


def test_cursor_moves_with_the_sound(page):
    page.locator("button:has-text('♪')").first.click()
    page.wait_for_function("""() => {
        const [audio, cursor] = ["audio", "cursor"].map((c) => document.querySelector(`.hear-${c}`));
        return !audio.paused && audio.currentTime > 0 && parseFloat(cursor.style.left) > 47;
    }""")
    page.wait_for_function("() => document.querySelector('.hear-audio').paused")
    page.locator(".hear-plot").first.click(position=dict(x=150, y=50))
    page.wait_for_function("() => Math.abs(parseFloat(document.querySelector('.hear-cursor').style.left) - 150) < 2")
    time = page.locator(".hear-audio").first.evaluate("audio => audio.currentTime")
    until(page, f"abs(view.player.clicked - {time}) < .01", True)


def test_lasso_is_read_in_the_kernel(page):
    xy = places(page)
    ask(page, "view.maps.scatters[0].widget.mouse_mode = 'lasso'")
    middle, radius = np.median(xy, 0), 70
    page.wait_for_timeout(500)
    # not a whole circle: it closes by itself, and ending where it began would be a click
    circle = [middle + radius * np.array([math.cos(a), math.sin(a)]) for a in np.linspace(0, 1.9 * math.pi, 40)]
    page.mouse.move(*circle[0])
    page.mouse.down()
    for at in circle:
        page.mouse.move(*at)
        page.wait_for_timeout(20)
    page.mouse.up()
    ask(page, "view.maps.scatters[0].widget.mouse_mode = 'panZoom'")
    until(page, "len(view.selection) > 1", True)
    away = np.linalg.norm(xy - middle, axis=1)
    chosen = set(eval(ask(page, "print(view.selection.tolist())")))
    assert set(np.flatnonzero(away < radius - 8)) <= chosen <= set(np.flatnonzero(away < radius + 8))
    page.get_by_placeholder("a label for these").fill("<b>caught</b>")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Give label").click()
    until(page, "(view.table.label == '<b>caught</b>').sum()", len(chosen))
    page.wait_for_function("""(n) => [...document.querySelectorAll("td")]
        .filter((cell) => cell.textContent === "<b>caught</b>").length === n""", arg=len(chosen))
    assert page.errors == []


def test_dropped_file_is_placed_and_its_name_is_text(page, sounds, tmp_path):
    sf.write(tmp_path / EVIL, sounds[5].numpy(), 16_000, subtype="PCM_16")
    page.locator(".hear-drop-input").set_input_files(tmp_path / EVIL)
    until(page, "len(view.points)", len(sounds) + 1)
    until(page, "view.player.title", EVIL)
    page.wait_for_function("(name) => document.querySelector('.hear-title').textContent === name", arg=EVIL)
    page.wait_for_function("() => document.querySelector('.hear-audio').src")
    assert np.abs(heard(page) - sounds[5].numpy().clip(-1, 1)).max() < 2 / 2**15
    xy = places(page)
    assert np.linalg.norm(xy[-1] - xy[5]) < 20  # beside its twin
    page.mouse.move(*xy[-1], steps=5)
    page.wait_for_timeout(1500)  # the tooltip names it or its twin
    assert page.locator("img[src='x']").count() == 0
    assert page.errors == []


def test_slider_changes_the_map(page, sounds):
    before = places(page)
    page.get_by_role("button", name="UMAP").click()
    until(page, "view.status.value", lambda text: "UMAP, 15" in text, 150)
    unrolled = places(page)
    page.locator(".noUi-handle:visible").first.focus()
    page.keyboard.press("ArrowRight")
    until(page, "view.status.value", lambda text: "UMAP, 16" in text, 60)
    slid = places(page)
    assert np.abs(unrolled - before).max() > 20 and np.abs(slid - unrolled).max() > 5
    assert page.errors == []
