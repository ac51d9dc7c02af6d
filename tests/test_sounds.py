"""Files as recorders, radios, phones and Macs leave them: heard to their real end, or refused by name; never in part without a word."""
import io
import json
import struct
import sys
import tarfile
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from hear_nb.audio.containers import mpeg_runs
from hear_nb.audio.decode import _SLOW, AudioError, load, load_span, open_sound, read_blocks
from hear_nb.audio.files import SOUND_ENDINGS, is_sound, sounds_in
from hear_nb.audio.long import DecodedFile, open_clip
from hear_nb.commands.clips import find_clips, read_clip
from hear_nb.data.read import from_folder
from hear_nb.data.sampling import TrainingClips, usable
from hear_nb.data.shards import open_shards

NOTE = bytes.fromhex('00051607') + b'\0\2\0\0Mac OS X        ' + bytes(200)  # what macOS keeps beside a file


def noise(samples, channels=1, seed=0): return np.random.default_rng(seed).normal(size=(samples, channels)) * .1


def saved(x, rate, **kind):
    sf.write(file := io.BytesIO(), x, rate, **kind)
    return file.getvalue()


def seconds(content, **kw): return len(load(io.BytesIO(content), **kw)) / 16000


def radio(seconds, rate=44100, channels=1):
    "An MP3 of a variable bit rate without a table of contents: loud, then quiet"
    x = noise(int(seconds * rate), channels) * 3
    x[len(x) // 5:] = 0
    content = saved(x, rate, format='MP3', bitrate_mode='VARIABLE', compression_level=.3)
    return content[mpeg_runs(io.BytesIO(content))[0].start:]


@pytest.mark.parametrize('rate, channels', [(44100, 1), (48000, 2), (32000, 1), (22050, 2), (16000, 1), (8000, 2)])
def test_mp3_without_a_table_is_heard_to_its_end(rate, channels, tmp_path):
    content = radio(10, rate, channels)
    (path := tmp_path / 'radio.mp3').write_bytes(b'\xff\x00 the end of a frame that was cut' + content)
    assert sf.SoundFile(io.BytesIO(content)).frames / rate < 5  # libsndfile's guess
    for source in (path, io.BytesIO(content)): assert abs(len(load(source)) / 16000 - 10) < .1
    assert abs(sum(map(len, read_blocks(path, 1.))) / 16000 - 10) < .1
    middle = load(path)[16000:32000]
    assert np.abs(load_span(path, 1, 2).numpy() - middle.numpy()).max() < 1e-4


@pytest.mark.parametrize('title', [b'Bird song', b'Information desk', b'Tourist Info', b'Xingu river', b'VBRI', b'\xff\xfb\x90\xc4' * 30])
def test_mp3_tags_are_no_tables(title):
    content = saved(noise(44100 * 3), 44100, format='MP3', bitrate_mode='CONSTANT')
    bare = content[mpeg_runs(io.BytesIO(content))[0].start:]
    frame = b'TIT2' + struct.pack('>I', len(title) + 1) + bytes(3) + title
    size = len(frame) + 8000  # a picture behind it
    tag = b'ID3\3\0\0' + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + frame + bytes(8000)
    assert abs(seconds(tag + bare) - 3) < .1
    assert abs(seconds(tag + content) - 3) < .01
    with pytest.raises(AudioError, match='clip 7: truncated'): seconds((tag + content)[:-len(content) // 2], name='clip 7')


def test_joined_mp3s_are_heard_one_after_the_other():
    one, two, other = (saved(noise(rate * 2), rate, format='MP3') for rate in (44100, 44100, 16000))
    assert abs(seconds(one + two) - 4) < .15
    assert abs(seconds(one + other) - 4) < .15  # of several kinds


def test_mp3_beside_a_note_of_macos(tmp_path):
    "libsndfile takes the note for a part of the file"
    content = saved(noise(16000), 16000, format='MP3')
    (tmp_path / 'a.mp3').write_bytes(content)
    (tmp_path / '._a.mp3').write_bytes(NOTE)
    assert len(load(tmp_path / 'a.mp3')) == 16000


@pytest.mark.parametrize('kind, rate', [('VORBIS', 16000), ('OPUS', 48000), ('OPUS', 16000)])
def test_chained_ogg(kind, rate):
    one, two = (saved(noise(int(s * rate)), rate, format='OGG', subtype=kind) for s in (1, 2))
    assert abs(seconds(one + two) - 3) < .05
    assert abs(seconds(one + saved(noise(8000), 8000, format='OGG', subtype='VORBIS')) - 2) < .05  # of several kinds
    assert abs(sum(map(len, read_blocks(io.BytesIO(one + two), .3))) / 16000 - 3) < .05
    for cut in (one + two[:len(two) // 2], one[:len(one) // 2] + two):
        with pytest.raises(AudioError, match='truncated'): seconds(cut)


def test_chained_ogg_flac():
    pytest.importorskip('av')
    one, two = (by_ffmpeg(noise(16000 * s)[:, 0], 16000, 'flac', 'ogg', 's16') for s in (1, 2))
    assert abs(seconds(one + two) - 3) < .05


def unclosed(form):
    "Yields files whose sizes were never written, one a way in which they are not"
    content = bytearray(saved(noise(16000), 16000, format=form, subtype='PCM_16'))
    place = {'AIFF': b'SSND', 'W64': b'data'}.get(form, b'data')
    at = content.find(place)
    if form in ('WAV', 'WAVEX'): ways = [{4: bytes(4), at + 4: bytes(4)}, {at + 4: bytes(4)}, {4: b'\xff' * 4, at + 4: b'\xff' * 4}]
    elif form == 'RF64': ways = [{content.find(b'ds64') + 8: bytes(24)}]
    elif form == 'AIFF': ways = [{4: bytes(4), at + 4: bytes(4)}, {4: bytes(4), at + 4: struct.pack('>I', 8)}]
    elif form == 'CAF': ways = [{at + 4: bytes(8)}, {at + 4: b'\xff' * 8}, {at + 4: struct.pack('>Q', 4)}]
    elif form == 'AU': ways = [{8: bytes(4)}, {8: b'\xff' * 4}]
    elif form == 'W64': ways = [{16: bytes(8), at + 16: bytes(8)}]
    else: ways = [{21: bytes([content[21] & 0xf0]), 22: bytes(4)}]  # FLAC
    for way in ways:
        copy = bytearray(content)
        for place, patch in way.items(): copy[place: place + len(patch)] = patch
        yield bytes(copy)


@pytest.mark.parametrize('form', ['WAV', 'WAVEX', 'RF64', 'AIFF', 'CAF', 'AU', 'W64', 'FLAC'])
def test_files_that_were_never_closed(form, tmp_path):
    for content in unclosed(form):
        x = load(io.BytesIO(content))
        assert len(x) == 16000 and np.abs(x.numpy() - noise(16000)[:, 0]).max() < 1e-4
        (path := tmp_path / f'a.{form.lower()}').write_bytes(content)
        assert len(load_span(path, .2, .5)) == 4800
        assert len(open_clip(path)) == 16000


def test_an_empty_wav_is_empty():
    empty = saved(noise(0), 16000, format='WAV')
    for content in (empty, empty + b'LIST' + struct.pack('<I', 4) + b'INFO'):
        with pytest.raises(AudioError, match='empty'): seconds(content)


UNSEEKABLE = [('WAV', 'GSM610'), ('AIFF', 'GSM610'), ('W64', 'GSM610'), ('AU', 'G721_32'), ('AU', 'G723_24'), ('AU', 'G723_40'),
              ('WAV', 'G721_32'), ('WAV', 'NMS_ADPCM_16'), ('WAV', 'NMS_ADPCM_24'), ('WAV', 'NMS_ADPCM_32'), ('AIFF', 'DWVW_16'), ('XI', 'DPCM_16')]


@pytest.mark.parametrize('form, kind', UNSEEKABLE)
def test_formats_that_cannot_seek(form, kind, tmp_path):
    for samples in (8000, 8001, 9333, 31 * 8000):
        sf.write(path := tmp_path / f'a.{form.lower()}', noise(samples), 8000, format=form, subtype=kind)
        rate = 44100 if form == 'XI' else 8000  # XI does not say
        x = load(path)
        assert -.001 < len(x) / 16000 - samples / rate < .09, (samples, len(x))  # they end with a whole block
        blocks = np.concatenate(list(read_blocks(path, .7)))
        assert abs(len(blocks) - len(x)) < 3 and np.abs(blocks[:len(x)] - x.numpy()[:len(blocks)]).max() < 1e-3
    content = path.read_bytes()
    with pytest.raises(AudioError): seconds(content[:30])


def test_slow_formats_say_so_once(tmp_path):
    sf.write(path := tmp_path / 'a.wav', noise(80000), 8000, subtype='GSM610')
    sf.write(other := tmp_path / 'b.flac', noise(80000), 8000)
    _SLOW.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for start in range(5): load_span(path, start, start + 1), load_span(other, start, start + 1)
    assert [str(path) in str(w.message) for w in caught] == [True]


SEEKABLE = [('WAV', 'PCM_16', 44100), ('WAV', 'PCM_U8', 11025), ('WAV', 'DOUBLE', 48000), ('WAV', 'IMA_ADPCM', 22050), ('WAV', 'MS_ADPCM', 44100),
            ('FLAC', 'PCM_16', 44100), ('FLAC', 'PCM_24', 96000), ('OGG', 'VORBIS', 44100), ('OGG', 'VORBIS', 16000), ('OGG', 'OPUS', 48000),
            ('OGG', 'OPUS', 16000), ('MP3', 'MPEG_LAYER_III', 44100), ('MP3', 'MPEG_LAYER_III', 16000), ('AIFF', 'PCM_16', 32000),
            ('CAF', 'ALAC_16', 44100), ('W64', 'PCM_16', 44100), ('RF64', 'PCM_16', 44100), ('AU', 'ULAW', 8000), ('WAV', 'PCM_16', 37799)]


@pytest.mark.parametrize('form, kind, rate', SEEKABLE)
def test_spans_are_pieces_of_the_whole(form, kind, rate, tmp_path):
    sf.write(path := tmp_path / f'a.{form.lower()}', noise(8 * rate, 2), rate, format=form, subtype=kind)
    whole = load(path).numpy()
    with open_sound(path) as readers: assert readers[0].can_seek
    for start, end in ((0, 1), (.0003, 1.2), (2.34567, 4), (5, 5.025), (6.5, 7.9), (7.5, None), (None, .5)):
        x = load_span(path, start, end).numpy()
        first = round((start or 0) * 16000)
        expected = whole[first: None if end is None else round(end * 16000)]
        assert abs(len(x) - len(expected)) <= (2 if end is None else 0)
        n = min(len(x), len(expected))
        assert np.abs(x[:n] - expected[:n]).max() < 1e-4, (start, end, np.abs(x[:n] - expected[:n]).max())
    with pytest.raises(AudioError, match=r'a\.\w+: no 25 ms between 50 and 60 s, it lasts 8'): load_span(path, 50, 60)


def test_open_files_are_read_from_their_start(tmp_path):
    sf.write(tmp_path / 'a.wav', noise(16000), 16000)
    content = (tmp_path / 'a.wav').read_bytes()
    file = io.BytesIO(content)
    for at in (0, 10, len(content)):
        file.seek(at)
        assert len(load(file)) == 16000
    with open(tmp_path / 'a.wav', 'rb', buffering=0) as raw: assert len(load(raw)) == 16000
    with zipfile.ZipFile(archive := io.BytesIO(), 'w') as z: z.writestr('a.wav', content)
    with zipfile.ZipFile(archive).open('a.wav') as member: assert len(load(member)) == 16000

    class Pipe(io.RawIOBase):
        source = io.BytesIO(content)
        def readable(self): return True
        def readinto(self, out): return self.source.readinto(out)

    assert len(load(Pipe())) == 16000
    with open(tmp_path / 'a.wav', errors='ignore') as text, pytest.raises(AudioError, match="item 3: .*'rb'"): load(text, name='item 3')
    closed = io.BytesIO(content)
    closed.close()
    with pytest.raises(AudioError, match='item 3'): load(closed, name='item 3')


def test_long_recordings_in_an_archive(tmp_path):
    content = saved(noise(8000 * 31), 8000, format='FLAC')
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        (info := tarfile.TarInfo('a.flac')).size = len(content)
        tar.addfile(info, io.BytesIO(content))
    (clip,), _ = find_clips(tmp_path / 'a.tar')
    assert isinstance(x := read_clip(clip, tmp_path / 'x.raw'), DecodedFile) and len(x) == 16000 * 31
    x.remove()


# phones

def by_ffmpeg(x, rate, codec='aac', form='ipod', sample='fltp'):
    av = pytest.importorskip('av')
    with av.open(file := io.BytesIO(), 'w', format=form) as out:
        stream = out.add_stream(codec, rate=rate, layout='mono')
        for at in range(0, len(x), 1024):
            part = x[None, at: at + 1024]
            part = part.astype(np.float32) if sample == 'fltp' else (part * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, sample, 'mono')
            frame.sample_rate, frame.pts = rate, at
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize('codec, form, rate', [('aac', 'ipod', 44100), ('aac', 'mov', 48000), ('aac', '3gp', 16000), ('aac', 'adts', 44100),
                                               ('alac', 'ipod', 44100), ('libopus', 'webm', 48000), ('aac', 'matroska', 44100)])
def test_what_phones_and_browsers_record(codec, form, rate, tmp_path):
    t = np.arange(6 * rate) / rate
    tone = .3 * np.sin(2 * np.pi * (200 + 100 * t) * t)
    sample = 's16p' if codec == 'alac' else 'fltp'
    if codec == 'libopus': sample = 's16'
    content = by_ffmpeg(tone, rate, codec, form, sample)
    for name in ('memo.m4a', 'MEMO.M4A', 'memo', 'memo.wav'):  # the name says nothing
        (path := tmp_path / name).write_bytes(content)
        assert abs(len(load(path)) / 16000 - 6) < .08, len(load(path))
    whole = load(io.BytesIO(content)).numpy()
    for start in (0, 1.5, 4.2):
        part = load_span(path, start, start + 1).numpy()
        assert np.abs(part - whole[round(start * 16000):][:16000]).max() < 1e-3
    if form in ('ipod', 'mov'):
        with pytest.raises(AudioError, match='item 3'): load(io.BytesIO(content[:len(content) * 2 // 3]), name='item 3')


def test_m4a_without_pyav_is_named_everywhere(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    (tmp_path / 'f').mkdir()
    for name in ('memo.m4a', 'MEMO2.M4A', 'call.3gp', 'video.webm'): (tmp_path / 'f' / name).write_bytes(b'\0\0\0\x18ftypM4A ' + bytes(100))
    sf.write(tmp_path / 'f' / 'a.wav', noise(16000), 16000)
    pack(tmp_path / 'f', tmp_path / 's.tar')
    pd.DataFrame(dict(file=['f/memo.m4a', 'f/a.wav'])).to_csv(tmp_path / 'list.csv', index=False)
    for source, count in ((tmp_path / 'f', 5), (tmp_path / 's.tar', 5), (tmp_path / 'list.csv', 2)):
        clips, rejected = find_clips(source)
        assert len(clips) == count and not rejected
        for clip in clips:
            if clip.name.endswith('a.wav'): assert len(read_clip(clip, tmp_path / 'x.raw')) == 16000; continue
            with pytest.raises(AudioError, match='pip install "hear_nb.m4a."') as e: read_clip(clip, tmp_path / 'x.raw')
            assert str(e.value).startswith(clip.name)
    for data in (from_folder(tmp_path / 'f'), open_shards(tmp_path / 's.tar')):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            good = usable(data)
        assert (good.sum(), len(good), len(caught)) == (1, 5, 4) and all('hear_nb[m4a]' in str(w.message) for w in caught)


# one list

def pack(folder, tar):
    with tarfile.open(tar, 'w') as t:
        for p in sorted(folder.rglob('*')):
            if p.is_file(): t.add(p, p.relative_to(folder).as_posix())


def test_one_list_for_folders_archives_and_shards(tmp_path):
    root = tmp_path / 'f'
    for k, ending in enumerate(sorted(SOUND_ENDINGS)):
        (root / f'{k}').mkdir(parents=True)
        (root / f'{k}' / f'x{k}.{ending.upper() if k % 2 else ending}').write_bytes(b'?')
    sounds = {p.name for p in root.rglob('*.*')}
    for litter in ('._a.wav', '__MACOSX/._a.wav', '__MACOSX/a.wav', '.Trash-1000/files/a.wav', '.Trashes/a.wav', '$RECYCLE.BIN/a.wav', '.AppleDouble/a.wav'):
        (root / litter).parent.mkdir(parents=True, exist_ok=True)
        (root / litter).write_bytes(NOTE)
    (root / 'notes.txt').touch()
    pack(root, tmp_path / 's.tar')
    assert {p.name for p in sounds_in(root)} == sounds
    assert {c.name.rpartition('/')[2] for c in find_clips(root)[0]} == sounds
    assert {c.name.rpartition('/')[2] for c in find_clips(str(tmp_path / 's.tar'))[0]} == sounds
    assert {f.rpartition('/')[2] for f in from_folder(root).table.file} == sounds
    assert {f.rpartition('/')[2] for f in open_shards(tmp_path / 's.tar').table.file} == sounds


@pytest.mark.parametrize('ending, form', [('aifc', 'AIFF'), ('wave', 'WAV'), ('snd', 'AU'), ('sph', 'NIST'), ('oga', 'OGG'), ('opus', 'OGG')])
def test_less_common_names(ending, form, tmp_path):
    sf.write(tmp_path / f'A.{ending.upper()}', noise(16000), 16000, format=form)
    assert len(from_folder(tmp_path)[0]) == 16000


def test_hidden_files_that_are_sounds():
    assert is_sound('.take 1.wav') and is_sound('a/.hidden/b.wav') and not is_sound('._a.wav') and not is_sound('.wav')


def test_links_in_archives(tmp_path):
    sf.write(tmp_path / 'a.wav', noise(16000), 16000)
    with tarfile.open(tmp_path / 's.tar', 'w') as t:
        t.add(tmp_path / 'a.wav', 'x/a.wav')
        for name, kind, target in (('x/b.wav', tarfile.SYMTYPE, 'a.wav'), ('c.wav', tarfile.LNKTYPE, 'x/a.wav'), ('d.wav', tarfile.SYMTYPE, 'gone.wav')):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            t.addfile(info)
    clips, rejected = find_clips(tmp_path / 's.tar')
    assert [c.member for c in clips] == ['x/a.wav', 'x/b.wav', 'c.wav', 'd.wav'] and not rejected
    assert [len(read_clip(c, tmp_path / 'x')) for c in clips[:3]] == [16000] * 3
    with pytest.raises(AudioError, match='d.wav: '): read_clip(clips[3], tmp_path / 'x')
    data = open_shards(tmp_path / 's.tar')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert usable(data).tolist() == [True, True, True, False]
    assert 'd.wav' in str(caught[0].message)


# one bad file

@pytest.fixture
def folder(tmp_path):
    "Two labels, eight sounds, and beside them what cannot be heard"
    for label in ('low', 'high'):
        (tmp_path / label).mkdir()
        for k in range(4): sf.write(tmp_path / label / f'{k}.wav', noise(8000, seed=k), 16000)
    sf.write(tmp_path / 'low' / 'call.wav', noise(8001), 8000, subtype='GSM610')
    flac = saved(noise(16000), 16000, format='FLAC')
    (tmp_path / 'low' / 'cut.flac').write_bytes(flac[:len(flac) // 2])
    sf.write(tmp_path / 'high' / 'nan.wav', np.full(8000, np.nan), 16000, subtype='FLOAT')
    (tmp_path / 'high' / 'notes.wav').write_text('not a sound')
    return tmp_path


def test_training_goes_on_beside_bad_files(folder):
    data = from_folder(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        draws = TrainingClips(data, .2)
        for _ in range(2):
            for i in range(len(data)): assert len(draws[i, (0, i)][0]) == 3200
    said = ' '.join(str(w.message) for w in caught)
    assert len(caught) == 3 and all(name in said for name in ('cut.flac', 'nan.wav', 'notes.wav'))


def test_evaluation_goes_on_beside_bad_files(folder, capsys):
    from hear_nb.commands.evaluate import evaluate
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        evaluate(data=str(folder), alone=True, output=str(folder / 'figures.json'))
    assert sum('left out' in str(w.message) for w in caught) == 3
    assert json.loads((folder / 'figures.json').read_text())[0]['task'] == 'label'


def test_embedding_goes_on_beside_bad_files(folder):
    from hear_nb.commands.embed import embed
    assert embed([str(folder)], output=str(folder / 'v.parquet'), workers=0) == 1
    assert len(pd.read_parquet(folder / 'v.parquet')) == 9
    assert len(pd.read_csv(folder / 'rejected.csv')) == 3
