"""Settings that cannot be are refused by their name, before anything is written."""
import inspect
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from fastcore.docments import docments

from hear_nb import HEAR, AcousticTokenizer, HearConfig, HearStream
from hear_nb.audio.batch import batches
from hear_nb.audio.decode import read_blocks
from hear_nb.audio.long import clips
from hear_nb.cli import COMMANDS, command, main
from hear_nb.commands.bench import _compare_kernels as compare, _interleaved as interleaved, _speeds as speeds
from hear_nb.commands.bench import _threads as threads, throughput, training_costs as costs
from hear_nb.commands.clips import find_clips
from hear_nb.commands.demo import _plan as plan
from hear_nb.commands.embed import embed, tokenize
from hear_nb.commands.shard import shard
from hear_nb.commands.start import info
from hear_nb.config import EncoderConfig, TaskConfig, TokenizerConfig, as_list, check, check_choice
from hear_nb.data import bundled, from_folder
from hear_nb.data.dataset import ClipCache
from hear_nb.data.sampling import StepSampler, TrainingClips, shuffled
from hear_nb.evaluation.probe import embed_dataset, predict
from hear_nb.hear21 import Hear21
from hear_nb.model.acoustic import AcousticModel
from hear_nb.model.hear import count
from hear_nb.model.stream import embed_long
from hear_nb.sklearn import HearEmbedder
from hear_nb.training.bootstrap import iterate
from hear_nb.training.loop import TrainConfig
from hear_nb.training.masking import MaskedAudioModeling, random_mask
from hear_nb.training.stages import FineTuning, finetune, pretrain

small = dict(width=16, ffn=16, layers=1, heads=2)
config = HearConfig(EncoderConfig(**small), TaskConfig(width=16, ffn=16, hidden=8, heads=2), TokenizerConfig(EncoderConfig(**small), codes=8))
nan, inf = math.nan, math.inf
sound = np.zeros(8000, np.float32)
lengths = torch.tensor([50])


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('model')
    HEAR(config).save_pretrained(folder)
    AcousticTokenizer(config).save_pretrained(folder / 'tokenizer')
    return str(folder)


@pytest.fixture
def here(tmp_path, monkeypatch):
    "A folder with three sounds in `s`, in which the test runs."
    monkeypatch.chdir(tmp_path)
    Path('s').mkdir()
    for n in range(3): sf.write(f's/{n}.wav', np.random.default_rng(n).normal(0, .1, 8000), 16_000)
    return tmp_path


def written(folder): return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file() and p.parent.name != 's')


# The helpers

def test_check():
    check(int, least=1, most=3, a=1, b=np.int64(3)); check(float, above=0, below=1, a=.5, b=np.float32(.5)); check(float, a=-3, b=7.5)
    for kind, limits, value in (
            (int, dict(least=1), 0), (int, {}, 1.), (int, {}, '1'), (int, {}, True), (int, {}, None), (int, {}, np.True_),
            (float, {}, nan), (float, {}, inf), (float, {}, '1'), (float, {}, True), (float, {}, torch.ones(1)),
            (float, dict(above=0), 0), (float, dict(below=1), 1.), (float, dict(most=1), 1.01)):
        with pytest.raises(ValueError, match='^size is .*, expected'): check(kind, **limits, size=value)
    with pytest.raises(ValueError, match='^b is 0, expected an integer, at least 1 and at most 9$'): check(int, least=1, most=9, a=1, b=0)
    with pytest.raises(ValueError, match="^size is 'huge', expected tiny or base$"): check_choice(('tiny', 'base'), size='huge')


def test_as_list():
    for one in ('ab', Path('ab'), 3, 1.5): assert as_list(one) == [one]
    for several in (['ab', 'c'], ('ab', 'c'), pd.Series(['ab', 'c']), np.array(['ab', 'c']), iter(['ab', 'c'])): assert as_list(several) == ['ab', 'c']


# The library. (what the message names, the call)

hear, stage = HEAR(config).eval(), lambda **k: MaskedAudioModeling(AcousticModel(config.acoustic), None, 8, **k)
CALLS = [(name, value, call) for name, values, call in [
    ('batch_size', (0, -1, 1.5, None, '8', True), lambda v: hear.embed([sound], batch_size=v)),
    ('batch_size', (0, -1, nan), lambda v: AcousticTokenizer(config).encode([sound], batch_size=v)),
    ('batch_size', (0, -1), lambda v: list(batches([sound], batch_size=v))),
    ('batch_size', (0, -1), lambda v: list(clips([sound], batch_size=v))),
    ('batch_size', (0, -1), lambda v: embed_long(hear, torch.zeros(8000), v)),
    ('batch_size', (0, -1), lambda v: HearStream(hear, batch_size=v)),
    ('batch_size', (0, -1), lambda v: Hear21(hear, v)),
    ('batch_size', (0, -1), lambda v: HearEmbedder(hear, batch_size=v).fit_transform([sound])),
    ('batch_size', (0, -1), lambda v: embed_dataset(hear, bundled().where(np.arange(722) < 2), v)),
    ('batch_size', (0, -1), lambda v: predict(hear, bundled().where(np.arange(722) < 2), v)),
    ('sample rate', (0, -1, nan, inf, '16000'), lambda v: hear.embed(sound, sample_rate=v)),
    ('sample_rate', (0, -1, nan, inf, '16000'), lambda v: HearStream(hear, sample_rate=v)),
    ('seconds', (0, -1, .01, nan, inf), lambda v: next(read_blocks(bundled().files[0], v))),
    ('seconds', (0, -1, .01, nan, inf), lambda v: count(config, v)),
    ('seconds', (0, -1, .01, nan, inf), lambda v: info(v)),
    ('seconds', (0, -1, .01, nan), lambda v: TrainingClips(bundled(), v)),
    ('classes', ([], [0]), lambda v: TrainingClips(bundled(), 1., np.array(v))),
    ('clips', (np.arange(722) < 0,), lambda v: TrainingClips(bundled().where(v))),
    ('clips', (0, -1), lambda v: StepSampler(v, 2, 3)),
    ('batch_size', (0, -1), lambda v: StepSampler(3, v, 3)),
    ('seed', (-1, .5), lambda v: StepSampler(3, 2, 3, seed=v)),
    ('start', (-1,), lambda v: StepSampler(3, 2, 3, v)), ('mix', (0, -1), lambda v: shuffled(4, 0, [1, 1, 1, 1], v)),
    ('fraction', (0, 1, -.5, 25, nan, '1'), lambda v: unsplit().splits(fraction=v)),
    ('seed', (-1, .5, None), lambda v: unsplit().splits(seed=v)),
    ('no fold', ('7', ['7'], 7), lambda v: bundled().splits(only=v)),
    ('limit', (-1, .5, nan), lambda v: ClipCache(v)),
    ('fraction', (-.1, 1.1, nan), lambda v: random_mask(lengths, 50, v)),
    ('span', (0, -1, 1.5), lambda v: random_mask(lengths, 50, .4, v)),
    ('fraction', (0, -.1, 1.1, nan), lambda v: stage(fraction=v)), ('span', (0, -1, 1.5), lambda v: stage(span=v)),
    ('smoothing', (-.1, 1.1, nan), lambda v: FineTuning(hear, v)),
    *((name, values, lambda v, name=name: TrainConfig(**{name: v})) for name, values in dict(
        steps=(0, -1, 1.5, '10', True), batch_size=(0, -1, 2.5), accumulate=(0, -1), save_every=(0, -1),
        lr=(0, -1, nan, inf), clip=(0, -1, nan), weight_decay=(-1, nan),
        warmup=(-.1, 1.1, nan), seconds=(0, -1, .01, nan, inf), seed=(-1, .5, None), workers=(-1, .5), precision=('fp8', None)).items()),
    *((name, (0, -1, 1.5, True, None), lambda v, name=name: EncoderConfig(**{name: v})) for name in ('width', 'ffn', 'heads', 'layers', 'window')),
    ('overlap', (-1, 151, 1.5), lambda v: EncoderConfig(overlap=v)),
    ('dropout', (-.1, 1, nan), lambda v: EncoderConfig(dropout=v)),
    ('size', ('huge', '', None), HearConfig.named),
    ('size', ('huge',), lambda v: compare(v)),
    ('size', ('huge',), lambda v: speeds(v, [1.], [1], [1])),
    ('repeats', (0, -1), lambda v: interleaved({}, v)), ('threads', (-1, 1.5), lambda v: threads(v).__enter__()),
    ('minutes', (0, -1, nan, inf), plan), ('seed', (-1, .5), lambda v: plan(1., v)),
    ('steps', (0, -1), lambda v: throughput(None, steps=v)),
    ('batch_size', (0,), lambda v: throughput(None, batch_size=v)),
    ('seconds', (0, nan), lambda v: throughput(None, seconds=v)),
    ('hours', (0, -1, nan), lambda v: costs(dict(x=1.), v)),
    ('epochs', (0, -1), lambda v: costs(dict(x=1.), epochs=v)),
    ('speed of x', (0, nan), lambda v: costs(dict(x=v))),
    ('rounds', (0, -1, 1.5), lambda v: iterate(None, config, 'x', TrainConfig(), v)),
    ('span', (0,), lambda v: iterate(None, config, 'x', TrainConfig(), span=v)),
] for value in values]


def unsplit(): return from_folder('s')


@pytest.mark.parametrize('name, value, call', CALLS, ids=[f'{name}={value!r}'[:30] for name, value, _ in CALLS])
def test_library(here, name, value, call):
    with pytest.raises(ValueError, match=name) as e: call(value)
    assert len(str(e.value).splitlines()) == 1 and not written(here)


@pytest.mark.parametrize('name, values, call', [
    ('batch_size', (0, -1, 2.5), lambda v, **o: embed('s', output='v.parquet', batch_size=v, **o)),
    ('chunk', (0, -1), lambda v, **o: embed('s', output='v.parquet', chunk=v, **o)),
    ('workers', (-2, .5), lambda v, **o: embed('s', output='v.parquet', workers=v, **o)),
    ('dtype', ('int8', ''), lambda v, **o: embed('s', output='v.parquet', dtype=v, **o)),
    ('parquet or .npz', ('v.csv', 'v', ''), lambda v, **o: embed('s', output=v, **o)),
    ('folder', ('s.parquet',), lambda v, **o: embed('s', output=v, **o)),
    ('paths', ([], '', [''], [None], 3, [3]), lambda v, **o: embed(v, output='v.parquet', **o)),
    ('paths', ([], '', [''], [None], 3), lambda v, **o: tokenize(v, output='t.jsonl', **o)),
])
def test_many_files(here, tiny, name, values, call):
    Path('s.parquet').mkdir()
    for value in values:
        with pytest.raises((ValueError, OSError), match=name): call(value, model=tiny)
    assert not written(here) and sorted(p.name for p in here.iterdir()) == ['s', 's.parquet']


def test_shard_is_refused_before_it_begins(here):
    for name, value in (('clips', 0), ('clips', -1), ('clips', 1.5), ('seed', -1), ('seed', None)):
        with pytest.raises(ValueError, match=name): shard('s', 'packed', **{name: value})
    assert not Path('packed').exists()
    assert shard('s', 'packed', clips=2) == 0


def test_one_path_is_no_list_of_letters(here):
    for path in ('s', 's/', Path('s'), ['s'], ('s',), iter(['s']), pd.Series(['s'])): assert len(find_clips(path)[0]) == 3
    assert [c.file for c in find_clips('s/1.wav')[0]] == ['s/1.wav']


def test_stages_are_refused_before_they_begin(here):
    data = from_folder('s')
    data.table['label'] = ['a', 'b', 'a']
    for options in (dict(fraction=0), dict(fraction=nan), dict(span=0)):
        with pytest.raises(ValueError, match=next(iter(options))):
            pretrain(data, config, AcousticTokenizer(config), here / 'run', TrainConfig(steps=1), **options)
    for cfg, why in ((TrainConfig(steps=1, batch_size=1), 'batch norm'), (TrainConfig(steps=1, batch_size=2, accumulate=2), 'batch norm')):
        with pytest.raises(ValueError, match=why): finetune(data, 'label', hear, here / 'run', cfg)
    with pytest.raises(ValueError, match='clips'):
        pretrain(data.where(np.zeros(3, bool)), config, AcousticTokenizer(config), here / 'run', TrainConfig(steps=1))
    assert not (here / 'run').exists()


# Every command, every number that it takes

FREE = {'workers': -2, 'weight_decay': -1.}  # what else than 0 and less cannot be
ARGUMENTS = {'embed': ['s'], 'tokenize': ['s'], 'shard': ['s'], 'convert': ['x.pth'], 'recipe': ['ESC-50'], 'evaluate': ['--data', 's'],
             'map': ['s']}


def parameters(f):
    "Yields a command's parameters, and those of its TrainConfig, each with its type or its list's."
    for source in [f, TrainConfig] if 'cfg' in inspect.signature(f).parameters else [f]:
        for name, p in docments(source, full=True, returns=False, eval_str=True).items():
            yield name, p.anno.__args__[0] if getattr(p.anno, '__origin__', None) is list else p.anno


NUMBERS = [(name, parameter, kind) for name in COMMANDS for parameter, kind in parameters(command(name))
           if kind in (int, float)]


@pytest.mark.parametrize('name, parameter, kind', NUMBERS)
def test_every_number_of_every_command(here, capsys, name, parameter, kind):
    "A negative number, and NaN, end with one line that names it; nothing is written, and no work is begun."
    kinds = {'embed': 'out/x.parquet', 'map': 'x.html'}
    output = ['--output', kinds.get(name, 'out')] if 'output' in inspect.signature(command(name)).parameters else []
    for value in [str(kind(FREE.get(parameter, -2))), *(['nan'] if kind is float else [])]:
        status = main([name, *ARGUMENTS.get(name, []), *output, f'--{parameter.replace("_", "-")}={value}'])
        said = capsys.readouterr().err.strip().splitlines()
        assert status == 1 and len(said) == 1 and parameter in said[0] and said[0].startswith(f'hear-nb {name}:'), said
        assert not written(here) and not (here / 'out').exists()
