"""Worker processes do not outlive the process that made them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import is_alive

SCRIPT = """
import os, time
from mlcalc.common.pools import spawn_pool

def busy():
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    with spawn_pool(1) as pool:
        pool.submit(busy).result()
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_its_parent(tmp_path, signal_number):
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert is_alive(worker)
    os.kill(parent.pid, signal_number)
    parent.wait()
    deadline = time.monotonic() + 60.0
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker)
