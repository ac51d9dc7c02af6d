"""The views: tables of every kind on the map without a browser; attention and codebook in one: what is clicked is lit, heard and known in the kernel."""
import gc
import re
import threading
import time
import weakref
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from nbformat.v4 import new_code_cell, new_notebook

from hear_nb.analysis.sound_map import SoundMap, Space
from hear_nb.data.dataset import Dataset
from hear_nb.model.hear import Embedding

N = 40
COLUMNS = {
    "booleans": [True, False] * 20,
    "booleans with a gap": pd.array([True, None] * 20, "boolean"),
    "objects that are booleans": pd.Series([True, None] * 20, dtype=object),
    "categories": pd.Categorical(["a", "b"] * 20),
    "ordered": pd.Categorical(["low", "high"] * 20, categories=["low", "high"], ordered=True),
    "categories that are numbers": pd.Categorical([1, 2] * 20),
    "dates": pd.date_range("2026-01-01", periods=N),
    "dates in a zone, with a gap": pd.Series([pd.NaT, *pd.date_range("2026-01-01", periods=N - 1, tz="Asia/Tokyo")]),
    "durations": pd.to_timedelta(np.arange(N), "s"),
    "periods": pd.period_range("2026-01", periods=N, freq="M"),
    "intervals": pd.cut(np.arange(N), 3),
    "whole numbers with a gap": pd.array([None, *range(N - 1)], "Int64"),
    "numbers with a gap": [np.nan, *np.arange(N - 1) / 2],
    "numbers and infinity": [np.inf, *np.arange(N - 1) / 2],
    "numbers as text": ["", *map(str, range(N - 1))],
    "complex": np.arange(N) + 1j,
    "lists": [[1, 2], []] * 20,
    "arrays": pd.Series([np.arange(2)] * N),
    "dicts": [{}, {"a": 1}] * 20,
    "mixed": [1, "a", 2.5, None] * 10,
    "bytes": [b"a", b"b"] * 20,
    "nothing": [None] * N,
    "sparse": pd.arrays.SparseArray([0, 1] * 20),
    "arrow": pd.Series(["x", None] * 20, dtype="string"),
    "_silence_": ["_silence_", "$5"] * 20,
    "$a$": ["<b>", "&"] * 20,
    7: ["a number for a name", "b"] * 20,
    "cluster": ["night", "day"] * 20, "token": ["t", "u"] * 20, "predicted": ["p", "q"] * 20,
}
SCALES = {"dates", "dates in a zone, with a gap", "durations", "whole numbers with a gap", "numbers with a gap", "numbers and infinity",
          "numbers as text"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for i in range(N + 1): sf.write(folder / f"{i}.wav", np.random.default_rng(i).normal(size=4000) * .1, 16_000)
    return folder


def vectors(n=N, width=8): return np.random.default_rng(0).normal(size=(n, width))


def dataset(files, **columns): return Dataset(pd.DataFrame({"file": [f"{i}.wav" for i in range(N)]} | columns), files)


def whole(files):
    "A dataset with a column of every kind, and one name twice."
    table = pd.concat([pd.DataFrame({"file": [f"{i}.wav" for i in range(N)]}), *(pd.Series(v, name=k) for k, v in COLUMNS.items()),
                       pd.Series(["again"] * N, name="mixed")], axis=1)
    return Dataset(table, files)


def one(n): return [Embedding(np.random.default_rng(n).normal(size=(1, 8)), [], [])]


def explorer(data, **options):
    from hear_nb.viz.embeddings import explore
    return explore(vectors(), data, method="pca", **options).wait()


@pytest.mark.parametrize("column", [str(c) for c in COLUMNS])
def test_every_kind_of_column(files, column):
    sounds = SoundMap([Space("", vectors())], whole(files))
    before = sounds.colours(column)
    assert len(before) == N and (before.dtype == float) == (column in SCALES)
    if before.dtype == float: assert all(sounds.ends(column))
    kind = sounds.table[column].dtype
    sounds.add(files / f"{N}.wav", one(1))
    assert (sounds.colours(column).dtype == float) == (column in SCALES)  # a gap does not change what a column is
    assert sounds.table[column].dtype == kind or str(sounds.table[column].dtype) in ("Int64", "boolean", "object")
    assert sounds.find(f"{N}.wav").tolist() == [N]
    sounds.export(files / "out" / "all.csv")
    assert len(pd.read_csv(files / "out" / "all.csv")) == N + 1


@pytest.mark.parametrize("labels", ["booleans", "categories", "dates", "whole numbers with a gap", "numbers with a gap", "lists", "mixed",
                                    "nothing", "arrow", "sparse", "intervals", "_silence_"])
def test_labels_of_every_kind_take_a_name(files, labels):
    sounds = SoundMap([Space("", vectors())], dataset(files, label=COLUMNS[labels]))
    before = sounds.values("label")
    assert sounds.label([1, 2], "whale") == 2
    assert sounds.table.label[[1, 2]].tolist() == ["whale"] * 2
    assert sounds.table.label[0] == ("" if labels != "lists" and pd.isna(before[0]) else str(before[0]))


def test_own_columns_win(files):
    view = explorer(dataset(files, cluster=["night", "day"] * 20), color="cluster")
    assert view.colours.tolist() == ["night", "day"] * 20
    assert view.color.options.count("cluster") == 1


def test_a_gap_is_grey_on_the_screen_and_on_paper(files):
    from hear_nb.figures.palette import MISSING
    from hear_nb.viz.embeddings import _shades
    view = explorer(dataset(files, snr=[np.nan, *np.arange(N - 1) / 2]), color="snr")
    shade, colours = _shades(view.colours)
    assert colours[shade.cat.codes[0]] == MISSING and MISSING in view.maps.legend.value and "no value" in view.maps.legend.value
    figure = view.figure()
    assert sum(len(dots.get_offsets()) for dots in figure.axes[0].collections) == N
    view.add(files / f"{N}.wav", one(1))
    assert view.colours.dtype == float and view.colours.isna().sum() == 2


def legend(ax): return [t.get_text().replace("\\", "") for t in ax.get_legend().get_texts()]


def test_legends_show_every_name(files):
    matplotlib.use("Agg")
    from hear_nb.figures.results import accuracies, map_clips
    names = ["$a$", "$b", "_silence_", "_unknown_", "yes"]
    labels = (names * 8)[:N]
    view = explorer(dataset(files, label=labels))
    view.color.value = "label"
    table = pd.DataFrame(dict(task="t", method=names, accuracy=.5))
    shown = view.figure().axes[0], map_clips(vectors(), labels, "pca"), accuracies(table)
    for ax in shown:
        ax.figure.canvas.draw()
        assert sorted(legend(ax)) == names


def test_the_panel_counts_clips(files):
    view = explorer(dataset(files, label=["a"] * 10 + ["b"] * 30))
    view.select(range(12))
    assert view.chosen.count.value == "12 points of 12 clips are chosen:"
    assert view.chosen.table.value.count("<tr") == 13


def test_dropped_twice_is_one_dot_and_found(files, tmp_path):
    from hear_nb.viz.embeddings import _receive, explore
    content = (files / f"{N}.wav").read_bytes()
    view = explore(vectors(), dataset(files), method="pca", embed=lambda path: one(1)[0], uploads=tmp_path / "uploads").wait()
    for _ in range(2): _receive(view, "whale $1$.wav", content)
    view.wait()
    assert len(view.points) == N + 1 and [p.name for p in (tmp_path / "uploads").iterdir()] == ["whale $1$.wav"]
    view.select([0])
    assert view.find("WHALE") == 1 and view.selection.tolist() == [N] and view.player.title == "whale $1$.wav"
    assert view.maps.scatters[0].widget.selection.tolist() == [N]  # lit
    assert "<" not in view.status.value


def test_closed_views_are_freed(files):
    from hear_nb.viz.player import Player
    data, before = dataset(files, label=["a", "b"] * 20), threading.active_count()
    for make in (lambda: Player(np.random.default_rng(0).normal(size=16_000) * .1), lambda: explorer(data)):
        view = make()
        seen = weakref.ref(view)
        view.close()
        del view
        gc.collect()
        assert seen() is None
    assert threading.active_count() == before


def test_a_closed_view_stops_computing(files):
    from hear_nb.viz.embeddings import explore
    before = threading.active_count()
    view = explore(vectors(), dataset(files), method="umap")
    view.close()
    view.wait()
    assert threading.active_count() == before


def test_nearest_of_a_hundred_thousand():
    space = Space("", vectors(100_000, 384))
    apart = np.arange(100_000) != 7

    def fastest(work):
        def once():
            start = time.perf_counter()
            work()
            return time.perf_counter() - start
        return min(once() for _ in range(9))
    search, product = fastest(lambda: space.nearest(7, 6, apart)), fastest(lambda: space.vectors @ space.vectors[7])
    assert search < max(.05, 3 * product), (search, product)  # a busy machine reads memory slowly, but no search can be faster than that


def test_exercise_of_tutorial_8_runs_after_all_cells(tmp_path, monkeypatch):
    matplotlib.use("Agg")
    notebook = nbformat.read(Path(__file__).parents[1] / "nbs/tutorials/08_your_own_recordings.ipynb", 4)
    answer = re.search(r"```python\n(.*?)```", notebook.cells[-1].source, re.S)[1]
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in [c.source for c in notebook.cells if c.cell_type == "code"] + [re.sub(r"^   ", "", answer, flags=re.M)]:
        exec(code.replace("%", "#%") if code.startswith("%") else code, names)
    assert len(names["ten"]) == 40 and 0 <= names["asked"].min()


KERNEL = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
MODELS = """import torch
torch.set_num_threads(1)
from hear_nb import AcousticTokenizer, HEAR, data
from hear_nb.viz.attention import attention
from hear_nb.viz.tokens import codebook
sounds, name = data.bundled(), '<img src=x onerror=alert(1)>'
clip = sounds[sounds.table.file.tolist().index('audio/en_digits_1.ogg')]"""


def run(lab, name, *cells):
    "Returns a page with a notebook of these cells, all run."
    nbformat.write(new_notebook(cells=[new_code_cell(c) for c in cells], metadata=KERNEL), lab.folder / name)
    page = lab.open(name)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(".hear-canvas", timeout=180_000)
    return page


def kernel(page, n):
    "Runs the notebook's last cell again. Returns what it prints."
    cell = page.locator(".jp-Cell").last
    before = cell.locator(".jp-InputPrompt").inner_text()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function("([n, before]) => !['[*]:', before].includes([...document.querySelectorAll('.jp-InputPrompt')].at(-1).innerText)",
                           arg=[n, before])
    return cell.locator(".jp-OutputArea-output").inner_text()


def test_attention(lab):
    page = run(lab, "attention.ipynb", MODELS, "view = attention(HEAR.from_pretrained('hear-tiny'), clip, title=name)\nview",
               "print(view.player.clicked, len(view.player.highlight), view.player.ended, view.layer.value)")
    canvas = page.locator(".hear-canvas").first
    assert kernel(page, 2).startswith("None 0 0 2")
    canvas.click(position=dict(x=300, y=60))
    page.wait_for_selector("text=looks most")  # below the picture, once the kernel has answered
    page.wait_for_timeout(2500)  # two moments of 0.3 s
    clicked, frames, ended, _ = kernel(page, 3).split()
    assert 0 < float(clicked) < 1 and int(frames) > 10 and int(ended) == 2
    page.locator(".widget-dropdown select").first.select_option("rollout")
    assert kernel(page, 4).split()[-1] == "rollout"
    assert page.locator(".hear-title", has_text="<img src=x").count() == 1 and page.errors == []


def test_codebook(lab):
    page = run(lab, "codebook.ipynb", MODELS, "few = sounds.where('split == \"test\" and family == \"bass\"')\n"
               "book = codebook(AcousticTokenizer.from_pretrained('hear-tiny'), few, column='family')\nbook",
               "print(book.code.value, book.player.title, book.view.value)")
    first = kernel(page, 2).split()
    page.locator(".widget-dropdown select").nth(1).select_option(index=2)
    page.wait_for_function("old => document.querySelector('.hear-title').innerText !== old", arg=f"code {first[0]}")
    page.locator(".widget-dropdown select").first.select_option("transitions")
    code, *title, view = kernel(page, 3).split()
    assert code != first[0] and title == ["code", code] and view == "transitions" and page.errors == []


def test_a_click_on_a_token_sounds(lab):
    page = run(lab, "token.ipynb", MODELS, "from hear_nb.viz.tokens import timeline\n"
               "line = timeline(AcousticTokenizer.from_pretrained('hear-tiny'), clip)\nline",
               "print(line.ended, line.clicked)")
    plot = page.locator(".hear-plot").first
    box = plot.bounding_box()
    plot.click(position=dict(x=box["width"] / 2, y=box["height"] - 44))  # in the strip, above the axis
    page.wait_for_function("() => document.querySelector('.hear-audio').currentTime > 0")
    page.wait_for_function("() => document.querySelector('.hear-audio').paused")
    ended, clicked = kernel(page, 2).split()
    assert ended == "1" and float(clicked) > 0 and page.errors == []
    heard = page.locator(".hear-audio").first.evaluate("audio => audio.currentTime")
    assert 0 <= heard - float(clicked) < .5  # a piece, not the clip
