"Teachers in two forms that must agree, and lessons that go on where they were stopped."
from pathlib import Path

import numpy as np
import pytest
import torch

from hear_nb import AcousticTokenizer, HearConfig
from hear_nb.data import bundled
from hear_nb.model.mobilenet import MobileNet
from hear_nb.teachers import EfficientAT, Whisper
from hear_nb.training import loop
from hear_nb.training.distillation import distil, Kept, Lessons
from hear_nb.training.loop import TrainConfig

SHARED = Path(__file__).resolve().parents[2] / 'shared'


def test_efficientat_of_its_authors_by_the_teacher():
    "The checkpoint's own file gives the authors' vectors, and refuses what is not it."
    weights = SHARED / 'teachers/mn04_as_mAP_432.pt'
    if not weights.exists(): pytest.skip('the folder with the teachers is not here')
    from safetensors.torch import load_file
    reference = load_file(SHARED / 'reference/mn04.safetensors')
    teacher = EfficientAT.from_checkpoint(weights)
    with torch.no_grad(): found = teacher.net(reference['mel'])
    assert (found - reference['features']).abs().max() < 1e-4
    assert (teacher.net.classify(found.mean((2, 3))) - reference['logits']).abs().max() < 1e-4
    state = torch.load(weights, weights_only=True)
    state['classifier.5.bias'] = state['classifier.5.bias'][:10]
    with pytest.raises(ValueError, match='classifier.5.bias is .10,., expected .527,.'): EfficientAT.from_checkpoint(state)


def _converted(model, folder):
    "Writes a Whisper of transformers in CTranslate2's format; its words are numbers."
    from ctranslate2.converters.transformers import WhisperLoader
    loader = WhisperLoader()
    spec = loader.get_model_spec(model)
    spec.register_vocabulary([f'<|{n}|>' for n in range(model.config.vocab_size)])
    spec.config.suppress_ids = spec.config.suppress_ids_begin = spec.config.lang_ids = []
    spec.config.alignment_heads = [(0, 0)]
    spec.validate()
    spec.optimize()
    folder.mkdir()
    spec.save(str(folder))


def test_whisper_of_two_libraries(tmp_path):
    "An encoder with random weights says the same through transformers and through CTranslate2, alone or in a batch."
    transformers, _ = pytest.importorskip('transformers'), pytest.importorskip('ctranslate2')
    heads = dict(encoder_attention_heads=2, decoder_attention_heads=2)
    sizes = dict(d_model=64, encoder_layers=2, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=300)
    tokens = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3)
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**sizes, **heads, **tokens)).eval()
    model.save_pretrained(tmp_path / 'hf')
    _converted(model, tmp_path / 'ct2')
    theirs, ours = Whisper.from_pretrained(tmp_path / 'hf'), Whisper.from_pretrained(tmp_path / 'ct2', 'float32')
    clips = .1 * torch.randn(2, 24_000)
    a, b = (teacher(clips, torch.tensor([24_000, 17_000])) for teacher in (theirs, ours))
    assert a.shape == b.shape == (2, 75, 64) and (a - b).abs().max() < 1e-3 and a.std() > .1


class _Stop(Exception): pass


def _lessons(folder):
    sounds = bundled().where('split == "train"')
    spoken = sounds.where('family == "speech"').where(np.arange((sounds.table.family == 'speech').sum()) < 6)
    torch.manual_seed(0)
    teacher = EfficientAT(MobileNet())
    return Lessons(sounds, 1.5, teacher, Kept(folder, spoken, values=8).ask(teacher))


@pytest.mark.parametrize('workers', [0, 2])
def test_lessons_go_on_where_they_were_stopped(tmp_path, monkeypatch, workers):
    "A run that is stopped after a checkpoint ends with the weights of one that was not, whoever makes the lessons."
    tokenizer, lessons = AcousticTokenizer.from_pretrained('hear-tiny'), _lessons(tmp_path / 'kept')
    cfg = TrainConfig(steps=4, batch_size=4, save_every=2, workers=workers)
    config = HearConfig.tiny()
    config.acoustic.dropout = 0.
    whole = distil(lessons, config, tokenizer, tmp_path / 'whole', cfg)
    steps, update = [], loop._update
    def stopping(*args):
        steps.append(1)
        if len(steps) == 4: raise _Stop
        return update(*args)
    monkeypatch.setattr(loop, '_update', stopping)
    with pytest.raises(_Stop): distil(lessons, config, tokenizer, tmp_path / 'parts', cfg)
    monkeypatch.setattr(loop, '_update', update)
    parts = distil(lessons, config, tokenizer, tmp_path / 'parts', cfg)
    for a, b in zip(whole.acoustic.parameters(), parts.acoustic.parameters()): assert torch.equal(a, b)
