from __future__ import annotations

import hashlib
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from bundle_samples import CLIENT, FILES, PYPROJECT, as_bytes, write
from hypothesis import given
from hypothesis import strategies as st
from yumen_core.errors import CallError, PeerError
from yumen_core.rpc.v1 import training_pb2
from yumen_core.training.bundle import MAX_BYTES, MAX_FILES, Bundle
from yumen_core.training.difference import MAX_COMPARED_LINES, difference
from yumen_core.training.source import MAX_METRIC_NAMES, imports, metric_names


def test_a_folder_becomes_its_files_and_back(tmp_path: Path) -> None:
    bundle = Bundle.from_folder(write(tmp_path))
    assert bundle.files == as_bytes()
    assert list(bundle.files) == sorted(FILES)
    assert Bundle.from_bytes(bundle.to_bytes()) == bundle
    assert bundle.digest == hashlib.sha256(bundle.to_bytes()).digest()
    assert {bundle} == {Bundle.from_bytes(bundle.to_bytes())}


def test_any_changed_byte_changes_the_digest() -> None:
    assert (
        Bundle(as_bytes()).digest
        != Bundle(as_bytes(**{"heart/task.py": FILES["heart/task.py"] + "\n"})).digest
    )


def test_order_of_files_does_not_matter() -> None:
    assert Bundle(dict(reversed(as_bytes().items()))).digest == Bundle(as_bytes()).digest


def test_the_app_is_read_as_flower_reads_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what it imports
        from flwr.common import config as flower
    app = Bundle.from_folder(write(tmp_path)).app
    assert (app.name, app.version, app.publisher) == ("heart", "1.0.0", "lzu")
    assert (app.serverapp, app.clientapp) == ("heart.server_app:app", "heart.client_app:app")
    assert app.dependencies == ("flwr>=1.41", "torch")
    assert app.run_config == flower.get_fused_config_from_dir(tmp_path, {})
    assert app.run_config["model.size.hidden"] == 8


def test_what_is_left_behind(tmp_path: Path) -> None:
    write(tmp_path)
    for path in (
        ".git/config.toml", ".env.py", "heart/__pycache__/x.py", "venv/lib.py", "build/a.py",
        "heart.egg-info/top.txt", "heart/test_it.py", "heart/it_test.py", "logo.png", "data.csv",
        "model.pt", "uv.lock",
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"\x00\xff")
    (tmp_path / "venv" / "link.py").symlink_to("/etc/passwd")
    (tmp_path / "heart" / "build").mkdir()
    (tmp_path / "heart" / "build" / "kept.py").write_text("x = 1\n")
    (tmp_path / "LICENSE").write_text("free\n")
    found = Bundle.from_folder(tmp_path).files
    assert sorted(set(found) - set(FILES)) == ["LICENSE", "heart/build/kept.py"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pyproject.toml": "[project"}, "expected TOML in `pyproject.toml`, got other text"),
        ({"pyproject.toml": "a = " + "[" * 5000}, "expected TOML in `pyproject.toml`"),
        (
            {"pyproject.toml": "[project]\nname='a'\nversion='1'\n"},
            "expected the section [tool.flwr.app] in `pyproject.toml`, got none",
        ),
        (
            {"pyproject.toml": PYPROJECT.replace('publisher = "lzu"', "")},
            "expected `publisher` in [tool.flwr.app] of `pyproject.toml`, got none",
        ),
        (
            {"pyproject.toml": PYPROJECT.replace('name = "heart"', "", 1)},
            "expected `name` in [project] of `pyproject.toml`, got none",
        ),
        (
            {"pyproject.toml": PYPROJECT.replace('"heart"', '"he\\u202Eart"', 1)},
            "expected `name` in [project] of characters that print, got others",
        ),
        (
            {"pyproject.toml": PYPROJECT.replace("heart.client_app:app", "heart/client_app.py")},
            "expected `clientapp` as `module:object`, got `heart/client_app.py`",
        ),
        (
            {"pyproject.toml": PYPROJECT.replace("client_app:app", "gone:app")},
            "expected `heart/gone.py` in the app's folder for `heart.gone:app`, got no file",
        ),
        (
            {"pyproject.toml": PYPROJECT.replace("client_app:app", "client_app:main")},
            "expected `heart/client_app.py` to define `main` at its top level, got no such name",
        ),
        (
            {"pyproject.toml": PYPROJECT.replace("rounds = 3", "rounds = [3]")},
            "got another value of `rounds` in [tool.flwr.app.config]",
        ),
        (
            {"heart/task.py": "x = (\n"},
            "expected Python in `heart/task.py`, got a syntax error at line 1",
        ),
        (
            {"heart/task.py": "x" + ".a" * 60_000},
            "expected Python in `heart/task.py`, got text that does not parse",
        ),
        ({"heart/task.py": "-" * 50_000 + "1"}, "expected Python in `heart/task.py`, got"),
        ({"notes.txt": b"\xff\xfe"}, "expected text in UTF-8 in `notes.txt`, got other bytes"),
        ({"notes.txt": "a\0b"}, "expected text in `notes.txt`, got a binary file"),
        ({"notes.txt": "ok\rrm"}, "in `notes.txt`, got a lone carriage return"),
        (
            {"heart/task.py": "x = 1 # \u202e y\n"},
            "expected text that reads as it runs in `heart/task.py`, got at line 1, column 9: "
            "hidden character U+202E",
        ),
        ({"heart/task.py": "p\u0430y = 1\n"}, "mixes cyrillic and latin letters"),
        ({"heart/my file.py": "x = 1\n"}, "expected paths of letters, digits and `_.-/`"),
        (
            {"heart/task.py": "a\n" * 70_000},
            "expected at most 131072 bytes of Python in `heart/task.py`, got 140000",
        ),
        ({"big.txt": "x" * MAX_BYTES}, "expected at most 1048576 bytes in `"),
        ({f"f{n}.txt": "" for n in range(MAX_FILES)}, "expected at most 200 files in `"),
    ],
)
def test_bad_folders(tmp_path: Path, changed: dict[str, str | bytes], message: str) -> None:
    write(tmp_path, **changed)
    with pytest.raises(CallError) as raised:
        Bundle.from_folder(tmp_path)
    assert raised.value.code == "bundle"
    assert message in raised.value.message


def test_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"expected the folder of a Flower app, got `.*gone`"):
        Bundle.from_folder(tmp_path / "gone")
    with pytest.raises(CallError, match=r"expected a `pyproject.toml` in `.*`, got none"):
        Bundle.from_folder(tmp_path)


@pytest.mark.parametrize("target", ["/etc/passwd", "/etc", "gone"])
def test_symbolic_links_are_refused(tmp_path: Path, target: str) -> None:
    (write(tmp_path) / "heart" / "extra.py").symlink_to(target)
    with pytest.raises(CallError, match=r"got the symbolic link `.*extra.py`"):
        Bundle.from_folder(tmp_path)


@pytest.mark.parametrize(
    "path",
    ["../x.py", "/etc/x.py", ".hidden.py", "a/.b/x.py", "a//b.py", "a/", "", "a\\b.py", "a/../b.py",
     "x\n.py", "-x.py", "x" * 201],
)  # fmt: skip
def test_paths_off_the_wire(path: str) -> None:
    with pytest.raises(PeerError, match="expected paths of letters, digits"):
        Bundle.from_bytes(_message([*as_bytes().items(), (path, b"")]))


def _message(files: list[tuple[str, bytes]]) -> bytes:
    message = training_pb2.Bundle()
    for path, content in files:
        message.files.append(training_pb2.BundleFile(path=path, content=content))
    return message.SerializeToString(deterministic=True)


def test_bytes_off_the_wire() -> None:
    good = Bundle(as_bytes()).to_bytes()
    files = list(as_bytes().items())
    table = [
        (b"\xff\xff", "expected a bundle, got other bytes"),
        (b"", "expected a `pyproject.toml` at the top of the app's folder, got none"),
        (good + b"\x12\x01a", "expected a bundle in its canonical form, got another form"),
        (_message(sorted(files)[::-1]), "expected a bundle in its canonical form"),
        (_message([*files, files[0]]), "expected distinct paths in a bundle, got one twice"),
        (_message([*files, ("heart", b"")]), "expected a file or a folder, got both above `heart/"),
        (_message([*files, ("x.txt", b"\0")]), "expected text in `x.txt`, got a binary file"),
        (_message([*files, ("x.txt", b"x" * MAX_BYTES)]), "expected at most 200 files of 1048576"),
        (b"x" * (2 * MAX_BYTES), "expected a bundle of at most "),
    ]
    for raw, message in table:
        with pytest.raises(PeerError) as raised:
            Bundle.from_bytes(raw)
        assert raised.value.code == "bundle"
        assert message in raised.value.message


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_no_other_error_off_the_wire(junk: bytes, at: int) -> None:
    good = Bundle(as_bytes()).to_bytes()
    for raw in (junk, good[:at] + junk + good[at:], good[:at]):
        with suppress(PeerError):
            assert Bundle.from_bytes(raw).to_bytes() == raw


def test_components_may_be_packages_or_come_from_elsewhere() -> None:
    Bundle(as_bytes(**{"heart/client_app.py": None, "heart/client_app/__init__.py": CLIENT}))
    Bundle(as_bytes(**{"heart/client_app.py": "from heart.other import thing as app\n"}))
    Bundle(as_bytes(**{"heart/client_app.py": "try:\n    app = 1\nexcept OSError:\n    pass\n"}))
    Bundle(as_bytes(**{"heart/client_app.py": "from x import *\n"}))
    with pytest.raises(CallError, match="to define `app` at its top level"):
        Bundle(as_bytes(**{"heart/client_app.py": "def f():\n    app = 1\n"}))


def test_metric_names_are_literals() -> None:
    names = metric_names(Bundle(as_bytes()))
    assert names == ["num-examples", "other_name", "train acc", "train_loss"]


SERVER = 'from flwr import ServerApp\napp = ServerApp()\nx = {"server-only": 1}\n'


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"heart/task.py": "x = 1\n"}, False),
        ({"heart/task.py": "from .other import server_app\n"}, False),
        ({"heart/task.py": "from . import server_app\n"}, True),
        ({"heart/task.py": "import heart.server_app\n"}, True),
        ({"heart/task.py": "def f():\n    from heart.server_app import x\n"}, True),
    ],
)
def test_names_of_the_server_apps_own_module_are_none(changed: dict[str, str], shown: bool) -> None:
    names = metric_names(Bundle(as_bytes(**{"heart/server_app.py": SERVER, **changed})))
    assert ("server-only" in names) is shown
    assert "train_loss" in names


def test_the_apps_settings_are_no_metric_names() -> None:
    task = "def f(c):\n    return c['rounds'], c['fraction'], c['model.name'], c['mine']\n"
    names = metric_names(Bundle(as_bytes(**{"heart/task.py": task})))
    assert "mine" in names
    assert not {"rounds", "fraction", "model.name"} & set(names)


def test_beyond_the_limit_keys_come_first() -> None:
    text = "x = [" + ",".join(f"'a{n}'" for n in range(400)) + "]\nm = {'zz': 1}\n"
    names = metric_names(Bundle(as_bytes(**{"heart/more.py": text})))
    assert len(names) == MAX_METRIC_NAMES
    assert "zz" in names
    assert "train_loss" in names


def test_imports() -> None:
    assert imports(Bundle(as_bytes())) == ["flwr", "os", "torch"]


def test_difference() -> None:
    old = Bundle(as_bytes(**{"old.txt": "a\n", "long.txt": "x\n" * 3000, "ends.txt": "a\r\n"}))
    changed = CLIENT.replace("0.5", "0.25")
    new = Bundle(
        as_bytes(**{
            "heart/client_app.py": changed, "new.txt": "b\nc", "ends.txt": "a\n",
            "long.txt": "y\n" * (MAX_COMPARED_LINES + 1),
        })
    )  # fmt: skip
    lines = difference(old, new)
    assert lines[:3] == ["changed ends.txt (line ends only)", "changed heart/client_app.py (+1 -1)",
                         "@@ -9,7 +9,7 @@"]  # fmt: skip
    assert '-    metrics = {"train_loss": 0.5, "num-examples": 3}' in lines
    assert '+    metrics = {"train_loss": 0.25, "num-examples": 3}' in lines
    assert lines[-5:] == [
        "changed long.txt (too long to compare: 3000 lines before, 2001 lines now)",
        "added new.txt (2 lines)", "+b", "+c", "removed old.txt (1 line)",
    ]  # fmt: skip
    assert difference(old, old) == []
