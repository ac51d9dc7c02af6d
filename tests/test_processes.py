"""Several processes train as one does: on the CPU, over gloo, from shards, with a kill in between."""
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.torch import load_file

STEPS, TOLERANCE = 30, 1e-4  # of a loss near 3 nats: what the order of the sums makes of it in 30 steps

# Stage 1 or stage 2 without dropout, whose noise is each process's own. Clips of other lengths: the processes mask other numbers of frames.
SCRIPT = """
import sys, torch
from accelerate import PartialState
from hear_nb import AcousticTokenizer, HearConfig
from hear_nb.config import EncoderConfig, TaskConfig, TokenizerConfig
from hear_nb.data import open_dataset
from hear_nb.training import bootstrap_teacher, pretrain, train_tokenizer
from hear_nb.training import TrainConfig
shards, output, stage, workers = sys.argv[1:]
encoder = EncoderConfig(width=32, ffn=64, layers=1, heads=2, dropout=0.)
config = HearConfig(encoder, TaskConfig(width=32, ffn=64, hidden=16, heads=2), TokenizerConfig(encoder, codes=32))
cfg = TrainConfig(steps=%d, batch_size=8, seconds=1., lr=3e-3, save_every=5, workers=int(workers))
torch.manual_seed(0)
if stage == 'pretrain': pretrain(open_dataset(shards), config, AcousticTokenizer(config), output, cfg, span=5)
else: train_tokenizer(open_dataset(shards), config, bootstrap_teacher(open_dataset(shards), config, output + '/teacher', cfg), output, cfg)
sys.stdout.write(f'one of {PartialState().num_processes} processes\\n')
""" % STEPS


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    from hear_nb.data.dataset import bundled
    from hear_nb.commands.shard import shard
    folder = tmp_path_factory.mktemp('shards')
    (folder / 'stage.py').write_text(SCRIPT)
    sounds = bundled().where('split == "train"')
    sounds.table.assign(file=[str(f) for f in sounds.files]).iloc[:60].to_csv(folder / 'few.csv', index=False)
    shard(folder / 'few.csv', folder / 'packed', clips=16)
    return folder


def start(shards, output, processes, workers=0, stage='pretrain'):
    # not `accelerate launch --cpu`, which starts one process, however many it is asked for
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', processes] if processes > 1 else []
    command = [sys.executable, *launcher, shards / 'stage.py', shards / 'packed', output, stage, workers]
    return subprocess.Popen([*map(str, command)], env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process, processes):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert out.count(f'one of {processes} processes') == processes, out


def history(output):
    rows = list(csv.DictReader((output / 'history.csv').read_text().splitlines())) if (output / 'history.csv').exists() else []
    return [(int(row['step']), float(row['loss']), float(row.get('accuracy', 0))) for row in rows]


def assert_close(ours, theirs):
    assert [row[0] for row in ours] == [row[0] for row in theirs] == list(range(1, STEPS + 1))
    worst = max(abs(a - b) for ours, theirs in zip(ours, theirs) for a, b in zip(ours[1:], theirs[1:]))
    assert worst < TOLERANCE, worst


@pytest.fixture(scope='module')
def one(shards, tmp_path_factory):
    output = tmp_path_factory.mktemp('one')
    finish(start(shards, output, 1), 1)
    return output


def test_two_processes_learn_what_one_does(shards, one, tmp_path):
    finish(start(shards, tmp_path, 2, workers=1), 2)
    losses = [loss for _, loss, _ in history(one)]
    assert sum(losses[-5:]) < sum(losses[:5]), 'nothing was learned'
    assert_close(history(tmp_path), history(one))
    ours, theirs = (load_file(folder / 'model.safetensors') for folder in (tmp_path, one))
    assert all((ours[k] - theirs[k]).abs().max() < 1e-3 for k in theirs if k.startswith('acoustic.'))


@pytest.mark.parametrize('before, after', [(2, 1), (1, 2)])
def test_killed_run_goes_on_with_another_number_of_processes(shards, one, tmp_path, before, after):
    process = start(shards, tmp_path, before)
    deadline = time.time() + 120
    while len(history(tmp_path)) < 8 and process.poll() is None:
        assert time.time() < deadline, 'no progress'
        time.sleep(.01)
    launcher = psutil.Process(process.pid)
    for one_of_them in [*launcher.children(recursive=True), launcher]: one_of_them.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and len(history(tmp_path)) < STEPS, 'it had ended before it was killed'
    assert sorted(Path(tmp_path, 'checkpoints').glob('step-*')), 'it was killed before its first checkpoint'
    finish(start(shards, tmp_path, after), after)
    assert_close(history(tmp_path), history(one))


def test_stage_1_on_two_processes(shards, tmp_path):
    "Its noise is each process's own, so its curve is not one process's; but both learn, together, and one tokenizer comes out."
    finish(start(shards, tmp_path, 2, stage='tokenizer'), 2)
    for folder in (tmp_path / 'teacher', tmp_path):
        steps, losses, _ = zip(*history(folder))
        assert list(steps) == list(range(1, STEPS + 1)) and sum(losses[-5:]) < sum(losses[:5])
    from hear_nb import AcousticTokenizer
    assert len(AcousticTokenizer.from_pretrained(tmp_path / 'tokenizer').encode(np.zeros(16_000, np.float32))[0]) == 50
