"""All stages in one process, small, with a checkpoint every step: what the reliability tests kill. Not a test itself.

    python killable.py FOLDER [STEPS]
    python killable.py --serve          (a fork for every `FOLDER STEPS` on its input)

It says on its output where it is: `writing` before a checkpoint, `step` after it, the name of each stage, `done`.
"""
import os
import sys
import warnings
from pathlib import Path

import numpy as np

from hear_nb import training
from hear_nb.training.bootstrap import bootstrap_teacher
from hear_nb.training.stages import finetune, pretrain, train_tokenizer
from hear_nb.config import EncoderConfig, HearConfig, TaskConfig, TokenizerConfig
from hear_nb.data.dataset import bundled
from hear_nb.model.hear import HEAR
from hear_nb.runs import replacing

CONFIG = HearConfig(EncoderConfig(32, 64, 2, 1), TaskConfig(32, 64, 2, hidden=32), TokenizerConfig(EncoderConfig(32, 64, 2, 1), 32, 8, 1, 32))


def say(*words): print(*words, flush=True)


def run(output: Path, steps: int):
    data = bundled().where('family != "speech"')
    data = data.where(np.arange(len(data)) % 12 == 0)
    cfg = training.TrainConfig(steps=steps, batch_size=4, seconds=.5, save_every=1)
    say('teacher')
    teacher = bootstrap_teacher(data, CONFIG, output / 'teacher', cfg)
    say('tokenizer')
    tokenizer, _ = train_tokenizer(data, CONFIG, teacher, output / 'tokenizer', cfg)
    say('pretrain')
    model = pretrain(data, CONFIG, tokenizer, output / 'model', cfg)[0]
    say('finetune')
    finetune(data, 'family', model, output / 'tuned', cfg)
    say('embed')
    tuned = HEAR.from_pretrained(output / 'tuned')
    clips = [data[i] for i in range(len(data))] * 4
    with replacing(output / 'clips.npz') as draft: np.savez(draft, clip=tuned.embed(clips, batch_size=4).clip)
    say('done')


def serve():
    "Forks a process for each `FOLDER STEPS` on the input, so that the imports are paid for once."
    for line in sys.stdin:
        folder, steps = line.rstrip('\n').rsplit(' ', 1)
        if not (pid := os.fork()):
            try: run(Path(folder), int(steps))
            except BaseException as e: say('error', repr(e)); os._exit(1)
            os._exit(0)
        say('pid', pid)
        say('ended', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    save = training.Checkpoints.save
    def told(self, accelerator, step):
        say('writing')
        save(self, accelerator, step)
        say('step', step)
    training.Checkpoints.save = told
    if sys.argv[1] == '--serve': sys.exit(serve())
    try: run(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 6)
    except OSError as e: sys.exit(f'error: {e}')
