"""Acts that commands leave for the node's log: told once, in order, whatever lies beside them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.federation import RecordingLog
from yumen_core.errors import StateError
from yumen_core.log import Act
from yumen_node import operator_spool as room
from yumen_node.operator_spool import FOLDER, REFUSED_FOLDER, OperatorSpool, leave
from yumen_node.operators import Doing, Left, OperatorAct

NODE = "spiffe://gansu.example/org/cleveland/node/heart"
AT_MS = 1_790_000_000_000


def doing(job: str = "job-1") -> Doing:
    return Doing(OperatorAct.VIEW_LOG, "os:heart", "", {"job": job})


def left(job: str = "job-1") -> bytes:
    return Left(doing(job), AT_MS).to_bytes()


class World:
    def __init__(self, state: Path) -> None:
        self.state = state
        self.folder = state / FOLDER
        self.log = RecordingLog()
        self.spool = self.started()

    def started(self) -> OperatorSpool:
        return OperatorSpool(self.state, self.log, NODE)  # type: ignore[arg-type]

    def leave(self, *jobs: str) -> None:
        for job in jobs:
            leave(self.state, doing(job))

    def put(self, name: str, data: bytes, mode: int = 0o600) -> Path:
        file = self.folder / name
        file.write_bytes(data)
        file.chmod(mode)
        return file

    @property
    def jobs(self) -> list[str]:
        return [one.subject["job"] for one in self.log.entries if one.act is Act.OPERATOR]

    @property
    def refusals(self) -> list[str]:
        found = [one for one in self.log.entries if one.act is Act.REFUSAL]
        assert all(one.detail["code"] == "operator_act" for one in found)
        return [str(one.detail["message"]) for one in found]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


def test_nothing_was_left(world: World) -> None:
    world.spool.tell()
    assert world.log.entries == []
    assert not world.state.exists()


def test_acts_are_told_once_and_in_order(world: World) -> None:
    world.leave("a", "b", "c")
    assert [file.stat().st_mode & 0o777 for file in world.folder.iterdir()] == [0o600] * 3
    for folder in (world.state, world.folder):
        assert folder.stat().st_mode & 0o777 == 0o700
    for _ in range(2):
        world.spool.tell()
    world.leave("d")
    world.spool.tell()
    assert world.jobs == ["a", "b", "c", "d"]
    assert list(world.folder.iterdir()) == []
    entry = world.log.entries[0]
    assert (entry.subject["node"], entry.detail["what"]) == (NODE, "view_log")
    assert len({one.digests["left"] for one in world.log.entries}) == 4


def test_acts_left_while_the_node_was_down_are_told_at_its_start(world: World) -> None:
    world.leave("a")
    world.started().tell()
    assert world.jobs == ["a"]


# The fault table: what may lie in the folder -------------------------------------------------


def _truncated(world: World) -> None:
    world.put("1.json", left()[:40])


def _empty(world: World) -> None:
    world.put("1.json", b"")


def _huge(world: World) -> None:
    with world.put("1.json", b"").open("wb") as file:
        file.truncate(1 << 34)


def _unknown(world: World) -> None:
    world.put("1.json", left().replace(b"view_log", b"wipe_log"))


def _with_data(world: World) -> None:
    world.put("1.json", left("job-1").replace(b"job-1", b"Li, 63"))


def _open_to_others(world: World) -> None:
    world.put("1.json", left(), 0o644)


def _link(world: World) -> None:
    target = world.state / "other.json"
    target.write_bytes(left())
    target.chmod(0o600)
    (world.folder / "1.json").symlink_to(target)


def _second_name(world: World) -> None:
    target = world.state / "other.json"
    target.write_bytes(left())
    target.chmod(0o600)
    os.link(target, world.folder / "1.json")


def _folder(world: World) -> None:
    (world.folder / "1.json").mkdir()


def _pipe(world: World) -> None:
    os.mkfifo(world.folder / "1.json", 0o600)


def _odd_name(world: World) -> None:
    world.put("1\n\x1b[2J\udcff\u202e" + "x" * 200, b"1")


BAD: list[tuple[Callable[[World], None], str]] = [
    (_truncated, "expected an operator's act in canonical JSON, got other bytes"),
    (_empty, "expected an operator's act in canonical JSON, got other bytes"),
    (_huge, "expected an operator's act of at most 4096 bytes, got 17179869184"),
    (_unknown, "expected a known act, got `wipe_log`"),
    (_with_data, "expected the id of a job or a session, got `Li, 63`"),
    (_open_to_others, "expected an act in a file of the node's user that is closed to others,"),
    (_link, "expected an act in a file that this node may read, got another"),
    (_second_name, "expected an act in a plain file with one name, got another"),
    (_folder, "expected an act in a plain file with one name, got another"),
    (_pipe, "expected an act in a plain file with one name, got another"),
    (_odd_name, "expected the fields of an operator's act, got others"),
]


@pytest.mark.parametrize(("make", "told"), BAD)
def test_what_is_no_act_is_refused_once_and_put_aside(
    world: World, make: Callable[[World], None], told: str
) -> None:
    world.leave("a")
    make(world)
    world.leave("b")
    for _ in range(3):
        world.spool.tell()
    assert world.jobs == ["a", "b"]
    (message,) = world.refusals
    assert message.startswith(told)
    (aside,) = (world.state / REFUSED_FOLDER).iterdir()
    assert [one.detail["file"] for one in world.log.entries if one.act is Act.REFUSAL] == [
        aside.name
    ]
    assert list(world.folder.iterdir()) == []
    world.started().tell()
    assert len(world.log.entries) == 3


def test_a_file_of_another_user_is_not_believed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.leave("a")
    seen = os.fstat

    def anothers(handle: int) -> os.stat_result:
        found = seen(handle)
        whose = found.st_uid if os.path.isdir(f"/proc/self/fd/{handle}") else 4242
        return os.stat_result((*found[:4], whose, *found[5:]))

    monkeypatch.setattr(room.os, "fstat", anothers)
    world.spool.tell()
    assert world.jobs == []
    assert world.refusals == [
        "expected an act in a file of the node's user that is closed to others, got another"
    ]


def test_what_was_put_aside_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_REFUSED", 2)
    world.leave("a")
    for at in range(4):
        world.put(f"{at}.json", b"?")
    world.spool.tell()
    assert len(world.refusals) == 4
    assert len(list((world.state / REFUSED_FOLDER).iterdir())) == 2
    assert list(world.folder.iterdir()) == []


# The folder ----------------------------------------------------------------------------------


def test_a_folder_open_to_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it is believed, and nothing is left there, until it is closed again."""
    world.leave("a")
    world.folder.chmod(0o777)
    for _ in range(3):
        world.spool.tell()
    assert world.refusals == ["`operator-acts` is open to others: expected mode 700, got 777"]
    assert caplog.text.count("acts of operators could not be told") == 1
    with pytest.raises(StateError, match=r"could not be left for the node's log: .*got 777"):
        world.leave("b")
    world.folder.chmod(0o700)
    world.spool.tell()
    assert world.jobs == ["a"]
    world.folder.chmod(0o750)
    for _ in range(2):
        world.spool.tell()
    assert len(world.refusals) == 2


def test_a_folder_that_is_a_link(world: World, tmp_path: Path) -> None:
    world.state.mkdir()
    world.folder.symlink_to(tmp_path)
    with pytest.raises(StateError, match=r"`.*operator-acts` is not a folder"):
        world.leave("a")
    world.spool.tell()
    assert world.log.entries == []


def test_a_file_in_the_folder_s_place(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.state.mkdir()
    world.folder.write_text("")
    with pytest.raises(StateError, match="this act could not be left for the node's log: "):
        world.leave("a")
    for _ in range(2):
        world.spool.tell()
    assert caplog.text.count("cannot be read: Not a directory") == 1


def test_a_folder_of_another_user(world: World) -> None:
    world.leave("a")
    found = world.folder.stat()
    anothers = os.stat_result((*found[:4], 4242, *found[5:]))
    with pytest.raises(StateError, match="belongs to another user of this machine"):
        room.check_folder(world.folder, anothers, owner=4243)
    room.check_folder(world.folder, anothers, owner=4242)


# The disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    world.leave("a")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"yumen_core.identity.files.os.{name}", full)
    with pytest.raises(StateError) as caught:
        world.leave("b")
    assert caught.value.message.startswith("this act could not be left for the node's log: `")
    assert caught.value.message.endswith("cannot be written: No space left on device")
    assert "start the node; an auditor works on a copy" in caught.value.remedy
    assert len(list(world.folder.iterdir())) == 1


def test_an_act_that_cannot_be_named_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StateError("state", "`x` cannot be written: No space left on device")

    monkeypatch.setattr(room, "move_file", full)
    with pytest.raises(StateError, match="No space left on device"):
        world.leave("a")
    assert list(world.folder.iterdir()) == []


def test_more_acts_than_a_node_that_is_down_may_find(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_WAITING", 2)
    world.leave("a", "b")
    with pytest.raises(StateError) as caught:
        world.leave("c")
    assert caught.value.message == (
        "this act could not be left for the node's log: 2 acts wait for the node, which is not"
        " running"
    )


def test_thousands_are_told_a_few_at_a_time(world: World) -> None:
    world.leave("a")
    for at in range(2000):
        world.put(f"9{at:06}.json", left(f"job-{at}"))
    world.spool.tell()
    assert len(world.jobs) == room.MAX_AT_ONCE
    for _ in range(20):
        world.spool.tell()
    assert world.jobs == ["a", *(f"job-{at}" for at in range(2000))]


def test_a_file_that_cannot_be_removed_is_told_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.leave("a")
    world.put("bad.json", b"?")

    def fixed(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(room.os, "unlink", fixed)
    monkeypatch.setattr(room.os, "rename", fixed)
    for _ in range(3):
        world.spool.tell()
    assert (world.jobs, len(world.refusals)) == (["a"], 1)
    assert caplog.text.count("cannot be removed") == 2


def test_a_file_that_cannot_be_read_now_is_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.leave("a")

    def broken(*_: object, **__: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(room.os, "read", broken)
        world.spool.tell()
    assert world.log.entries == []
    world.spool.tell()
    assert world.jobs == ["a"]


def test_a_closed_log_keeps_the_act(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node ends by that, and tells of it at its next start."""
    world.leave("a")

    def closed(*_: object, **__: object) -> int:
        raise StateError("log_closed", "the log cannot be written")

    with monkeypatch.context() as patched:
        patched.setattr(world.log, "record", closed)
        with pytest.raises(StateError, match="the log cannot be written"):
            world.spool.tell()
    world.started().tell()
    assert world.jobs == ["a"]


def test_half_an_act_of_a_killed_command(world: World) -> None:
    world.leave("a")
    old, new = world.put(".1.json.aa", b"{"), world.put(".2.json.bb", b"{")
    os.utime(old, (1, 1))
    world.started().tell()
    assert world.jobs == ["a"]
    assert world.refusals == []
    assert list(world.folder.iterdir()) == [new]


def test_what_root_leaves_belongs_to_the_node_s_user(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int]] = []
    monkeypatch.setattr(room.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        room.os, "chown", lambda path, uid, gid, **_: given.append((Path(path).suffix, uid))
    )
    world.leave("a")
    uid = world.state.parent.stat().st_uid
    assert given == [("", uid), ("", uid), (".json", uid)]
