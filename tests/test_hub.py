"""A hub that runs on this machine: what is pushed to it is what is read from it, card and all."""
import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Hub(BaseHTTPRequestHandler):
    "As much of the Hugging Face hub's interface as a push and a download need. Files live in `server.files`."
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_): pass

    def answer(self, body=b'', status=200, **headers):
        if not isinstance(body, bytes): body, headers = json.dumps(body).encode(), {'Content-Type': 'application/json', **headers}
        self.send_response(status)
        for name, value in {**headers, 'Content-Length': str(len(body))}.items(): self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length'] or 0))
        self.server.asked.append(f'POST {self.path}')
        files, url = self.server.files, f'http://{self.headers["Host"]}/me/small'
        if self.path == '/api/repos/create': return self.answer(dict(url=url, name='me/small', id='1'))
        if self.path == '/api/validate-yaml': return self.answer(dict(errors=[], warnings=[]))
        if '/preupload/' in self.path:
            names = [f['path'] for f in json.loads(body)['files']]
            return self.answer(dict(files=[dict(path=n, uploadMode='regular', shouldIgnore=False, oid=None) for n in names]))
        assert '/commit/' in self.path, self.path
        for line in body.decode().splitlines():
            if (row := json.loads(line))['key'] == 'file': files[row['value']['path']] = base64.b64decode(row['value']['content'])
        return self.answer(dict(success=True, commitOid='a' * 40, commitUrl=f'{url}/commit/{"a" * 40}', pullRequestUrl=None))

    def do_GET(self):
        self.server.asked.append(f'{self.command} {self.path}')
        files, path = self.server.files, self.path.partition('?')[0]
        if '/resolve/' in path:
            name = path.split('/', 5)[5]
            if name not in files: return self.answer(b'Entry not found', 404, X_Error_Code='EntryNotFound', X_Repo_Commit='a' * 40)
            return self.answer(files[name], ETag=f'"{hashlib.sha1(files[name]).hexdigest()}"', X_Repo_Commit='a' * 40)
        if not path.startswith('/api/models/me/small') or not files:
            return self.answer(dict(error='Repository not found'), 404, X_Error_Code='RepoNotFound')
        if '/tree/' in path: return self.answer([dict(type='file', path=n, size=len(b), oid=hashlib.sha1(b).hexdigest()) for n, b in files.items()])
        return self.answer(dict(id='me/small', sha='a' * 40, private=False, tags=[], siblings=[dict(rfilename=n) for n in files]))

    do_HEAD = do_GET


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    server.files, server.asked = {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def run(hub, code, tmp_path):
    "Runs code in a process of its own that takes this server for the hub."
    env = {**os.environ, 'HF_ENDPOINT': f'http://127.0.0.1:{hub.server_port}', 'HF_HOME': str(tmp_path / 'home'), 'HF_TOKEN': 'hf_no',
           'HF_HUB_DISABLE_TELEMETRY': '1', 'HF_HUB_DISABLE_XET': '1', 'NO_PROXY': '127.0.0.1', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-c', code], env=env, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr + '\n'.join(hub.asked)
    return done.stdout


@pytest.mark.parametrize('kind, call', [('HEAR', 'embed(x).clip'), ('AcousticTokenizer', 'encode(x)[0]')])
def test_pushed_and_read_again(hub, tmp_path, kind, call):
    code = f'''
import numpy as np
from hear_nb import {kind}, HearConfig
x = np.random.default_rng(0).standard_normal(8000)
model = {kind}(HearConfig.tiny()).eval()
card = dict(data='An hour of rain.', results=[dict(task='rain', accuracy=.75)], licence='cc0-1.0', use='Not for snow.')
print(model.push_to_hub('me/small', card=card))
again = {kind}.from_pretrained('me/small')
assert np.array_equal(again.{call}, model.{call})
assert again.config == model.config
'''
    assert '/me/small/commit/' in run(hub, code, tmp_path)
    card = hub.files['README.md'].decode()
    assert sorted(hub.files) == ['README.md', 'config.json', 'model.safetensors']
    for part in ['license: cc0-1.0', 'library_name: hear_nb', 'An hour of rain.', '| rain | 0.750 |', 'Not for snow.',
                 f'{kind}.from_pretrained("me/small")', 'value: 0.75']: assert part in card


def test_what_is_not_there_is_an_error(hub, tmp_path):
    run(hub, '''
import hear_nb
try: hear_nb.HEAR.from_pretrained('me/other')
except OSError as error: assert 'me/other' in str(error), error
else: raise SystemExit('found')
''', tmp_path)
