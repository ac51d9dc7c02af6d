"""Work that is not lost: what was interrupted goes on as if it had not been, and what is wrong is refused before anything is written."""
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch

from hear_nb import HEAR, AcousticTokenizer, AudioError, HearConfig
from hear_nb.commands.clips import find_clips
from hear_nb.commands.embed import embed, tokenize
from hear_nb.commands.shard import shard
from hear_nb.config import EncoderConfig, TaskConfig, TokenizerConfig
from hear_nb.data import Dataset, from_folder, open_dataset
from hear_nb.data.dataset import ClipCache
from hear_nb.data.sampling import StepSampler, TrainingClips


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    small = dict(width=16, ffn=16, layers=1, heads=2)
    config = HearConfig(EncoderConfig(**small), TaskConfig(width=16, ffn=16, hidden=8, heads=2), TokenizerConfig(EncoderConfig(**small), codes=8))
    folder = tmp_path_factory.mktemp('model')
    HEAR(config).save_pretrained(folder)
    AcousticTokenizer(config).save_pretrained(folder / 'tokenizer')
    return str(folder)


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('s').mkdir()
    for n in range(5): noise(f's/{n}.wav', n)
    return tmp_path


def noise(path, seed=0, seconds=.5): sf.write(path, np.random.default_rng(seed).normal(0, .1, int(seconds * 16_000)), 16_000)


def stopping(function, at):
    "Returns the function, which is interrupted when it is called for the `at`th time."
    calls = []
    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == at: raise KeyboardInterrupt
        return function(*args, **kwargs)
    return call


# What is named twice is there twice

twice = ['s/0.wav', 's/1.wav', 's/0.wav', 's/bad.wav', 's/2.wav', 's/0.wav', 's/bad.wav', 's/2.wav']
kept = [f for f in twice if 'bad' not in f]


@pytest.mark.parametrize('at', range(1, 7))
def test_tokenize_resumes(sounds, tiny, monkeypatch, at):
    Path('s/bad.wav').write_text('no sound')
    tokenize(twice, tiny, 'whole.jsonl')
    with monkeypatch.context() as m:
        m.setattr(AcousticTokenizer, 'encode', stopping(AcousticTokenizer.encode, at))
        with pytest.raises(KeyboardInterrupt): tokenize(twice, tiny, 'resumed.jsonl')
    assert tokenize(twice, tiny, 'resumed.jsonl') == 1
    assert Path('resumed.jsonl').read_text() == Path('whole.jsonl').read_text()
    assert [json.loads(line)['file'] for line in open('whole.jsonl')] == kept
    assert sorted(p.name for p in sounds.iterdir()) == ['resumed.jsonl', 's', 'whole.jsonl']


@pytest.mark.parametrize('at', (1, 2, 4))
def test_embed_resumes(sounds, tiny, monkeypatch, at):
    from hear_nb.commands import embed as files
    from hear_nb.runs import Interrupted
    Path('s/bad.wav').write_text('no sound')
    embed(twice, tiny, 'whole.parquet', chunk=2, workers=0)
    with monkeypatch.context() as m:
        m.setattr(files, '_embed_chunk', stopping(files._embed_chunk, at))
        with pytest.raises(Interrupted): embed(twice, tiny, 'resumed.parquet', chunk=2, workers=0)
    assert embed(twice, tiny, 'resumed.parquet', chunk=2, workers=0) == 1
    whole, resumed = pd.read_parquet('whole.parquet'), pd.read_parquet('resumed.parquet')
    assert resumed.file.tolist() == whole.file.tolist() == kept
    assert np.array_equal(np.stack(whole.vector), np.stack(resumed.vector))
    rejected = pd.read_csv('rejected.csv')
    assert rejected[rejected.output == 'resumed.parquet'].file.tolist() == ['s/bad.wav'] * 2


def test_shard_resumes(sounds, monkeypatch):
    from hear_nb.commands import shard as shards
    Path('list.csv').write_text('file,label\n' + ''.join(f'{f},x\n' for f in kept))
    shard('list.csv', 'whole', clips=2)
    with monkeypatch.context() as m:
        m.setattr(shards, 'write_shard', stopping(shards.write_shard, 2))
        with pytest.raises(KeyboardInterrupt): shard('list.csv', 'resumed', clips=2)
    shard('list.csv', 'resumed', clips=2)
    assert all((Path('resumed') / p.name).read_bytes() == p.read_bytes() for p in Path('whole').iterdir())
    assert sorted(open_dataset('resumed').table.recording) == sorted(kept)


# What was rejected is fed back

def test_rejected_is_fed_back(sounds, tiny):
    "Files, pieces and members of a tar, from another folder, once they are mended."
    import tarfile
    Path('out').mkdir()
    noise('whole.wav', 7, 1.)
    for name in ('s/b.wav', 's/cut.wav'): Path(name).write_text('half copied')
    Path('pieces.csv').write_text('file,start,end\ns/0.wav,.1,.2\ns/cut.wav,.1,.3\ns/cut.wav,.2,\n')
    with tarfile.open('x.tar', 'w') as t:
        for name in ('s/1.wav', 's/b.wav'): t.add(name)
    paths = ['s/b.wav', 'pieces.csv', 'x.tar', str(sounds / 's/cut.wav')]
    assert embed(paths, tiny, 'out/v.parquet', workers=0) == 1
    assert len(pd.read_parquet('out/v.parquet')) == 2
    for name in ('s/b.wav', 's/cut.wav'): shutil.copy('whole.wav', name)
    with tarfile.open('x.tar', 'w') as t:
        for name in ('s/1.wav', 's/b.wav'): t.add(name)
    assert embed(['out/rejected.csv'], tiny, 'out/again.parquet', workers=0) == 0
    again = pd.read_parquet('out/again.parquet')
    assert again.seconds.astype(float).round(2).tolist() == [1., .2, .8, 1., 1.]
    assert [os.path.relpath(f, sounds) for f in again.file] == ['s/b.wav', 's/cut.wav#t=0.1,0.3', 's/cut.wav#t=0.2', 'x.tar/s/b.wav', 's/cut.wav']
    assert tokenize(['out/rejected.csv'], tiny, 'again.jsonl') == 0
    shutil.move('out', 'elsewhere')  # one level as deep: the paths still lead there
    os.chdir('elsewhere')
    assert len(find_clips('rejected.csv')[0]) == 5 and all(c.size for c in find_clips('rejected.csv')[0])


def test_mended_clips_are_packed(sounds):
    Path('bad').mkdir()
    for n in range(3): Path(f'bad/{n}.wav').write_text('no sound')
    with pytest.raises(AudioError, match='none of 3 clips'): shard('bad', 'packed', clips=2)
    for n in range(3): noise(f'bad/{n}.wav', n)
    assert shard('bad', 'packed', clips=2) == 0 and len(open_dataset('packed')) == 3


# Nothing blocks the right call

def test_a_plan_without_work_blocks_nothing(sounds, tiny, monkeypatch):
    "A run that was stopped before anything was done, and then is asked for otherwise."
    from hear_nb.commands import embed as files, shard as shards
    from hear_nb.runs import Interrupted
    for module, name, error, call, other in (
            (files, '_embed_chunk', Interrupted, lambda: embed('s', tiny, 'v.parquet', workers=0), lambda: embed('s/0.wav', tiny, 'v.parquet', workers=0)),
            (AcousticTokenizer, 'encode', KeyboardInterrupt, lambda: tokenize('s', tiny, 't.jsonl'), lambda: tokenize('s/0.wav', tiny, 't.jsonl')),
            (shards, 'write_shard', KeyboardInterrupt, lambda: shard('s', 'p', clips=2), lambda: shard('s', 'p', clips=3))):
        with monkeypatch.context() as m:
            m.setattr(module, name, stopping(getattr(module, name), 1))
            with pytest.raises(error): call()
        assert not other()


def test_work_of_another_plan_is_kept(sounds, tiny, monkeypatch):
    from hear_nb.commands import embed as files, shard as shards
    from hear_nb.runs import Interrupted
    for module, name, error, call, other in (
            (files, '_embed_chunk', Interrupted, lambda: embed('s', tiny, 'v.parquet', chunk=1, workers=0),
             lambda: embed('s/0.wav', tiny, 'v.parquet', chunk=1, workers=0)),
            (AcousticTokenizer, 'encode', KeyboardInterrupt, lambda: tokenize('s', tiny, 't.jsonl'), lambda: tokenize('s/0.wav', tiny, 't.jsonl')),
            (shards, 'write_shard', KeyboardInterrupt, lambda: shard('s', 'p', clips=2), lambda: shard('s', 'p', clips=3))):
        with monkeypatch.context() as m:
            m.setattr(module, name, stopping(getattr(module, name), 2))
            with pytest.raises(error): call()
        with pytest.raises(ValueError): other()
        assert not call()


# Memory that stays bounded

def test_the_oldest_clips_make_room():
    decoded = []
    def decode(n): decoded.append(n); return torch.zeros(100)  # 400 bytes
    cache = ClipCache(1000)
    for n in (0, 1, 0, 2, 0, 1): cache.get(n, lambda: decode(n))
    assert (decoded, [*cache.clips], cache.bytes) == ([0, 1, 2, 1], [0, 1], 800)  # 1 was the oldest when 2 came
    cache.get(9, lambda: torch.zeros(1000))  # larger than all there is room for
    assert cache.bytes <= 1000
    empty = ClipCache(0)
    assert len(empty.get(0, lambda: torch.zeros(7))) == 7 and not len(empty)


def test_a_dataset_stays_within_its_bound(sounds):
    data = from_folder('s')
    data.memory.limit = 3 * 8000 * 4
    for _ in range(3):
        for i in range(5): assert len(data[i]) == 8000
    assert data.memory.bytes == data.memory.limit and len(data.memory) == 3
    part = data.where(np.array([True, False, False, False, True]))
    assert part.memory is data.memory and part[1] is data[4]
    import pickle
    again = pickle.loads(pickle.dumps(data))
    assert (len(again.memory), again.memory.limit) == (0, data.memory.limit) and again[0].equal(data[0])


def test_another_folder_is_not_taken_for_it(sounds):
    from dataclasses import replace
    Path('other').mkdir(); noise('other/0.wav', 99)
    data = from_folder('s')
    assert not data[0].equal(replace(data, root=Path('other'))[0])


class Telling(Dataset):
    "Tells how much is kept, in the place of a waveform."
    def __getitem__(self, i):
        super().__getitem__(i)
        return torch.tensor([float(self.memory.bytes)] * 400)


def test_workers_share_the_bound(sounds):
    data = from_folder('s')
    told = Telling(data.table, data.root)
    told.memory.limit = 4 * 8000 * 4
    loader = torch.utils.data.DataLoader(
        TrainingClips(told), batch_sampler=StepSampler(5, 1, 20), num_workers=2,
        collate_fn=lambda batch: batch[0][0][0].item())
    assert max(loader) == 2 * 8000 * 4  # each has its half
