"""Attention and codebook in a browser: what is clicked is lit, heard and known in the kernel."""
import nbformat
from nbformat.v4 import new_code_cell, new_notebook

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
