"""Faults on purpose. Without a marker: what takes seconds. `pytest -n 0 -m full -s`: the sizes that nbs/making/04_reliability.ipynb reports."""
import http.server
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from safetensors.numpy import load_file

from properties import check_frontend, check_mask, check_model, check_quantizer, check_stream, check_windows, draw_clips
from hear_nb.data.download import download, unpack

killable = Path(__file__).with_name('killable.py')
quiet = {**os.environ, 'OMP_NUM_THREADS': '1', 'TQDM_DISABLE': '1'}
full = pytest.mark.full


def report(what, **numbers): print(f'\n{what}: ' + ', '.join(f'{v} {k.replace("_", " ")}' for k, v in numbers.items()))


def many(n): return hypothesis.settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))


# Properties

lengths = st.lists(st.integers(1, 30_000), min_size=1, max_size=6)
kinds = st.sampled_from(['noise', 'silence', 'constant', 'click'])


@full
def test_frontend():
    from hear_nb.audio.frontend import Frontend
    frontend = Frontend()
    clips = st.builds(draw_clips, lengths, st.floats(-40, 38), st.integers(0, 2**32), kinds)
    many(1000)(hypothesis.given(clips)(lambda c: check_frontend(frontend, c)))()
    long = st.builds(draw_clips, st.lists(st.integers(1, 16000 * 180), min_size=1, max_size=2), st.floats(-3, 3), st.integers(0, 2**32), kinds)
    many(30)(hypothesis.given(long)(lambda c: check_frontend(frontend, c)))()
    report('frontend', batches=1030)


@full
def test_any_rate():
    from hear_nb.audio.decode import load
    def check(n, rate, channels, seed):
        n = max(n, int(rate * .025) + 1)
        x = load(np.random.default_rng(seed).standard_normal((channels, n)), rate)
        assert x.isfinite().all() and abs(len(x) - n * 16000 / rate) <= 2 + 16000 / rate
    many(500)(hypothesis.given(st.integers(1, 50_000), st.integers(1000, 384_000), st.integers(1, 8), st.integers(0, 2**32))(check))()
    report('load', arrays=500)


@full
def test_windows_masks_quantizer():
    sizes = st.integers(2, 300).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w // 2)))
    frames = st.lists(st.integers(1, 1000), min_size=1, max_size=5)
    many(1000)(hypothesis.given(frames, sizes)(lambda n, s: check_windows([s[0] + k for k in n], *s)))()
    many(1000)(hypothesis.given(frames, st.floats(0, 1), st.integers(1, 40), st.integers(0, 2**31))(check_mask))()
    many(300)(hypothesis.given(st.integers(1, 100), st.floats(-30, 30), st.integers(0, 2**31))(check_quantizer))()
    report('windows, masks, quantizer', windowings=1000, masks=1000, quantizations=300)


@full
def test_model():
    from hear_nb import HEAR
    model = HEAR.from_pretrained('hear-tiny')
    clips = st.builds(draw_clips, st.lists(st.integers(160, 250_000), min_size=1, max_size=3), st.floats(-4, 4), st.integers(0, 2**32), kinds)
    many(100)(hypothesis.given(clips)(lambda c: check_model(model, c)))()
    report('model', batches=100)


@full
def test_stream():
    from hear_nb import HEAR
    model = HEAR.from_pretrained('hear-tiny')
    drawn = st.tuples(st.integers(400, 300_000), st.lists(st.integers(1, 60_000), min_size=1, max_size=8), st.floats(-3, 2), st.integers(0, 2**32), kinds)
    many(60)(hypothesis.given(drawn)(lambda d: check_stream(model, *d)))()
    report('stream', clips=60)


# Damaged files

@full
def test_ten_thousand_damaged_files(tmp_path):
    "Each thousand in a process of its own, so that a crash of a decoder is a number too."
    code = '''
import json, sys
from collections import Counter
from pathlib import Path
from properties import fuzz
print(json.dumps(Counter(f'{o}' for _, _, o in fuzz(1000, int(sys.argv[1]), Path(sys.argv[2])))))
'''
    seen = Counter()
    for seed in range(10):
        (folder := tmp_path / str(seed)).mkdir()
        done = subprocess.run([sys.executable, '-c', code, str(seed), str(folder)], cwd=Path(__file__).parent, env=quiet, check=False,
                              capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f'seed {seed}, file {sorted(p.name for p in folder.iterdir())}: {done.returncode}'
        seen.update(json.loads(done.stdout.splitlines()[-1]))
    report('damaged files', tried=sum(seen.values()), **seen)
    assert set(seen) == {'loaded', 'AudioError'} and sum(seen.values()) == 10_000


# Killed

class Runs:
    "Real processes, forked by one that has imported everything, so that fifty of them cost minutes and not an hour."
    def __init__(self): self.server = subprocess.Popen([sys.executable, killable, '--serve'], env=quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                       stderr=subprocess.DEVNULL, text=True)

    def start(self, folder, steps):
        self.server.stdin.write(f'{folder} {steps}\n')
        self.server.stdin.flush()
        while not (line := self.server.stdout.readline()).startswith('pid '): assert line
        self.pid = int(line.split()[1])

    def lines(self):
        "Yields what the process says, the last is `ended STATUS`."
        for line in self.server.stdout:
            yield line.split()
            if line.startswith('ended'): return

    def finish(self, folder, steps):
        self.start(folder, steps)
        *_, last = self.lines()
        assert last == ['ended', '0'], last


def whole(folder):
    "Asserts that every file that is not a draft can be read to its end. (A history is a log: its last line is cut on resuming.)"
    for path in folder.rglob('*'):
        if 'draft' in str(path.relative_to(folder)) or not path.is_file(): continue
        if path.suffix == '.safetensors': load_file(path)
        elif path.suffix == '.json': json.loads(path.read_text())
        elif path.suffix == '.npz': dict(np.load(path))


def same(a, b):
    for name in ('teacher', 'tokenizer', 'model', 'tuned'): assert (a / name / 'history.csv').read_text() == (b / name / 'history.csv').read_text(), name
    for name in ('tokenizer/tokenizer', 'model', 'tuned'):
        ours, theirs = (load_file(p / name / 'model.safetensors') for p in (a, b))
        assert all(np.array_equal(ours[k], theirs[k]) for k in theirs), name
    assert np.array_equal(*(np.load(p / 'clips.npz')['clip'] for p in (a, b)))


@full
def test_killed_fifty_times(tmp_path):
    steps, rng, killed, runs = 30, random.Random(0), Counter(), Runs()
    runs.finish(undisturbed := tmp_path / 'undisturbed', steps)
    folder, ended = tmp_path / '0', 0
    while sum(killed.values()) < 50:
        runs.start(folder, steps)
        stage, writes, wanted = 'start', 0, rng.randint(1, 8)
        for words in runs.lines():
            writes += words[0] == 'writing'
            if words[0] in ('teacher', 'tokenizer', 'pretrain', 'finetune', 'embed', 'ended'): stage = words[0]
            if writes == wanted or stage == 'embed': break
        aimed = rng.random() < .6  # at the write itself, or anywhere in the step
        time.sleep(rng.random() * (.02 if aimed or stage == 'embed' else .2))
        if stage != 'ended':
            os.kill(runs.pid, signal.SIGKILL)
            *_, last = runs.lines()
            if last == ['ended', '-9']: killed[stage + (' while writing' if aimed and writes == wanted else '')] += 1
        whole(folder)
        if stage in ('embed', 'ended'):
            runs.finish(folder, steps)
            same(folder, undisturbed)
            ended, folder = ended + 1, tmp_path / str(ended + 1)
    runs.finish(folder, steps)
    same(folder, undisturbed)
    runs.server.kill()
    report('killed', **killed, runs_that_ended_equal_to_the_undisturbed=ended + 1)


@full
def test_disk_full(tmp_path):
    "On a small tmpfs, where one may be mounted; otherwise with a limit on the size of a file."
    (disk := tmp_path / 'disk').mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=2028k', 'tmpfs', disk], check=False, capture_output=True).returncode == 0
    def limited():
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if not mounted: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
    try:
        done = subprocess.run([sys.executable, killable, disk, '30'], env=quiet, check=False, capture_output=True, text=True, timeout=600, preexec_fn=limited)
        assert done.returncode == 1 and 'could not be written' in done.stderr and 'Traceback' not in done.stderr, done.stderr[-3000:]
        last = done.stderr.strip().splitlines()[-1]
        whole(disk)
        if mounted:
            kept, = (disk / 'teacher/checkpoints').glob('step-*')
            assert f'the last whole checkpoint is {kept.name}' in last, last
            assert 'No space left' in last or 'enforce fail' in last or 'failed' in last, last
            subprocess.run(['mount', '-o', 'remount,size=100m', disk], check=True)
        after = subprocess.run([sys.executable, killable, disk, '30'], env=quiet, check=False, capture_output=True, text=True, timeout=900)
        assert after.returncode == 0, after.stderr[-3000:]
        report('disk full', **{'tmpfs' if mounted else 'limited file size': last})
    finally:
        if mounted: subprocess.run(['umount', disk], check=False)


# From the network

class Server(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def do_GET(self):
        body = b'x' * 1000
        if self.path.startswith('/away'):
            self.send_response(302)
            here = f'http://{self.headers["Host"]}'
            self.send_header('Location', '/other.zip' if 'home' in self.path else here.replace('127.0.0.1', 'localhost') + '/other.zip')
            self.end_headers()
            return
        self.server.sent.append(self.path)
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[:300] if self.path.startswith('/short') else body)


@pytest.fixture
def sent(): return []


@pytest.fixture
def url(sent):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    server.sent = sent
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


@pytest.mark.parametrize('name', ['wrong.zip', 'short.zip', 'away-home.zip', 'away.zip'])
def test_download_refused(url, sent, tmp_path, name):
    "A wrong checksum, a short read, and a redirect: on the same server to a file with another checksum, and to another server."
    with pytest.raises((ValueError, OSError)) as error: download(f'{url}/{name}', 'sha256:' + 'a' * 64, tmp_path, attempts=2)
    assert name in str(error.value)
    assert [p.name for p in tmp_path.iterdir() if p.suffix != '.part'] == []
    assert bool(sent) == (name != 'away.zip'), 'the other server was asked'


def evil_tar(path, name, kind=tarfile.REGTYPE, link=''):
    with tarfile.open(path, 'w') as t:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
        t.addfile(info, io.BytesIO(b'evil') if info.size else None)
        if kind == tarfile.SYMTYPE:
            inner = tarfile.TarInfo(f'{name}/evil.txt')
            inner.size = 4
            t.addfile(inner, io.BytesIO(b'evil'))


def evil_zip(path, name):
    with zipfile.ZipFile(path, 'w') as z: z.writestr(name, 'evil')


EVIL = [(evil_tar, ('../evil.txt',)), (evil_tar, ('/tmp/hear_nb_evil.txt',)), (evil_tar, ('a/../../evil.txt',)),
        (evil_tar, ('link', tarfile.SYMTYPE, '..')), (evil_tar, ('link', tarfile.SYMTYPE, '/tmp')), (evil_tar, ('hard', tarfile.LNKTYPE, '../secret.txt')),
        (evil_tar, ('dev', tarfile.CHRTYPE)), (evil_zip, ('../evil.txt',)), (evil_zip, ('/tmp/hear_nb_evil.txt',)), (evil_zip, ('a/../../evil.txt',))]


@pytest.mark.parametrize('make, args', EVIL, ids=[f'{m.__name__} {" ".join(map(str, a))}' for m, a in EVIL])
def test_archives_stay_inside(tmp_path, make, args):
    (tmp_path / 'secret.txt').write_text('secret')
    make(archive := tmp_path / 'archive', *args)
    try: unpack(archive, tmp_path / 'out')
    except ValueError as error: assert 'archive' in str(error)
    else: assert args[0].startswith('/'), 'only a leading slash may be dropped instead'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['archive', 'out', 'secret.txt']
    assert not Path('/tmp/hear_nb_evil.txt').exists() and not Path('/tmp/evil.txt').exists()
    assert not any(p.is_symlink() or p.is_block_device() or p.is_char_device() for p in (tmp_path / 'out').rglob('*'))


# For a long time

@full
def test_two_hours_of_stream():
    code = '''
import json, os
import numpy as np
from hear_nb import HEAR
from hear_nb.data import bundled
from hear_nb.model.stream import HearStream
def memory(): return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20
sounds, stream, used, i = bundled(), HearStream(HEAR.from_pretrained('hear-tiny')), [], 0
heard, frames = 0, 0
while heard < 7200 * 16000:
    x = sounds[i % len(sounds)].numpy(); i += 1
    for at in range(0, len(x), 1600): frames += len(stream.push(x[at:at + 1600]))
    heard += len(x)
    if heard // (600 * 16000) > len(used): used.append(memory())
frames += len(stream.finish())
print(json.dumps(dict(used=used, frames=frames, finite=bool(np.isfinite(stream.clip).all()))))
'''
    done = subprocess.run([sys.executable, '-c', code], env=quiet, check=False, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    report('two hours', frames=out['frames'], MiB_every_ten_minutes=[round(m) for m in out['used']])
    assert out['finite'] and out['frames'] >= 7200 * 50 and max(out['used'][1:]) - out['used'][1] < 16
