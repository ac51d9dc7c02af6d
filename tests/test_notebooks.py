"""Every notebook runs from its first cell to its last: one test a notebook, each as `nbdev-test` runs it."""
import re
import subprocess
import sysconfig
from pathlib import Path

import nbformat
import pytest
from nbdev.doclinks import nbglob
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

root = Path(__file__).parents[1]
notebooks = [p.relative_to(root).as_posix() for p in sorted(nbglob(root/'nbs', as_path=True))]
nbdev_test = Path(sysconfig.get_path('scripts'), 'nbdev-test')  # also if the environment is not activated


def run(notebook):
    "Runs a notebook in a process of its own. A failure names the notebook and the cell, counted from 1."
    done = subprocess.run([nbdev_test, notebook], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=900)
    # A cell that ends the process, or a notebook that is passed over, may still exit with 0.
    if done.returncode == 0 and 'Success.' in done.stdout: return
    at = re.search(r'While Executing Cell #(\d+)', done.stderr)
    source = nbformat.read(notebook, 4).cells[int(at[1]) - 1].source if at else ''
    where = f', cell {at[1]}:\n\n{source}\n' if at else f': the process ended with {done.returncode}'
    pytest.fail(f'{notebook}{where}\n{done.stdout}{done.stderr}', pytrace=False)


@pytest.mark.parametrize('notebook', notebooks)
def test_notebook(notebook): run(root/notebook)


def write(path, *sources):
    "A notebook with a heading and these code cells."
    nbformat.write(new_notebook(cells=[new_markdown_cell('# Test'), *map(new_code_cell, sources)]), path)
    return path


def test_failure_names_notebook_and_cell(tmp_path):
    path = write(tmp_path/'00_broken.ipynb', 'a = 1', 'b = [a]\nassert b == [2], "not two"', 'c = 3')
    with pytest.raises(pytest.fail.Exception) as failure: run(path)
    for part in ['00_broken.ipynb, cell 3:', 'b = [a]', 'AssertionError: not two']: assert part in str(failure.value)
    assert 'c = 3' not in str(failure.value)


@pytest.mark.parametrize('end, status', [('os._exit(0)', 0), ('os.kill(os.getpid(), 9)', -9)])
def test_process_that_ends_is_a_failure(tmp_path, end, status):
    with pytest.raises(pytest.fail.Exception, match=f'00_ends.ipynb: the process ended with {status}\n'):
        run(write(tmp_path/'00_ends.ipynb', f'import os; {end}'))


def test_cells_run_in_their_folder_unless_eval_is_false(tmp_path):
    run(write(tmp_path/'00_fine.ipynb', '#| eval: false\n1 / 0',
              f'from pathlib import Path\nassert Path.cwd() == Path({str(tmp_path)!r})'))
