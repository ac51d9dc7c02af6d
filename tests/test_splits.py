"""Honest splits and labels: nothing is heard on both sides, and what looks like one class is one class."""
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from hear_nb import AudioError
from hear_nb.commands.shard import shard
from hear_nb.data import Dataset, from_csv, from_folder, from_frame, open_dataset
from hear_nb.data.shards import open_shards

nfc, nfd = (lambda text, form=form: unicodedata.normalize(form, text) for form in ('NFC', 'NFD'))


def noise(path, seed=0, seconds=.1, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.random.default_rng(seed).normal(0, .1, int(seconds * 16_000)), 16_000, **options)
    return path


def listed(folder, text, name='list.csv', **options):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return from_csv(folder / name, **options)


def both_sides(data, keys, column='label', seeds=range(12)):
    "Returns the keys (one a clip) that stand on both sides of any of the drawn splits."
    found, keys = set(), np.asarray(keys)
    for seed in seeds:
        (_, train, test), = data.splits(column, seed=seed)
        assert test.any() and train.any() and not (train & test).any()
        found |= {*keys[train]} & {*keys[test]}
    return found


@pytest.fixture
def twenty(tmp_path):
    "Twenty recordings, two classes."
    for n in range(20): noise(tmp_path / 'ab'[n % 2] / f'{n:02d}.wav', n)
    return tmp_path


def test_pieces_stay_together(twenty):
    rows = [f'{"ab"[n % 2]}/{n:02d}.wav,{s},{s + .025},{"ab"[n % 2]}' for n in range(20) for s in (0, .025, .05)]
    data = listed(twenty, '\n'.join(['file,start,end,label', *rows]))
    assert not both_sides(data, data.table.file)
    train, test = data.held_out()
    assert test.table.file.nunique() == 5 and len(test) == 15  # a quarter of the recordings, and all of their pieces


def test_a_file_by_several_names(twenty):
    "Named twice, through a folder and back, through a link, and by an absolute path."
    os.symlink('a/00.wav', twenty / 'link.wav')
    rows = [f'{"ab"[n % 2]}/{n:02d}.wav' for n in range(20)]
    more = ['a/00.wav', 'a/../a/00.wav', './a/00.wav', 'link.wav', str(twenty / 'a/00.wav')]
    data = listed(twenty, '\n'.join(['file,label', *(f'{f},x' for f in rows + more)]))
    assert not both_sides(data, [*range(20), *[0] * 5])


@pytest.mark.parametrize('how', ['bytes', 'ending'])
def test_copies_stay_together(twenty, how):
    "The same bytes in another class's folder, and the same name with another ending."
    number = [*range(20)]
    for n in range(0, 20, 4):
        source = twenty / 'ab'[n % 2] / f'{n:02d}.wav'
        if how == 'bytes': shutil.copy(source, twenty / 'b' / f'x{n:02d}.wav')
        else: sf.write(source.with_suffix('.flac'), *sf.read(source))
        number.append(n)
    data = from_folder(twenty)
    assert len(data) == 25
    assert not both_sides(data, [f.stem.removeprefix('x') for f in data.files])


@pytest.mark.parametrize('column', ['recording', 'group'])
def test_a_column_says_it(twenty, column):
    table = from_folder(twenty).table.assign(**{column: [f's{n // 4}' for n in range(20)]})
    assert not both_sides(from_frame(table, twenty), table[column])
    table[column] = [f's{n // 4}' if n % 2 else '' for n in range(20)]  # of some it is not known: they stand for themselves
    data = from_frame(table, twenty)
    assert not both_sides(data, table[column].where(table[column] != '', table.file))
    assert len(set(data.recordings())) == 15
    assert len(data.held_out(column)[1]) > 0  # it can be what is to be predicted, and then it groups nothing


def test_one_leads_to_another(twenty):
    "a is a copy of b, and b is of c's session: the three are one."
    shutil.copy(twenty / 'a/00.wav', twenty / 'a/copy.wav')
    table = from_folder(twenty).table
    names = [Path(f).stem for f in table.file]
    table['group'] = ['s' if name in ('copy', '01') else '' for name in names]
    assert not both_sides(from_frame(table, twenty), ['one' if name in ('00', '01', 'copy') else name for name in names])


def test_unlabelled_pieces_are_held_out_with_their_recording(twenty):
    rows = [f'{"ab"[n % 2]}/{n:02d}.wav,{s},{s + .025},{label}' for n in range(20) for s, label in ((0, 'ab'[n % 2]), (.05, ''))]
    data = listed(twenty, '\n'.join(['file,start,end,label', *rows]))
    assert not both_sides(data, data.table.file)


def test_recordings_of_several_classes():
    "What is asked about has been learned, however the classes lie in the recordings; a class of one recording is learned from."
    for seed in range(40):
        rng = np.random.default_rng(seed)
        files = [f'{n}.wav' for n in rng.integers(0, 12, 80)]
        labels = rng.choice([*'abcdefgh'], 80, p=[.3, .2, .2, .1, .1, .05, .03, .02])
        table = pd.DataFrame(dict(file=files, label=labels))
        data = Dataset(table, Path('nowhere'))
        train, test = data.held_out(seed=seed)
        assert not set(train.table.file) & set(test.table.file) and len(test)
        assert set(test.table.label) <= set(train.table.label)


def test_one_recording_a_class_cannot_be_split(tmp_path):
    table = pd.DataFrame(dict(file=[f'{n // 10}.wav' for n in range(30)], label=[str(n // 10) for n in range(30)]))
    with pytest.raises(ValueError, match='two recordings'): Dataset(table, tmp_path).held_out()


def test_single_clips_are_drawn_as_ever():
    "Where each clip is a recording, the split is that of earlier versions: results stay comparable."
    data = Dataset(pd.DataFrame(dict(file=[f'{n}.wav' for n in range(12)], label=[*'aaaaaabbbbbb'])), Path('nowhere'))
    from sklearn.model_selection import train_test_split
    expected = train_test_split(np.arange(12), test_size=3, random_state=0, stratify=data.table.label)[1]
    assert sorted(np.flatnonzero(data.splits()[0][2])) == sorted(expected)


@pytest.mark.parametrize('how', ['pieces', 'copies'])
def test_shards_know_their_recordings(twenty, how, capsys):
    if how == 'copies':
        for n in range(8): shutil.copy(twenty / 'ab'[n % 2] / f'{n:02d}.wav', twenty / 'a' / f'x{n:02d}.wav')
        source = twenty
    else:
        rows = [f'{"ab"[n % 2]}/{n:02d}.wav,{s},{s + .03},{"ab"[n % 2]}' for n in range(20) for s in (0, .03)]
        source = twenty / 'pieces.csv'
        source.write_text('\n'.join(['file,start,end,label', *rows]))
    shard(str(source), str(twenty / 'packed'), clips=7)
    data = open_dataset(twenty / 'packed')
    assert data.table.recording.nunique() == 20
    assert not both_sides(data, [Path(f).stem.removeprefix('x') for f in data.table.recording])


def test_copies_in_shards_of_others(twenty):
    import tarfile
    with tarfile.open(twenty / 'x.tar', 'w') as t:
        for n in range(20): t.add(twenty / 'ab'[n % 2] / f'{n:02d}.wav', f'{n:02d}.wav')
        for n in range(10): t.add(twenty / 'ab'[n % 2] / f'{n:02d}.wav', f'copy{n:02d}.wav')
    data = open_shards(str(twenty / 'x.tar'))
    assert not both_sides(data, [Path(f).stem.removeprefix('copy') for f in data.table.file])


def test_copies_and_pieces_on_the_hub(twenty):
    hub = pytest.importorskip('datasets')
    from hear_nb.data import from_hub, to_hub_dataset
    rows = [f'{"ab"[n % 2]}/{n:02d}.wav,{s},{s + .03},{"ab"[n % 2]}' for n in range(20) for s in (0, .03)]
    data = from_hub(to_hub_dataset(listed(twenty, '\n'.join(['file,start,end,label', *rows]))))
    assert data.table.recording.nunique() == 20 and not both_sides(data, data.table.recording)
    sounds = [np.random.default_rng(n % 10).normal(0, .1, 1600).tolist() for n in range(20)]
    data = from_hub(hub.Dataset.from_list([dict(audio=dict(array=x, sampling_rate=16_000), label='ab'[n % 2]) for n, x in enumerate(sounds)]))
    assert not both_sides(data, [n % 10 for n in range(20)])


def test_clips_with_several_classes(twenty):
    rows = [f'{"ab"[n % 2]}/{n:02d}.wav,{s},{s + .03},{label}' for n in range(20) for s, label in ((0, 'dog; rain'), (.03, 'rain;'), (.06, ';'))]
    data = listed(twenty, '\n'.join(['file,start,end,label', *rows]), separator=';')
    part, y, names = data.task('label')
    assert (names, y.sum(0).tolist(), len(part)) == (['dog', 'rain'], [20, 40], 40)
    assert not both_sides(data, data.table.file)
    assert open_dataset(twenty / 'list.csv', separator=';').task('label')[2] == names
    assert from_frame(data.table, twenty, separator=';').task('label')[2] == names
    assert len(from_csv(twenty / 'list.csv').task('label')[2]) == 3  # nobody has said that they are several


# Text that looks alike

def test_accents_in_both_forms(tmp_path):
    for form, seed in ((nfc, 0), (nfd, 1)): noise(tmp_path / 'c' / form('Vögel') / '1.wav', seed)
    assert from_folder(tmp_path / 'c').task('label')[2] == [nfc('Vögel')]
    noise(tmp_path / nfd('für') / nfc('süß.wav'))  # a folder in the one form, and a file in the other
    for form in (nfc, nfd):
        data = listed(tmp_path, form('file,größe\nfür/süß.wav,ä\n'))
        assert len(data[0]) == 1600 and data.task(nfc('größe'))[2] == data.task(nfd('größe'))[2] == [nfc('ä')]
    table = pd.DataFrame({'file': [nfd('für/süß.wav')] * 2, nfd('größe'): [nfc('ä'), nfd('ä')]})
    assert from_frame(table, tmp_path).task(nfc('größe'))[2] == [nfc('ä')]
    assert data.task('größe', [nfd('ä')])[1].tolist() == [0]  # as a model has saved it


def test_blanks_around_names(tmp_path):
    noise(tmp_path / 'a.wav')
    data = listed(tmp_path, 'file , label\na.wav , dog\na.wav,dog \n')
    assert data.task('label')[2] == ['dog'] and len(data[0]) == 1600


@pytest.mark.parametrize('column', [
    'call #', "bird's name", 'size "mm"', 'a`b', 'inf', 'nan', 'True', 'class', 'index', '@x', 'a\\b', 'ü', '1', 'a.b',
    '{x}', '%s', 'size', 'shape', 'T'])
def test_any_name_of_a_column(twenty, column):
    table = from_folder(twenty).table.rename(columns={'label': column})
    table.to_csv(twenty / 'list.csv', index=False)
    for data in (from_csv(twenty / 'list.csv'), from_frame(table, twenty)):
        assert data.task(column)[2] == ['a', 'b'] and data.labelled(column).all()
        assert set(data.held_out(column)[1].table[column]) == {'a', 'b'}


def test_labels_of_any_kind(twenty):
    table = from_folder(twenty).table
    for values in (range(2), [True, False], [.5, 1.5], pd.Categorical(['x', 'y']), pd.array([1, None], dtype='Int64'), [None, 'b'], ['', 'b'], [np.nan, 2.]):
        data = from_frame(table.assign(kind=[*values] * 10 if not isinstance(values, pd.Categorical) else pd.Categorical(['x', 'y'] * 10)), twenty)
        assert 1 <= len(data.task('kind')[2]) <= 2 and len(data.held_out('kind')[1]) >= 3


# CSVs as they come

@pytest.mark.parametrize('text', [
    'file,label\na.wav,x\nb.wav,y\n',
    '\ufefffile,label\na.wav,x\nb.wav,y\n',
    'file;label\na.wav;x\nb.wav;y\n',
    'file\tlabel\na.wav\tx\nb.wav\ty\n',
    'sep=;\nfile;label\na.wav;x\nb.wav;y\n',
    'file,label,\na.wav,x,\nb.wav,y,\n',
    'file,label\na.wav,x,\nb.wav,y,\n',
    'file,label\r\na.wav,x\r\n\r\nb.wav,y\r\n',
    'file,label\na.wav,x\n,\n\nb.wav,y\n ,\n',
    ',file,label\n0,a.wav,x\n1,b.wav,y\n',
    '"file","label"\n"a.wav","x"\n"b.wav","y"\n',
    '\nfile,label\na.wav,x\nb.wav,y',
    'file,label,note\na.wav,x,"two\nlines"\nb.wav,y,\n',
    'label,file\nx,.\\a.wav\ny,b.wav\n',
    'file,label\n./a.wav,x\nsub/../b.wav,y\n'])
def test_csvs(tmp_path, text):
    noise(tmp_path / 'a.wav', 1); noise(tmp_path / 'b.wav', 2); (tmp_path / 'sub').mkdir()
    data = listed(tmp_path, text)
    assert (len(data), data.task('label')[2], data.task('label')[1].tolist()) == (2, ['x', 'y'], [0, 1])
    assert len(data[0]) == len(data[1]) == 1600


def test_seconds_with_a_comma(tmp_path):
    noise(tmp_path / 'a.wav')
    data = listed(tmp_path, 'file;start;end\na.wav;0,025;0,05\na.wav;;\n')
    assert [len(x) for x in (data[0], data[1])] == [400, 1600]


@pytest.mark.parametrize('text, why', [
    ('file,label,label\na.wav,x,y\n', 'label.* twice'),
    ('file,file\na.wav,a.wav\n', 'file.* twice'),
    ('file,label\n', 'no rows'),
    ('', 'empty'),
    ('\n\n', 'empty'),
    ('name,label\na.wav,x\n', 'no column "file"; there are name, label'),
    ('a.wav,x\nb.wav,y\n', 'no column "file"'),
    ('file,label\na.wav,x,y,z\n', 'line 2: 4 values for 2 columns'),
    ('file,label\n"a.wav,x\nb.wav,y\n', 'not a CSV'),
    ('file,label\na.wav,x\n,y\n', 'line 3: it names no file'),
    ('file,start\na.wav,soon\n', 'column start: expected seconds'),
    ('file,start,end\na.wav,.05,.02\n', 'nothing from 0.05 to 0.02'),
    ('file,start\na.wav,-1\n', 'nothing from -1'),
    ('file,end\na.wav,0\n', 'nothing from'),
    ('file,end\na.wav,inf\n', 'nothing from'),
    ('file,label\nb.wav,x\n', 'the first is b.wav'),
    ('file,label\n..,x\n', r'the first is \.\.'),
    (b'file,label\nf\xfcr.wav,x\n', 'UTF-8'),
    ('file\na.wav\0\n', 'a.wav'),
    ('file,label\na.wav,x\n'.encode('utf-16'), 'UTF-8'), ('file,label\n' + 'x' * 300 + '.wav,x\n', 'missing')])
def test_csvs_that_cannot_be(tmp_path, text, why):
    noise(tmp_path / 'a.wav')
    with pytest.raises((ValueError, AudioError), match=why) as e: listed(tmp_path, text)
    assert 'list.csv' in str(e.value)


def test_a_frame_with_a_column_twice(twenty):
    table = from_folder(twenty).table
    with pytest.raises(ValueError, match='twice'): from_frame(pd.concat([table, table.label], axis=1), twenty)


# Folders as they come

def test_a_link_that_leads_nowhere(twenty):
    os.symlink('gone.wav', twenty / 'a/broken.wav')
    with pytest.raises(AudioError, match='broken.wav .a link that leads nowhere'): from_folder(twenty)


@pytest.mark.parametrize('name', [
    'a::b', 'x{1,2}', 'x{0..3}', 'x{', '[ab]*?', 'a b', '#t=1', '100%', "it's", 'file:x', 'x.tar', 'x.csv', '~', '-x', 'a;b', 'a,b'])
def test_names_of_folders(twenty, name, monkeypatch, capsys):
    "Read as a folder, packed, and read as shards: by the folder, by its table and by the tars' names with braces."
    monkeypatch.chdir(twenty)
    place = Path(name)
    for n in range(4): noise(place / 'sounds' / 'ab'[n % 2] / f'{n}.wav', n)
    assert len(open_dataset(f'{name}/sounds')) == 4 and len(open_dataset(place / 'sounds')) == 4
    assert len(open_dataset(name)) == 4
    shard(f'{name}/sounds', f'{name}/packed', clips=2)
    for which in ('packed', 'packed/shards.csv', 'packed/shard-{000000..000001}.tar'):
        data = open_dataset(f'{name}/{which}')
        assert len(data) == 4 and len(data[3]) == 1600, which
    from_csv_name = listed(twenty, f'file,label\n"{name}/sounds/a/0.wav",x\n')
    assert len(from_csv_name[0]) == 1600


def test_names_that_are_none():
    for name in ('', None, 3, []):
        with pytest.raises(ValueError, match='expected'): open_dataset(name)
