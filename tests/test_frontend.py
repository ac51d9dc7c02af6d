"""The frontend computes what torchaudio computes, without importing it."""
import warnings

import pytest
import torch

from hear_nb.audio.frontend import Frontend, mel_bank
from hear_nb.config import EPS, HOP, N_BINS, N_FFT, N_MELS, SAMPLE_RATE, WINDOW


def test_mel_bank_is_torchaudios():
    functional = pytest.importorskip('torchaudio.functional', exc_type=Exception)
    theirs = functional.melscale_fbanks(N_BINS, 0., SAMPLE_RATE / 2, N_MELS, SAMPLE_RATE, norm=None, mel_scale='htk').T
    torch.testing.assert_close(mel_bank(), theirs, rtol=0, atol=1e-6)


def test_log_mel_is_torchaudios():
    transforms = pytest.importorskip('torchaudio.transforms', exc_type=Exception)
    t = torch.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    sweep = torch.sin(2 * torch.pi * (100 * t + 1150 * t**2))[None]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that its lowest bands are narrow
        theirs = transforms.MelSpectrogram(SAMPLE_RATE, n_fft=N_FFT, win_length=WINDOW, hop_length=HOP, n_mels=N_MELS)
    expected = (theirs(sweep - sweep.double().mean().float()) + EPS).log()
    expected = (expected - expected.mean()) / (expected.std(correction=0) + EPS)
    torch.testing.assert_close(Frontend()(sweep).log_mel, expected, rtol=0, atol=1e-4)
