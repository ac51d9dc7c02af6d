"""Sounds that are longer than memory, and files of them that end in the middle."""
import os
import pickle

import pytest
import torch

from hear_nb.audio.decode import AudioError
from hear_nb.audio.long import DecodedFile


def test_a_spool_survives_a_pickle_and_a_broken_one_leaves_nothing(tmp_path):
    clip = torch.randn(40_000)
    spool = DecodedFile([clip.numpy()], tmp_path / 'clip.raw')
    assert torch.cat([*pickle.loads(pickle.dumps(spool)).split(999)]).equal(clip)
    spool.remove()

    def truncated():
        yield clip.numpy()
        raise AudioError('truncated')
    with pytest.raises(AudioError, match='truncated'): DecodedFile(truncated(), tmp_path / 'half.raw')
    assert os.listdir(tmp_path) == []
