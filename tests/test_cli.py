"""The command line as a terminal has it."""
import json
import subprocess
import sys

import pytest

from hear_nb.cli import COMMANDS, command, main
from hear_nb.data.dataset import bundled
from hear_nb.model.tokenizer import AcousticTokenizer


def run(*argv): return subprocess.run([sys.executable, '-m', 'hear_nb.cli', *argv], check=False, capture_output=True, text=True)


def test_module_runs_as_the_command():
    done = run('--version')
    assert done.returncode == 0 and done.stdout.startswith('hear-nb ')
    assert run('no-such-command').returncode == 2


def test_list_of_commands_shows_first_sentences(capsys):
    with pytest.raises(SystemExit) as end: main(['--help'])
    listed = ' '.join(capsys.readouterr().out.split())
    assert end.value.code == 0
    for name in COMMANDS:
        sentence, _, rest = ' '.join(command(name).__doc__.split()).partition('. ')
        assert f'{name} {sentence}' in listed
        assert not rest or rest not in listed


def test_tokenize_resumes_where_it_was_stopped(monkeypatch, tmp_path, capsys):
    good, output = [str(f) for f in bundled().files[:3]], str(tmp_path/'tokens.jsonl')
    encode, heard = AcousticTokenizer.encode, []

    def listen(self, x, *args, **kwargs):
        heard.append(x)
        if len(heard) == 2: raise KeyboardInterrupt
        return encode(self, x, *args, **kwargs)

    monkeypatch.setattr(AcousticTokenizer, 'encode', listen)
    assert main(['tokenize', *good, '--output', output]) == 130
    assert not (tmp_path/'tokens.jsonl').exists()
    assert main(['tokenize', *good[1:], '--output', output]) == 1  # other files: that is another run
    assert 'tokens.jsonl' in capsys.readouterr().err
    assert main(['tokenize', *good, '--output', output]) == 0
    assert len(heard) == 4  # the first was not heard again
    assert [json.loads(line)['file'] for line in open(output)] == good
    assert [p.name for p in tmp_path.iterdir()] == ['tokens.jsonl']
