"""What must hold for any input, and files that are damaged in every way: small in the notebook on reliability, whole by `pytest -n 0 -m full -s`."""
import itertools, os
from pathlib import Path
from typing import Any

import torch
import numpy as np
from torch import Tensor

from hear_nb.audio.batch import length_mask, pad_batch
from hear_nb.audio.decode import AudioError, load
from hear_nb.audio.frontend import Frontend
from hear_nb.config import HearConfig, spectrogram_frames
from hear_nb.model.acoustic import overlap_add, ramp, windows_of
from hear_nb.model.hear import HEAR


def draw_clips(
    lengths: list[int],     # samples of each clip
    loudness: float,        # of the noise, as a power of ten
    seed: int,
    kind: str = 'noise',    # 'noise', 'silence', 'constant', 'click'
) -> list[Tensor]:
    "Returns waveforms, each (samples,) float32 and finite."
    rng = np.random.default_rng(seed)
    make: Any = dict(noise=lambda n: rng.standard_normal(n).clip(-3, 3), silence=np.zeros, constant=np.ones,
                click=lambda n: (np.arange(n) == rng.integers(n)).astype(float))[kind]
    return [torch.from_numpy((make(n) * 10.**loudness).astype(np.float32)) for n in lengths]

def check_frontend(
    frontend: Frontend,
    clips: list[Tensor],   # each (samples,)
    exact: float = 1e-5,   # largest difference that is put down to rounding
):
    "Asserts that a batch's spectrograms are finite, zero behind each clip, and those of each clip alone."
    together = frontend(*pad_batch(clips))
    for i, clip in enumerate(clips):
        alone, n = frontend(clip[None]), spectrogram_frames(len(clip))
        for a, b in zip(alone[:2], together[:2]):
            assert a.isfinite().all() and b.isfinite().all()
            assert (a[0] - b[i, :, :n]).abs().max() <= exact * max(1., a.abs().max().item())
            assert not b[i, :, n:].any()


@torch.no_grad()
def check_model(
    model: HEAR,
    clips: list[Tensor],   # each (samples,), at least 160
    exact: float = 1e-5,   # largest difference that is put down to rounding
):
    "Asserts that frames and logits are finite, and neither padding nor order changes them."
    order = list(reversed(range(len(clips))))
    ways = [model.forward_features(*pad_batch(clips)), model.forward_features(*pad_batch([clips[i] for i in order]))]
    logits = [model(*pad_batch(clips)), model(*pad_batch([clips[i] for i in order]))]
    for i, clip in enumerate(clips):
        alone = model.forward_features(clip[None])
        n, frames = int(alone.lengths), alone.frames[0]
        assert frames.isfinite().all() and logits[0][i].isfinite().all()
        for way, at in zip(ways, (i, order.index(i))): assert (way.frames[at, :n] - frames).abs().max() <= exact * max(1., frames.abs().max())
        for way, at in zip(logits, (i, order.index(i))): assert (way[at] - model(clip[None])[0]).abs().max() <= 10 * exact


def check_windows(
    lengths: list[int],  # frames of each clip
    window: int,         # frames
    overlap: int,        # frames, at most half of the window
):
    "Asserts that every frame is in a window, none twice in one, and that windows added up again are what was cut."
    n, frames = torch.tensor(lengths), max(lengths)
    x = torch.randn(len(lengths), frames, 3) * length_mask(n, frames)[..., None]
    w = windows_of(n, frames, window, window - overlap)
    again = overlap_add(x[w.clip[:, None], w.index], w, len(n), frames, ramp(window, overlap)[:w.index.shape[1]])
    assert (again - x).abs().max() <= 1e-5
    assert all(len(set(i[m].tolist())) == int(m.sum()) for i, m in zip(w.index, w.mask))


def check_mask(
    lengths: list[int],  # frames of each clip
    fraction: float,     # hidden, 0 to 1
    span: int,           # frames hidden side by side
    seed: int,
):
    "Asserts that a mask hides the rounded fraction of each clip, no padding, and the same for the same seed in any company."
    from hear_nb.training.masking import random_mask
    n, seeds = torch.tensor(lengths), torch.arange(len(lengths)) + seed
    mask = random_mask(n, max(lengths) + 3, fraction, span, seeds)
    assert mask.sum(1).tolist() == [round(fraction * k) for k in lengths]
    assert not mask[~length_mask(n, mask.shape[1])].any()
    assert random_mask(n[-1:], lengths[-1], fraction, span, seeds[-1:])[0].equal(mask[-1, :lengths[-1]])


def check_quantizer(
    frames: int,
    scale: float,  # of the logits, as a power of ten
    seed: int,
):
    "Asserts that the quantizer gives finite code vectors and gradients, in evaluation those of the best codes."
    from hear_nb.model.tokenizer import Quantizer
    torch.manual_seed(seed)
    quantizer = Quantizer(HearConfig.tiny().tokenizer)
    logits = (torch.randn(1, frames, 256) * 10**scale).requires_grad_()
    out = quantizer(logits)
    out.square().sum().backward()
    assert out.isfinite().all() and logits.grad is not None and logits.grad.isfinite().all()
    best = quantizer.out(quantizer.vectors[logits.argmax(-1)])
    assert (quantizer.eval()(logits) - best).abs().max() <= 1e-5 * max(1., best.abs().max().item())


def check_stream(
    model: HEAR,
    samples: int,       # at least 400
    chunks: list[int],  # samples pushed at once, over and over
    loudness: float,    # of the noise, as a power of ten
    seed: int,
    kind: str = 'noise', # see `draw_clips`
    exact: float = 1e-5, # largest difference that is put down to rounding
):
    "Asserts that a stream that knows the clip's statistics gives the frames of the clip, and one that does not stays finite."
    from hear_nb.model.stream import HearStream, clip_statistics
    (x,) = draw_clips([samples], loudness, seed, kind)
    with torch.no_grad(): whole = model.forward_features(x[None]).frames[0].numpy()
    for known in (clip_statistics(model.frontend, x), None):
        stream, at, parts = HearStream(model, known), 0, []
        for n in itertools.cycle(chunks):
            if at >= samples: break
            parts.append(stream.push(x[at:at + n]))
            at += n
        frames = np.concatenate([*parts, stream.finish()])
        assert frames.shape == whole.shape and np.isfinite(frames).all() and np.isfinite(stream.clip).all()
        if known: assert np.abs(frames - whole).max() <= exact * max(1, np.abs(whole).max())


FORMATS = [('WAV', 'PCM_16'), ('WAV', 'FLOAT'), ('FLAC', 'PCM_16'), ('OGG', 'VORBIS'), ('OGG', 'OPUS'), ('MP3', 'MPEG_LAYER_III'),
           ('AIFF', 'PCM_16'), ('AU', 'PCM_16'), ('CAF', 'PCM_16'), ('W64', 'PCM_24')]
NAMES = ['new\nline', '<img src=x onerror=alert(1)>', "quo'te\"s", '%s{0}', 'ünï çødé', ' ', '-rf', 'a' * 200, '\x1b[31m', '..wav']

def damage(
    data: bytes,             # of a file
    rng: np.random.Generator,
) -> tuple[str, bytes]:
    "Returns what was done, and the damaged bytes."
    kind = str(rng.choice(['bits', 'cut', 'header', 'overwritten', 'inserted', 'zeros', 'spliced', 'random', 'text', 'empty']))
    raw = np.frombuffer(data, np.uint8).copy()
    new = rng.integers(0, 256, rng.integers(1, 8), dtype=np.uint8)
    some, at = lambda n: rng.integers(0, 256, n, dtype=np.uint8), int(rng.integers(1, len(raw)))
    if kind == 'bits':
        for i in rng.integers(0, len(raw), rng.integers(1, 20)): raw[i] ^= 1 << rng.integers(8)
    elif kind == 'cut': raw = raw[:at]
    elif kind == 'header': raw[rng.integers(0, min(100, len(raw)), len(new))] = new
    elif kind == 'overwritten': raw[at:at + 64] = some(len(raw[at:at + 64]))
    elif kind == 'inserted': raw = np.concatenate([raw[:at], some(rng.integers(1, 99)), raw[at:]])
    elif kind == 'zeros': raw[at:] = 0
    elif kind == 'spliced': raw = np.concatenate([raw[:at], raw[int(rng.integers(len(raw))):]])
    elif kind == 'random': raw = np.concatenate([raw[:4 * int(rng.integers(3))], some(rng.integers(1, 3000))])
    elif kind == 'text': return kind, b'<html>404 not found</html>\\n' * int(rng.integers(1, 50))
    return kind, b'' if kind == 'empty' else raw.tobytes()


def originals(seed: int) -> list[tuple[str, bytes]]:
    "Returns short recordings, good ones, as (ending, bytes)."
    import io
    import soundfile as sf
    rng, files = np.random.default_rng(seed), []
    for n, (container, coding) in enumerate(FORMATS):
        rate, channels = [(16000, 1), (44100, 2), (48000, 1), (8000, 1)][n % 4]
        if coding == 'OPUS': rate = 48000
        sf.write(file := io.BytesIO(), .1 * rng.standard_normal((rate // 5, channels)), rate, format=container, subtype=coding)
        files.append((container.lower(), file.getvalue()))
    return files

def oddity(
    path: Path,  # where it is to be; nothing is there
    rng: np.random.Generator,
) -> str:
    "Puts something there that is no file with bytes in it, and returns what."
    kind = str(rng.choice(['folder', 'loop', 'dangling', 'pipe', 'missing', 'device', 'link']))
    if kind == 'folder': path.mkdir()
    elif kind == 'loop': path.symlink_to(path.name)
    elif kind == 'dangling': path.symlink_to('nowhere.wav')
    elif kind == 'pipe': os.mkfifo(path)
    elif kind == 'device': path.symlink_to('/dev/zero')
    elif kind == 'link': path.symlink_to('.')
    return kind


def fuzz(
    files: int,    # to be tried
    seed: int,     # the same seed makes the same files
    folder: Path,  # to make them in; one at a time, and removed again
    what=load, # what is tried: a function of a path
):
    "Yields (damage, ending, outcome) of each file, the outcome 'loaded', 'AudioError' or anything else, which is a defect."
    rng, good = np.random.default_rng(seed), originals(seed)
    for n in range(files):
        ending, data = good[rng.integers(len(good))]
        path = folder / f'{n}{NAMES[rng.integers(len(NAMES))] if rng.random() < .2 else ""}.{ending}'
        if rng.random() < .1: kind = oddity(path, rng)
        else:
            kind, data = damage(data, rng)
            path.write_bytes(data)
        try: outcome = 'loaded' if torch.as_tensor(what(path)).isfinite().all() else 'NaN'
        except AudioError as e: outcome = 'AudioError' if str(path) in str(e) else f'a message without the name: {e}'
        except Exception as e: outcome = f'{type(e).__name__}: {e}'
        yield kind, ending, outcome
        if path.is_dir() and not path.is_symlink(): path.rmdir()
        else: path.unlink(missing_ok=True)
