"""The HEAR 2021 validator and evaluation kit, as their authors published them, run on `hear_nb.hear21`.

They are not among the requirements, because they ask for TensorFlow. Without it they can be had by
`pip install --no-deps hearvalidator heareval intervaltree sortedcontainers`; an empty module stands for TensorFlow here.
"""
import importlib.util
import json
import sys
import types

import numpy as np
import pytest
import soundfile as sf

import hear_nb

CLIPS, SECONDS = 6, 1


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f'{name} is not installed (see this file)')


@pytest.fixture(autouse=True)
def tensorflow(monkeypatch):
    module = types.ModuleType('tensorflow')
    module.Module = type('Module', (), {})  # the kits only ask whether a model is one
    monkeypatch.setitem(sys.modules, 'tensorflow', module)


@needs('hearvalidator')
def test_official_validator(monkeypatch, capsys):
    from hearvalidator import validate
    monkeypatch.setattr(sys, 'argv', ['hear-validator', 'hear_nb.hear21', '--device', 'cpu'])
    validate.main()
    assert 'Looks good!' in capsys.readouterr().out


@needs('heareval')
@pytest.mark.parametrize('kind', ['scene', 'event'])
def test_official_kit_embeds_a_task(tmp_path, kind):
    from heareval.embeddings.task_embeddings import Embedding, task_embeddings
    task, out, sounds = tmp_path / 'task', tmp_path / 'embeddings', hear_nb.data.bundled()
    names = [f'{i}.wav' for i in range(CLIPS)]
    (task / '16000/train').mkdir(parents=True)
    for i, name in enumerate(names):
        x = sounds[i].numpy()[:16000 * SECONDS]
        sf.write(task / '16000/train' / name, np.pad(x, (0, 16000 * SECONDS - len(x))), 16000)
    labels = ['on'] if kind == 'scene' else [dict(start=200., end=400., label='on')]
    (task / 'train.json').write_text(json.dumps({name: labels for name in names}))
    (task / 'labelvocabulary.csv').write_text('idx,label\n0,on\n')
    (task / 'task_metadata.json').write_text(json.dumps(dict(
        splits=['train'], sample_duration=SECONDS, embedding_type=kind, prediction_type='multilabel')))
    task_embeddings(Embedding('hear_nb.hear21', None), task, out)
    n, width = json.loads((out / 'train.embedding-dimensions.json').read_text())
    assert (n, width) == ((CLIPS, 384) if kind == 'scene' else (50 * CLIPS, 128))
    stored = np.memmap(out / 'train.embeddings.npy', np.float32, 'r', shape=(n, width))
    assert np.isfinite(stored).all() and stored.std() > 0
    if kind == 'event':
        marked = json.loads((out / 'train/0.wav.target-labels.json').read_text())
        assert sum(map(bool, marked)) == 10  # frames 20 ms apart, from 200 to 400 ms
