"""Training survives what a notebook cell cannot do to itself: SIGKILL at any moment, and Ctrl-C."""
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

STEPS = 30


def start(output: Path) -> subprocess.Popen:
    "Starts stage 1 with a bootstrapped teacher: two runs in one process, with dropout and Gumbel noise."
    code = "import sys; from hear_nb.cli import main; sys.exit(main())"
    args = ["train-tokenizer", "--output", str(output), "--steps", str(STEPS), "--batch-size", "4", "--seconds", "0.5",
            "--save-every", "4"]
    # one thread: sums are added in the same order in every run
    return subprocess.Popen([sys.executable, "-c", code, *args], env={**os.environ, "OMP_NUM_THREADS": "1"},
                            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def rows(path: Path) -> list:
    return list(csv.reader(path.read_text().splitlines())) if path.exists() else []


def wait_for_rows(process: subprocess.Popen, path: Path, n: int):
    "Waits until the history has `n` rows besides its head, or the process ends."
    deadline = time.time() + 120
    while len(rows(path)) <= n and process.poll() is None:
        assert time.time() < deadline, "no progress"
        time.sleep(.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    process = start(output)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert len(rows(output / "history.csv")) == STEPS + 1
    return output


def assert_same(output: Path, whole: Path):
    for name in ("teacher/history.csv", "history.csv"): assert rows(output / name) == rows(whole / name)
    ours, theirs = (load_file(p / "tokenizer" / "model.safetensors") for p in (output, whole))
    assert all(ours[k].equal(theirs[k]) for k in theirs)


def test_killed_and_resumed_to_the_bit(tmp_path, undisturbed):
    rng = random.Random(0)
    for name in ("teacher/history.csv", "history.csv"):  # once in each of the two runs
        process = start(tmp_path)
        wait_for_rows(process, tmp_path / name, rng.randrange(5, STEPS - 5))
        time.sleep(rng.random() * .05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it had ended before it was killed"
        assert len(rows(tmp_path / name)) < STEPS
    process = start(tmp_path)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert_same(tmp_path, undisturbed)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, undisturbed):
    process = start(tmp_path)
    wait_for_rows(process, tmp_path / "teacher/history.csv", 7)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "called again" in err and "Traceback" not in err
    last, = (tmp_path / "teacher" / "checkpoints").glob("step-*")
    assert json.loads((last / "run.json").read_text())["step"] == len(rows(tmp_path / "teacher/history.csv")) - 1
    process = start(tmp_path)
    process.communicate(timeout=200)
    assert_same(tmp_path, undisturbed)
