"""What is made from the notebooks is in step with them, and the notebooks are fit to be read."""
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
from nbdev.doclinks import nbglob
from nbformat.v4 import new_code_cell, new_notebook, new_output

root = Path(__file__).parents[1]
notebooks = [p.relative_to(root).as_posix() for p in sorted(nbglob(root/'nbs', as_path=True))]
scripts = Path(sysconfig.get_path('scripts'))


@pytest.fixture
def tree(tmp_path):
    "A copy of what nbdev reads and writes."
    for folder in ['nbs', 'hear_nb']:
        shutil.copytree(root/folder, tmp_path/folder,
                        ignore=shutil.ignore_patterns('bundled', 'weights', '__pycache__', '.ipynb_checkpoints'))
    shutil.copy(root/'pyproject.toml', tmp_path)
    return tmp_path


def nbdev(command, tree):
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}  # with it, nbdev-export does nothing
    subprocess.run([scripts/f'nbdev-{command}'], cwd=tree, env=env, check=True)


def read(folder, pattern): return {str(p.relative_to(folder)): p.read_text('utf-8') for p in folder.rglob(pattern)}


def changed(a, b): return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def test_export_changes_nothing(tree):
    modules = tree/'hear_nb'
    before = read(modules, '*.py')
    for path in modules.rglob('*.py'): path.unlink()  # so a module that no notebook writes shows as well
    nbdev('export', tree)
    assert changed(before, read(modules, '*.py')) == [], 'run nbdev-export'


def test_clean_changes_nothing(tree):
    before = read(tree/'nbs', '*.ipynb')
    nbdev('clean', tree)
    assert changed(before, read(tree/'nbs', '*.ipynb')) == [], 'run nbdev-clean'


def test_readme():
    made = subprocess.run([sys.executable, '-c', 'import sys; sys.path.insert(0, "docs"); import readme; sys.stdout.buffer.write(readme.readme().encode())'],
                          cwd=root, check=True, capture_output=True).stdout.decode()
    assert made == (root/'README.md').read_text('utf-8'), 'run python docs/readme.py'


def texts(output):
    "Returns what an output shows as text."
    if output.output_type == 'stream': return [output.text]
    return [text for kind, text in output.get('data', {}).items() if kind.startswith('text/')]


def faults(nb):
    "Returns what a reader should not meet in a notebook."
    found = [] if 'kernelspec' in nb.metadata else ['no kernelspec, so JupyterLab asks for one']
    if 'widgets' in nb.metadata: found.append('the state of widgets: delete it from the metadata')  # megabytes that nbdev-clean keeps
    for n, cell in enumerate(nb.cells, 1):
        if cell.cell_type != 'code': continue
        lines = len(cell.source.splitlines())
        # a class may be long, and so are a command's options
        most = 41 if re.search(r'(?m)^class |^def (evaluate|embed|draw_map|save_map)\(', cell.source) else 30
        if lines > most: found.append(f'cell {n}: {lines} lines')
        for output in cell.outputs:
            if output.output_type == 'error': found.append(f'cell {n}: {output.ename}')
            for text in texts(output):
                # The characters before the slash exclude relative paths and base64.
                path = re.search(r'(?<![\w.~+-])/(home|root|work|tmp|Users)\b.{,40}', text)
                if path: found.append(f'cell {n}: {path[0]}')
                if re.search(r'\d%\||\r', text): found.append(f'cell {n}: a progress bar')
    return found


@pytest.mark.parametrize('notebook', notebooks)
def test_notebook_is_tidy(notebook): assert faults(nbformat.read(root/notebook, 4)) == []


@pytest.mark.parametrize('source, output, fault', [
    ('x = 1\n' * 31, None, '31 lines'),
    ('1 / 0', new_output('error', ename='ZeroDivisionError', evalue='', traceback=[]), 'ZeroDivisionError'),
    ('path', new_output('execute_result', {'text/plain': "PosixPath('/tmp/xyz/a.wav')"}), '/tmp/xyz'),
    ('path', new_output('stream', text='see file:///home/me/a.wav'), '/home/me'),
    ('tqdm(x)', new_output('stream', text=' 50%|#####     | 1/2 [00:01<00:01,  1.0it/s]'), 'a progress bar'),
    ('fine', new_output('stream', text='../work/a.wav, 50% of it, https://example.org/home'), None),
])
def test_faults_are_found(source, output, fault):
    cell = new_code_cell(source, outputs=[output] if output else [])
    kernel, *found = faults(new_notebook(cells=[cell]))
    assert 'kernelspec' in kernel and len(found) == bool(fault)
    if fault: assert fault in found[0]


def test_state_of_widgets_is_found():
    kernel = dict(name='python3', display_name='python3')
    assert 'widgets' in faults(new_notebook(metadata=dict(kernelspec=kernel, widgets={})))[0]


@pytest.mark.parametrize('notebook', notebooks)
def test_notebook_is_small(notebook): assert (root/notebook).stat().st_size < 1_000_000
