"""One attempt to leave the sandbox for each name; run outside it, each succeeds.

The run's config says which and at what; the metric `done` says whether it was done.
"""

import contextlib
import ctypes
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

_libc = ctypes.CDLL(None, use_errno=True)
_OWN_FILES = 0x400  # what any process may ask of unshare
_TRACE_ME = 0


def connect(target: str) -> bool:
    host, port = target.split(":")
    with socket.create_connection((host, int(port)), timeout=2):
        return True


def connect_native(target: str) -> bool:
    return int(_libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)) >= 0


def connect_local(target: str) -> bool:
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(target)
        return True


def read(target: str) -> bool:
    return bool(Path(target).read_bytes())


def read_native(target: str) -> bool:
    return int(_libc.open(target.encode(), os.O_RDONLY)) >= 0


def read_through_root(target: str) -> bool:
    return _any_process(lambda process: Path(f"/proc/{process}/root{target}").exists())


def find_in_environments(target: str) -> bool:
    return _any_process(
        lambda process: target.encode() in Path(f"/proc/{process}/environ").read_bytes()
    )


def find_in_commands(target: str) -> bool:
    return _any_process(
        lambda process: target.encode() in Path(f"/proc/{process}/cmdline").read_bytes()
    )


def _any_process(holds: Callable[[str], bool]) -> bool:
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if holds(process):
                return True
    return False


def signal_process(target: str) -> bool:
    os.kill(int(target), 0)
    return True


def write(target: str) -> bool:
    Path(target).write_bytes(b"was here")
    return True


def open_to_write(target: str) -> bool:
    """Writes nothing: `target` may be a setting of the machine."""
    os.close(os.open(target, os.O_WRONLY))
    return True


def change_mode(target: str) -> bool:
    os.chmod(target, 0o600)
    return True


def fill(target: str) -> bool:
    """Until `target` bytes stand in files of 1 MiB; where that fails they stay."""
    folder = Path(tempfile.mkdtemp())
    for number in range(int(target) >> 20):
        (folder / str(number)).write_bytes(bytes(1 << 20))
    shutil.rmtree(folder)
    return True


def write_long_file(target: str) -> bool:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with tempfile.TemporaryFile() as file:
        os.ftruncate(file.fileno(), int(target))
    return True


def fork(target: str) -> bool:
    """As many children as `target` says; all wait for the last."""
    children = []
    for _ in range(int(target)):
        child = os.fork()
        if child == 0:
            time.sleep(0.2)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return True


def fork_native(target: str) -> bool:
    child = int(_libc.fork())
    if child == 0:
        os._exit(0)
    return child > 0


def run_program(target: str) -> bool:
    return subprocess.run([sys.executable, "-c", "pass"], check=True).returncode == 0


def replace_program(target: str) -> bool:
    child = os.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", "pass"])
    os.waitpid(child, 0)
    return True


def start_threads(target: str) -> bool:
    threading.stack_size(1 << 16)  # so that memory does not stop them first
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, daemon=True) for _ in range(int(target))]
    for thread in threads:
        thread.start()
    time.sleep(1)
    done.set()
    return True


def take_memory(target: str) -> bool:
    taken = bytearray(int(target))
    taken[::4096] = b"x" * len(taken[::4096])
    return True


def take_shared_memory(target: str) -> bool:
    taken = mmap.mmap(-1, int(target))
    for at in range(0, int(target), 4096):
        taken[at] = 1
    return True


def share_device(target: str) -> bool:
    device = os.open(target, os.O_RDWR)
    taken = mmap.mmap(device, 1 << 20, mmap.MAP_SHARED)
    taken[0] = 1
    return True


def unshare(target: str) -> bool:
    return int(_libc.unshare(_OWN_FILES)) == 0


def be_traced(target: str) -> bool:
    return int(_libc.ptrace(_TRACE_ME, 0, 0, 0)) == 0


def print_rows(target: str) -> bool:
    print(pq.read_table(target).to_pylist(), flush=True)
    return True


ATTEMPTS: dict[str, Callable[[str], bool]] = {
    made.__name__: made
    for made in (
        *(connect, connect_native, connect_local, read, read_native, read_through_root),
        *(find_in_environments, find_in_commands, signal_process, write, change_mode, fill),
        *(write_long_file, fork, fork_native, run_program, replace_program, start_threads),
        *(take_memory, take_shared_memory, share_device, open_to_write),
        *(unshare, be_traced, print_rows),
    )
}

app = ClientApp()


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    config = message.content["config"]
    try:
        done = ATTEMPTS[str(config["attempt"])](str(config["target"]))
    except (OSError, RuntimeError, MemoryError):
        done = False
    metrics = MetricRecord({"num-examples": 1, "done": int(done)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
