"""Goes wrong in the way that the message's config names."""

import os
import signal
import sys
import threading
import time

import pyarrow.parquet as pq
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


class RowsSeen(ValueError):
    """A class whose name the app chose."""


@app.train()
def train(message: Message, context: Context) -> Message:
    way = str(message.content["config"]["way"])
    rows = pq.read_table(str(context.node_config["data-path"])).to_pylist()
    if way == "raise":
        raise RowsSeen(f"the rows are {rows}")
    if way == "key":
        raise KeyError(rows[0])
    if way == "module":
        raise ModuleNotFoundError(f"the rows are {rows}", name=f"row_{rows[0]['a']}")
    if way == "exit":
        sys.exit(str(rows))
    if way == "end":
        os._exit(0)
    if way == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if way == "sleep":
        time.sleep(600)
    if way == "spin":
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while True:
            pass
    if way == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if way == "print":
        while True:
            print("x" * 100_000)
    if way == "sockets":
        import socket

        while True:
            try:
                socket.socket()
            except OSError:
                continue
    if way == "forge":
        _write_to_pipes(b"\x05\x00\x00\x00\xff\xff\xff\xff\xff")
    if way == "long":
        _write_to_pipes(b"\xff\xff\xff\xff")
    if way == "silent":
        threading.Event().wait()
    return _odd_reply(way, message)


def _odd_reply(way: str, message: Message) -> Message:
    if way == "none":
        return None  # type: ignore[return-value]
    if way == "pickle":
        array = Array("float32", (1,), "pickle", b"cos\nsystem\n")
        return Message(RecordDict({"arrays": ArrayRecord({"w": array})}), reply_to=message)
    if way == "many":
        metrics = MetricRecord({f"m{at}": at for at in range(3_000)})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _write_to_pipes(raw: bytes) -> None:
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, raw)
        except OSError:
            continue
    time.sleep(600)
