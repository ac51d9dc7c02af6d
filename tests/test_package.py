"""The package as others get it: quick to import, and whole without the checkout."""
import csv
import os
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

root = Path(__file__).parents[1]


def python(code, cwd, exe=sys.executable):
    "Runs code in a fresh process that sees only what is installed, and returns what it prints."
    done = subprocess.run([exe, '-I', '-c', code], cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light(tmp_path):
    code = '''
import sys, time, warnings
warnings.simplefilter('error')
start = time.perf_counter()
import hear_nb
seconds = time.perf_counter() - start
assert seconds < 3, f'{seconds:.1f} s'
warnings.resetwarnings()
hear_nb.HEAR
heavy = {'matplotlib', 'umap', 'IPython', 'ipywidgets', 'jupyterlab', 'transformers'} & sys.modules.keys()
assert not heavy, heavy
'''
    python(code, tmp_path)


def settings():
    "Returns settings.ini as the metadata it should become."
    parser = ConfigParser(delimiters=['='])
    parser.read(root/'settings.ini', encoding='utf-8')
    cfg = parser['DEFAULT']
    lines = lambda key: cfg[key].strip().split('\n')
    requires = lines('requirements')
    for extra in [key.removesuffix('_requirements') for key in cfg if key.endswith('_requirements')]:
        requires += [f'{line}; extra == "{extra}"' for line in lines(f'{extra}_requirements')]
    return {'Name': cfg['name'], 'Version': cfg['version'], 'Summary': cfg['description'], 'Author': cfg['author'],
            'License-Expression': cfg['license'], 'Requires-Python': f'>={cfg["min_python"]}',
            'Requires-Dist': {str(Requirement(line)) for line in requires}}


def found(metadata):
    "Returns the same fields of a distribution."
    return {key: {str(Requirement(line)) for line in metadata.get_all(key)} if key == 'Requires-Dist' else metadata[key]
            for key in settings()}


def test_installed_metadata():
    assert found(distribution('hear_nb').metadata) == settings(), 'run pip install -e ".[dev]" again'


def test_installed_tutorials(tmp_path):
    folder = python("from importlib.resources import files; print(files('hear_nb.tutorials'))", tmp_path).strip()
    assert names(Path(folder).glob('*.ipynb')) == names((root/'nbs/tutorials').glob('*.ipynb'))


def names(paths): return sorted(p.name for p in paths)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "A wheel, built from a source distribution, so that both are whole. Leftovers in the checkout have no part in it."
    tmp = tmp_path_factory.mktemp('build')
    leftovers = [line.strip('/') for line in (root/'.gitignore').read_text().split()]
    shutil.copytree(root, tmp/'tree', ignore=shutil.ignore_patterns('.git', *leftovers))
    done = subprocess.run([sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp, tmp/'tree'],
                          check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(tmp.glob('*.whl'))


def test_wheel_holds_everything(wheel):
    with zipfile.ZipFile(wheel) as z:
        held = set(z.namelist())
        info = next(name for name in held if name.endswith('.dist-info/METADATA'))
        metadata = message_from_bytes(z.read(info))
        licence = z.read(info.replace('METADATA', 'licenses/LICENSE')).decode()
    assert found(metadata) == settings()
    assert re.match(r'\s*Apache License\s+Version 2\.0', licence)

    package = root/'hear_nb'
    with open(package/'bundled/sounds.csv', encoding='utf-8') as f: sounds = [row['file'] for row in csv.DictReader(f)]
    wanted = {f'hear_nb/bundled/{file}' for file in sounds} | {'hear_nb/bundled/sounds.csv'}
    shipped = [('.', '*.py'), ('.', 'py.typed'), ('bundled/LICENSES', '*'), ('weights', '*')]
    for folder, pattern in [*shipped, ('viz', '*.js'), ('viz', '*.css'), ('viz', '*.html')]:
        wanted |= {p.relative_to(root).as_posix() for p in (package/folder).rglob(pattern) if p.is_file()}
    wanted |= {f'hear_nb/tutorials/{p.name}' for p in (root/'nbs/tutorials').glob('*.ipynb')}
    assert len(sounds) >= 400
    assert sorted(wanted - held) == []


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    "The scripts of a new environment with the wheel, and with this one's packages but not its editable installs."
    env = tmp_path_factory.mktemp('env')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', env], check=True)
    scripts = env/('Scripts' if os.name == 'nt' else 'bin')
    # The .pth files of a folder that a .pth file names are not read: that leaves the checkout out.
    site = python('import sysconfig; print(sysconfig.get_path("purelib"))', env, scripts/'python').strip()
    Path(site, 'packages.pth').write_text('\n'.join(p for p in sys.path if p.endswith('-packages')))
    pip = [sys.executable, '-m', 'pip', '--python', scripts/'python', 'install', '-q', '--no-deps', '--no-index']
    subprocess.run([*pip, wheel], check=True)
    return scripts


def test_wheel_works_without_the_checkout(installed, tmp_path):
    code = f'''
import torch, hear_nb
from importlib.resources import files
from pathlib import Path
assert Path(hear_nb.__file__).is_relative_to({str(installed.parent)!r}), hear_nb.__file__
data = hear_nb.data.bundled()
assert len(data) >= 400
x = data[0]
model = hear_nb.HEAR(hear_nb.HearConfig.tiny()).eval()
with torch.no_grad(): y = model(x[None])
assert x.ndim == 1 and len(x) and y.shape[0] == 1 and y.isfinite().all()
print(*sorted(p.name for p in files('hear_nb.tutorials').iterdir() if p.name.endswith('.ipynb')))
'''
    assert python(code, tmp_path, installed/'python').split() == names((root/'nbs/tutorials').glob('*.ipynb'))


def test_command_line_of_the_wheel(installed, tmp_path):
    done = subprocess.run([installed/'hear-nb', '--help'], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0 and 'demo' in done.stdout, done.stderr
