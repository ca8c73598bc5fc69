"""What a process has used."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.live.process import cpu_s

BUSY = """
import threading, time
def busy():
    while time.thread_time() < 0.2: pass
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done", flush=True)
input()
"""


def test_cpu_of_threads_that_have_ended_counts_and_of_a_process_that_is_gone_there_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = cpu_s(process.pid)
        process.communicate(b"\n")

    assert used >= 3 * 0.2
    assert cpu_s(process.pid) == 0.0
