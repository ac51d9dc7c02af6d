"""Two processes share the tests; and a JupyterLab in a browser, for those that need eyes and a mouse."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

if "PYTEST_XDIST_WORKER" in os.environ: os.environ.setdefault("OMP_NUM_THREADS", "1")  # or both would want both cores
ARGS = ["--headless=new", "--no-sandbox", "--disable-background-networking", "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]  # the scatter plot wants WebGL, and there is no GPU
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page, also those out of sight
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    "A file's tests stay in one process, which sets up once what they share. Notebooks share nothing: each goes where there is room."
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str: return nodeid if "::test_notebook[" in nodeid else nodeid.split("::")[0]
    return Files(config, log)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2): return True
    except OSError: return False


class Lab:
    "A JupyterLab that serves `folder`, and a browser."
    def __init__(self, folder: Path, url: str, browser):
        self.folder, self.url, self.browser = folder, url, browser

    def open(self, notebook: str):
        "Returns a page that shows a notebook of the folder, with the list `errors` of what its console complains about."
        page = self.browser.new_page(viewport={"width": 1400, "height": 1300})
        page.set_default_timeout(60_000)
        page.errors = []
        page.on("console", lambda m: page.errors.append(f"{m.text} {m.location}") if m.type == "error" else None)
        page.on("pageerror", lambda e: page.errors.append(str(e)))
        page.goto(f"{self.url}/lab/tree/{notebook}?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_function("""() => {
            const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
            return session?.isReady && session.session?.kernel?.status === "idle";
        }""")  # or JupyterLab asks which kernel is meant
        return page


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    "Skips, and says what to get, where there is no browser to drive."
    api = pytest.importorskip("playwright.sync_api", reason='no Playwright: pip install -e ".[dev]"')
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None: pytest.skip("no Chromium: apt-get install chromium")
    folder, settings, port = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("settings"), free_port()
    for name, values in SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    env = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTERLAB_WORKSPACES_DIR": str(settings),
           "JUPYTER_CONFIG_DIR": str(settings), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0",
               "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"]
    url = f"http://127.0.0.1:{port}"
    with open(settings / "log", "w") as log, subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log) as server:
        try:
            deadline = time.time() + 90
            while not answers(f"{url}/api"):
                assert server.poll() is None and time.time() < deadline, (settings / "log").read_text()
                time.sleep(.3)
            with api.sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
                yield Lab(folder, url, browser)
                browser.close()
        finally: server.terminate()
