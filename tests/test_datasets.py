"""The authors' layouts, read from disk and from a server on this machine; and the paper's table, run on miniatures."""
import hashlib
import http.server
import io
import json
import subprocess
import sys
import tarfile
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from hear_nb.data.benchmarks import COLLECTIONS, FSDD_SAMPLES, samples_digest
from hear_nb.data.read import open_dataset
from hear_nb.commands.evaluate import recipe, RECIPES
from hear_nb.evaluation.protocol import measure

root = Path(__file__).parents[1]
shared = (root / '../shared/data').resolve()  # real recordings, where somebody has put them beside the checkout
needs_shared = pytest.mark.skipif(not shared.is_dir(), reason='no ../shared/data with ESC-10 and FSDD')


@needs_shared
def test_esc10():
    data = open_dataset('esc10', str(shared / 'esc10'))
    assert len(data) == 400 and data.table.label.nunique() == 10
    assert [(fold, train.sum(), test.sum()) for fold, train, test in data.splits()] == [(str(k), 320, 80) for k in range(1, 6)]
    assert data.table.groupby('source').fold.nunique().max() == 1, 'a recording is in two folds'
    assert abs(len(data[0]) - 5 * 16_000) < 160
    assert len(open_dataset(shared / 'esc10')) == 400  # recognised by its layout


@needs_shared
def test_fsdd():
    data = open_dataset('fsdd', str(shared / 'fsdd'))
    assert len(data) == 3000 and data.table.label.nunique() == 10
    splits = data.splits()
    assert len(splits) == 6 and all(test.sum() == 500 for _, _, test in splits)
    assert all(set(data.table.speaker[test]) == {speaker} and speaker not in set(data.table.speaker[train]) for speaker, train, test in splits)
    assert (data.table.split == 'test').sum() == 300  # the authors' own split
    assert samples_digest(data) == FSDD_SAMPLES


@needs_shared
def test_probe_on_real_folds():
    "Two folds of ESC-10: far above chance, and the same whatever the order of the clips."
    data = open_dataset('esc10', str(shared / 'esc10'))
    some = data.where(data.table.fold.isin(['1', '2']))
    result = measure(some, 'label', 'log-mel statistics')
    assert .5 < result.row()['accuracy'] < .95 and result.row()['folds'] == 2
    mixed = some.where(np.ones(len(some), bool))
    mixed.table = mixed.table.sample(frac=1, random_state=0).reset_index(drop=True)
    assert abs(measure(mixed, 'label', 'log-mel statistics').row()['accuracy'] - result.row()['accuracy']) < .03


def noise(path, seconds=.5, rate=16_000, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.random.default_rng((seed, len(str(path.name)))).normal(0, .1, int(seconds * rate)), rate)


def esc50(folder):
    rows = ['filename,fold,target,category,esc10,src_file,take']
    for n in range(10):
        name = f'{n % 5 + 1}-{1000 + n}-A-{n // 5}.wav'
        noise(folder / 'audio' / name, 1, 44_100, n)
        rows.append(f'{name},{n % 5 + 1},{n // 5},{("dog", "rain")[n // 5]},True,{1000 + n},A')
    (folder / 'meta').mkdir()
    (folder / 'meta/esc50.csv').write_text('\n'.join(rows) + '\n')


def speech_commands(folder):
    lists = {'validation': [], 'testing': []}
    for n, word in enumerate(('yes', 'no', 'bed')):
        for speaker, into in (('0a', None), ('0b', None), ('0c', 'validation'), ('0d', 'testing')):
            name = f'{word}/{speaker}7700{n}_nohash_0.wav'
            noise(folder / name, 1, seed=n)
            if into: lists[into].append(name)
    for name, files in lists.items(): (folder / f'{name}_list.txt').write_text('\n'.join(files) + '\n')
    noise(folder / '_background_noise_/pink_noise.wav', 5)


def twelve(folder):
    for n, name in enumerate(('_silence_', '_unknown_', 'yes', 'no')): noise(folder / name / f'{n}.wav', 1, seed=n)


def voxceleb1(folder):
    lines = []
    for speaker in ('id10001', 'id10002'):
        for k, video in ((1, 'aaa'), (1, 'bbb'), (2, 'ccc'), (3, 'ddd')):
            noise(folder / 'wav' / speaker / video / '00001.wav', 1, seed=k)
            lines.append(f'{k} {speaker}/{video}/00001.wav')
    (folder / 'iden_split.txt').write_text('\n'.join(lines) + '\n')


def packed(make, folder, kind, top=''):
    "An archive of a miniature, as its authors pack it."
    make(folder)
    archive = folder.with_suffix('.zip' if kind == 'zip' else '.tar.gz')
    if kind == 'zip':
        with zipfile.ZipFile(archive, 'w') as z:
            for p in sorted(folder.rglob('*')): z.write(p, f'{top}/{p.relative_to(folder)}')
    else:
        with tarfile.open(archive, 'w:gz') as t: t.add(folder, './')
    return archive.read_bytes()


@pytest.fixture
def server(monkeypatch, tmp_path):
    "A server that breaks each download off once. Gives: (name, content) -> URL; the first bytes that were asked for are in `asked`."
    held, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = held.get(self.path)
            if content is None: return self.send_error(404)
            start = int(self.headers.get('Range', 'bytes=0-')[6:].rstrip('-'))
            asked.append((self.path, start))
            self.send_response(206)
            self.send_header('Content-Length', len(content) - start)
            self.end_headers()
            self.wfile.write(content[start: start + max(len(content) // 2 + 1, 2**17)])  # less would never get on

        def log_message(self, *_): pass

    running = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv('HEAR_NB_DATA', str(tmp_path / 'cache'))

    def serve(name, content):
        held[f'/{name}'] = content
        return f'http://127.0.0.1:{running.server_port}/{name}'
    yield serve, asked
    running.shutdown()
    running.server_close()


def offered(monkeypatch, server, name, content, ending):
    "Lets the card of a collection point at the server."
    url = server[0](f'{name}.{ending}', content)
    monkeypatch.setattr(COLLECTIONS[name], 'archives', {url: 'sha256:' + hashlib.sha256(content).hexdigest()})


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    from hear_nb import HEAR, HearConfig
    from hear_nb.config import EncoderConfig, TaskConfig
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('model')
    HEAR(HearConfig(EncoderConfig(width=16, ffn=16, layers=1, heads=2), TaskConfig(width=16, ffn=16, hidden=8, heads=2))).save_pretrained(folder)
    return str(folder)


def test_download_is_resumed_checked_and_kept(monkeypatch, server, tmp_path):
    offered(monkeypatch, server, 'esc50', packed(esc50, tmp_path / 'esc', 'zip', 'ESC-50-master'), 'zip')
    data = open_dataset('esc50')
    starts = [start for _, start in server[1]]
    assert len(data) == 10 and len(starts) > 1 and starts[0] == 0 and starts == sorted(set(starts))  # each time where it had stopped
    assert len(open_dataset('esc10')) == 10 and len(server[1]) == len(starts)  # it is there
    assert not list((tmp_path / 'cache/downloads').iterdir())


def test_changed_download_is_refused(monkeypatch, server, tmp_path):
    offered(monkeypatch, server, 'esc50', packed(esc50, tmp_path / 'esc', 'zip', 'ESC-50-master'), 'zip')
    url, = COLLECTIONS['esc50'].archives
    monkeypatch.setattr(COLLECTIONS['esc50'], 'archives', {url: 'sha256:' + '0' * 64})
    with pytest.raises(ValueError, match='hash'): open_dataset('esc50')
    assert not (tmp_path / 'cache/esc50').exists()


def test_two_processes_fetch_at_once(monkeypatch, server, tmp_path):
    "One of them downloads, the other waits for it."
    offered(monkeypatch, server, 'esc50', packed(esc50, tmp_path / 'esc', 'zip', 'ESC-50-master'), 'zip')
    code = f"""
import pooch, requests, tqdm.auto
from hear_nb.data import benchmarks
benchmarks.COLLECTIONS['esc50'].archives = {COLLECTIONS['esc50'].archives}
print('ready', flush=True)
input()
print(len(benchmarks.esc50()))"""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    both = [subprocess.Popen([sys.executable, '-c', code], cwd=root, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ['ready\n'] * 2
    for process in both: print(file=process.stdin, flush=True)
    for process in both:
        out, err = process.communicate(timeout=120)
        assert out == '10\n', err
    starts = [start for _, start in server[1]]
    assert len(starts) > 1 and starts == sorted(set(starts)), 'both have downloaded'


def test_archive_that_writes_outside_is_refused(monkeypatch, server, tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w:gz') as t: t.addfile(tarfile.TarInfo('../../escaped'))
    offered(monkeypatch, server, 'speech_commands_v2', file.getvalue(), 'tar.gz')
    with pytest.raises(ValueError, match='outside'): open_dataset('speech_commands_v2')
    assert not list(tmp_path.rglob('escaped')) and not (tmp_path / 'cache/speech_commands_v2').exists()


def test_nothing_is_downloaded_at_import(tmp_path):
    code = f'import os; os.environ["HEAR_NB_DATA"] = {str(tmp_path / "cache")!r}; import socket; socket.socket.connect = None; import hear_nb.data.benchmarks'
    subprocess.run([sys.executable, '-c', code], check=True, cwd=root)
    assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize('column', RECIPES)
def test_recipe(column, monkeypatch, server, tmp_path, tiny, capsys):
    "Every column of the paper's table, from its authors' archive or layout to the JSON."
    own = ''
    if column == 'ESC-50': offered(monkeypatch, server, 'esc50', packed(esc50, tmp_path / 'esc', 'zip', 'ESC-50-master'), 'zip')
    elif column == 'VoxCeleb1': voxceleb1(own := tmp_path / 'vox')
    else:
        name = RECIPES[column]['data']
        offered(monkeypatch, server, name.removesuffix('_12'), packed(speech_commands, tmp_path / 'gsc', 'tar'), 'tar.gz')
        if name.endswith('_12'): offered(monkeypatch, server, name, packed(twelve, tmp_path / 'test', 'tar'), 'tar.gz')
    output = tmp_path / 'out.json'
    recipe(column, tiny, str(own), output=str(output), steps=2, alone=column != 'VoxCeleb1')
    results = json.loads(output.read_text())
    printed = capsys.readouterr().out
    assert results[0]['method'] == tiny and 'the paper says of HEAR' in printed and '95 % interval' in printed
    assert len(results) == (4 if column == 'VoxCeleb1' else 1)
    assert (results[0]['folds'], results[0]['clips']) == {'ESC-50': (5, 10), 'GSC v1': (1, 4), 'GSC v2': (1, 3), 'VoxCeleb1': (1, 2)}[column]
    assert np.sum(results[0]['confusion']) == results[0]['clips'] == sum(c['clips'] for c in results[0]['per_class'].values())
    assert list(tmp_path.glob('out.runs/label/model/fold-*/model.safetensors')), 'the fine-tuned models are not kept'


def test_runs_of_another_model_are_not_gone_on_with(tmp_path, tiny):
    from hear_nb import HEAR
    from hear_nb.commands.evaluate import evaluate
    voxceleb1(tmp_path / 'vox')
    args = dict(protocol='finetune', output=str(tmp_path / 'out.json'), alone=True, steps=1, batch_size=2, seconds=1.)
    evaluate(tiny, tmp_path / 'vox', **args)
    evaluate(tiny, tmp_path / 'vox', **args)  # it is there
    other = HEAR.from_pretrained(tiny)
    with torch.no_grad(): other.head.hidden.bias += 1
    with pytest.raises(ValueError, match='starting weights'): evaluate(other, tmp_path / 'vox', **args)


@pytest.mark.parametrize('protocol', ['linear', 'knn'])
def test_several_classes_a_clip(protocol, tmp_path, tiny):
    "AudioSet: the authors' lists, clips that are missing, mean average precision, from the folder and from shards of it."
    from hear_nb import HEAR
    from hear_nb.commands.shard import shard
    head = '# Segments csv\n# num_ytids=8\n# YTID, start_seconds, end_seconds, positive_labels\n'
    for part, count in (('balanced_train', 8), ('eval', 5)):
        lines = [f'{part[:3]}{n:08d}, 0.000, 10.000, "{"/m/a,/m/b" if n % 3 == 0 else "/m/a" if n % 3 == 1 else "/m/b"}"' for n in range(count)]
        (tmp_path / f'{part}_segments.csv').write_text(head + '\n'.join(lines) + '\n')
        for n in range(count - (part == 'eval')): noise(tmp_path / 'clips' / f'Y{part[:3]}{n:08d}.wav', 1, seed=n)
    (tmp_path / 'class_labels_indices.csv').write_text('index,mid,display_name\n0,/m/a,"Hum, buzz"\n1,/m/b,"Rain"\n')
    with pytest.warns(UserWarning, match='1 of 13 listed clips are missing'): data = open_dataset(tmp_path)
    result = measure(data, 'label', HEAR.from_pretrained(tiny), protocol=protocol)
    row = result.row()
    assert result.classes == ['Hum, buzz', 'Rain'] and row['clips'] == 4 and 0 <= row['low'] <= row['mAP'] <= row['high'] <= 1
    assert result.as_json()['per_class']['Rain']['clips'] == 3
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        shard(str(tmp_path), str(tmp_path / 'packed'), clips=5)
    again = measure(open_dataset(tmp_path / 'packed'), 'label', HEAR.from_pretrained(tiny), protocol=protocol)
    assert again.classes == result.classes and len(again.y) == 4 and abs(again.row()['mAP'] - row['mAP']) < .2
