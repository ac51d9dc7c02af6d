"""The wings import downwards, and the site builds."""
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest

root = Path(__file__).parents[1]
scripts = Path(sysconfig.get_path('scripts'))


def lint(folder):
    "Checks the contract of pyproject.toml on the package in a folder."
    return subprocess.run([scripts/'lint-imports', '--no-cache', 'pyproject.toml'], cwd=folder, check=False, capture_output=True,
                          text=True, env={'PYTHONPATH': str(folder), 'PYTHONIOENCODING': 'utf-8'}, encoding='utf-8')


def test_wings_import_downwards():
    done = lint(root)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_import_upwards_is_found(tmp_path):
    for path in (root/'hear_nb').rglob('*.py'):
        copy = tmp_path/path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path/'pyproject.toml').write_bytes((root/'pyproject.toml').read_bytes())
    with open(tmp_path/'hear_nb/audio/decode.py', 'a', encoding='utf-8') as f: f.write('\ndef _later(): from hear_nb.figures import spectrogram\n')
    done = lint(tmp_path)
    assert done.returncode == 1 and 'hear_nb.audio.decode -> hear_nb.figures' in done.stdout, done.stdout + done.stderr


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The site, built without a warning."
    out = tmp_path_factory.mktemp('site')/'site'
    done = subprocess.run([sys.executable, '-m', 'sphinx', '-q', '-W', '-c', 'docs', '.', out], cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def page(site, notebook): return (site/notebook.relative_to(root)).with_suffix('.html').read_text('utf-8')


def test_every_notebook_is_a_page_that_opens_in_colab_and_downloads(site):
    notebooks = [p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts]
    assert len(notebooks) > 40
    for path in notebooks:
        name, text = path.relative_to(root).as_posix(), page(site, path)
        assert re.search(rf'href="https://colab\.research\.google\.com/github/[^/]+/[^/]+/blob/[^/]+/{name}"', text), name
        assert re.search(rf'href="[./]*_sources/{name}"', text) and (site/'_sources'/name).read_bytes() == path.read_bytes(), name
        assert '#| ' not in text, name


def test_sounds_play(site):
    for path in sorted((root/'nbs/tutorials').glob('*.ipynb')):
        outputs = [o.get('data', {}) for c in nbformat.read(path, 4).cells if c.cell_type == 'code' for o in c.outputs]
        count = sum('<audio' in ''.join(o.get('text/html', '')) for o in outputs)
        assert page(site, path).count('<audio') == count, path.name


def test_nothing_is_fetched_from_elsewhere(site):
    for path in site.rglob('*.html'):
        found = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', path.read_text('utf-8'))
        assert found == [], path.relative_to(site)
