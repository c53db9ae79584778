"""
JupyterLab behind the agent, used in a real browser through the proxy, as a person would.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import urllib.request
from typing import Any

from invproxy.test.chromium import find, missing, startBrowser
from invproxy.test.programs import (
    DEADLINE,
    Agent,
    IntegrationTestCase,
    Program,
    Proxy,
    eventually,
    freePort,
)

TOKEN = "token-of-the-test"


class JupyterLabTests(IntegrationTestCase):
    """
    A notebook is used.
    """

    if why := missing("jupyterlab"):
        skip = why
        sys.stderr.write(f"{__name__} is skipped: {skip}\n")

    def setUp(self) -> None:
        # Short, as sockets are made in it.
        self.place = tempfile.mkdtemp(prefix="invproxy-lab-")
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.notebooks = self.directory("notebooks")
        self.port = port = freePort()
        lab = self.running(
            Program(
                "jupyterlab",
                [
                    *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                    "--ServerApp.ip=127.0.0.1",
                    f"--ServerApp.port={port}",
                    "--ServerApp.port_retries=0",
                    f"--ServerApp.root_dir={self.notebooks}",
                    f"--IdentityProvider.token={TOKEN}",
                ],
                {
                    "HOME": self.directory("home"),
                    "IPYTHONDIR": self.directory("ipython"),
                    "JUPYTER_CONFIG_DIR": self.directory("config"),
                    "JUPYTER_DATA_DIR": self.directory("data"),
                    "JUPYTER_RUNTIME_DIR": self.directory("runtime"),
                },
                cwd=self.place,
            )
        )
        self.proxy = self.running(Proxy())
        lab.waitFor("is running at")
        self.running(Agent(self.proxy.url, "lab", f"http://127.0.0.1:{port}"))
        self.driver = startBrowser(self, self.directory("profile"))

    def directory(self, name: str) -> str:
        """
        Make a directory.
        """
        path = os.path.join(self.place, name)
        os.makedirs(path, exist_ok=True)
        return path

    def isConnected(self) -> bool:
        """
        Say whether a page is connected to a kernel. What the page itself shows is too early for that, and what is run
        before is dropped by JupyterLab.
        """
        url = f"http://127.0.0.1:{self.port}/api/sessions?token={TOKEN}"
        with urllib.request.urlopen(url, timeout=DEADLINE) as response:
            return any(session["kernel"]["connections"] for session in json.load(response))

    def find(self, selector: str, text: str = "") -> Any:
        """
        Wait for something that can be seen.

        @param selector: what, in CSS.
        @param text: a text that it has.
        """
        try:
            return find(self.driver, selector, text)
        except AssertionError as error:
            shot = os.path.abspath(self.mktemp() + ".png")
            os.makedirs(os.path.dirname(shot), exist_ok=True)
            self.driver.save_screenshot(shot)
            raise AssertionError(f"{error}\nsee {shot}") from None

    def run_(self, code: str) -> None:
        """
        Type code into the cell that is being edited, and run it.
        """
        from selenium.webdriver import ActionChains, Keys

        self.find(".jp-NotebookPanel .jp-Cell.jp-mod-active .cm-content").click()
        keys = ActionChains(self.driver).send_keys(code)
        keys.key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()

    def test_notebook(self) -> None:
        """
        Log in, make a notebook, run cells over the kernel's WebSocket, and see what they print.
        """
        driver = self.driver
        driver.get(f"{self.proxy.url}/lab")
        self.find("#password_input").send_keys(TOKEN)
        self.find("#login_submit").click()
        self.find(".jp-LauncherCard[data-category='Notebook']").click()
        self.find(".jp-NotebookPanel .jp-Cell.jp-mod-active .cm-content")
        eventually(self.isConnected, "the page is connected to a kernel")
        self.run_("answer = 6 * 7; print('the answer is', answer)")
        self.find(".jp-OutputArea-output pre", "the answer is 42")
        # State stays with the kernel, and its prompt counts.
        self.run_("answer * 1000 + len(open('Untitled.ipynb').read()[:17])")
        self.find(".jp-OutputArea-executeResult pre", "42017")
        # What the kernel prints is seen while the cell runs: this one ends only once it was.
        seen = os.path.join(self.place, "seen")
        os.mkfifo(seen)
        self.run_("print('begun', flush=True); open('../seen').readline(); print('over')")
        self.find(".jp-OutputArea-output pre", "begun")
        # For reading as well, as this does not wait for the kernel to open it.
        with open(os.open(seen, os.O_RDWR), "w", encoding="ascii") as pipe:
            pipe.write("yes\n")
            pipe.flush()
            self.find(".jp-OutputArea-output pre", "over")
        if shot := os.environ.get("INVPROXY_SCREENSHOT"):
            driver.save_screenshot(shot)
        self.assertIn("Untitled.ipynb", os.listdir(self.notebooks))
        driver.quit()
        self.proxy.waitFor(r'"GET /api/kernels/\S+/channels\S* HTTP/1.1" 101 ')
