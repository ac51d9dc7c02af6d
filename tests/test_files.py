"""Embedding many files as people run it: a process that is killed, and several processes."""
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from hear_nb import data

command = 'from hear_nb.commands.embed import embed; import sys; embed(sys.argv[1:-1], output=sys.argv[-1], chunk=8, workers=1)'


@pytest.fixture(scope='module')
def listed(tmp_path_factory):
    "A CSV with 48 bundled sounds and a file that is not there, and what one process makes of it."
    folder = tmp_path_factory.mktemp('files')
    files = [str(f) for f in data.bundled().files[::15][:48]] + ['gone.wav']
    pd.DataFrame(dict(file=files)).to_csv(folder/'list.csv', index=False)
    subprocess.run([sys.executable, '-c', command, folder/'list.csv', folder/'one.parquet'], check=True)
    table = pd.read_parquet(folder/'one.parquet')
    assert [*table.file] == files[:-1]
    return folder/'list.csv', table


def same(path, table):
    "Whether a run came to the same end: each file once, in order."
    found = pd.read_parquet(path)
    assert [*found.file] == [*table.file]
    assert np.abs(np.stack(found.vector) - np.stack(table.vector)).max() < 1e-5
    assert [*pd.read_csv(path.with_name('rejected.csv')).reason] == ['no such file']
    assert not path.with_name(path.name + '.parts').exists()


def test_killed_run_goes_on(listed, tmp_path):
    clips, table = listed
    run = [sys.executable, '-c', command, clips, tmp_path/'out.parquet']
    process = subprocess.Popen(run, start_new_session=True)
    parts = tmp_path/'out.parquet.parts'
    while process.poll() is None and len([*parts.glob('part-*.parquet')]) < 2: time.sleep(.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    made = {p: p.stat().st_mtime_ns for p in parts.glob('part-*.parquet')}
    assert 2 <= len(made) < 7, 'killed too late'
    slow = command.replace('embed(sys', "import hear_nb.commands.embed as f; f._join = lambda *a: sys.exit(3)\nembed(sys")
    assert subprocess.run([sys.executable, '-c', slow, *run[3:]], check=False).returncode == 3
    assert {p: p.stat().st_mtime_ns for p in made} == made  # what was there is not done again
    subprocess.run(run, check=True)
    same(tmp_path/'out.parquet', table)


def test_several_processes(listed, tmp_path):
    clips, table = listed
    (tmp_path/'run.py').write_text(command.replace('; ', '\n'))
    launch = [sys.executable, '-m', 'accelerate.commands.launch', '--cpu', '--num_processes', '2', tmp_path/'run.py']
    done = subprocess.run([*launch, clips, tmp_path/'out.parquet'], check=True, capture_output=True, text=True)
    assert done.stdout.count('48 clips are in') == 1
    same(tmp_path/'out.parquet', table)
