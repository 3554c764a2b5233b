"""A training's checkpoint: what was asked, and the released aggregate of every finished run.

    DIR                      0700
    ├── training.json        what was asked, the jobs, the strategy, the random state at the start
    └── round-000001.bin     one finished run each: its content's digest, and its aggregate

Trust: whoever can write here can put any model into a resumed training; the digests find damage,
not forgery. Nothing here comes from a single node.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from yumen_core import canonical
from yumen_core.canonical import Json
from yumen_core.errors import PeerError, StateError
from yumen_core.identity.files import (
    PRIVATE_MODE,
    make_private_directory,
    move_file,
    read_file,
    replace_file,
)
from yumen_core.training.records import Action

from yumen.display import counted
from yumen.training.checkpoint import Finished, from_bytes, to_parts
from yumen.training.plain import plain_json

_MAX_ROUND_BYTES = (1 << 31) - 1
_MAX_ROUNDS = 100_000
_MAX_ASKED_BYTES = 4 << 20
_NAME = "training.json"
_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RUNNING, _FINISHED = "running", "finished"


def trainings_folder() -> Path:
    """Where trainings are kept: $XDG_STATE_HOME/yumen/trainings, or below ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "yumen" / "trainings"


def find_journal(job_id: str, root: Path | None = None) -> Path:
    """The folder of the training that `job_id` is a job of, the first one or a resumed one.

    Raises `StateError` (`state`) where there is none on this machine.
    """
    folder = root or trainings_folder()
    if _JOB.fullmatch(job_id):
        if (folder / job_id / _NAME).is_file():
            return folder / job_id
        for candidate in sorted(folder.glob(f"*/{_NAME}")):
            if job_id in _jobs_of(candidate):
                return candidate.parent
    raise StateError(
        "state",
        f"expected a training of job `{job_id}` in `{folder}`, found none",
        remedy="resume on the machine and as the user that started it",
    )


class Journal:
    """One training's folder.

    `create` begins one, `open` continues one; `notes` say what was lost to damage. Raises
    `StateError` (`state`) where the folder cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._trained: set[int] = set()  # the runs, read or written here, that hold arrays
        self._seen = 0  # the last run that was read or written here
        self._document = _read_asked(folder / _NAME)

    @classmethod
    def create(
        cls,
        folder: Path,
        asked: Mapping[str, object],
        *,
        jobs: Sequence[str] = (),
        strategy: object | None = None,
        randomness: Mapping[str, Json] | None = None,
    ) -> Journal:
        """Begin a training in `folder`, which must not hold one yet.

        `asked` and the strategy's attributes are kept where JSON can hold them; other values are
        named by their type.
        """
        make_private_directory(folder.parent)
        make_private_directory(folder)
        if (folder / _NAME).exists():
            raise StateError(
                "state",
                f"expected a folder without a training, found one in `{folder}`",
                remedy="choose another folder, or resume that training by its job id",
            )
        document: dict[str, Json] = {
            "asked": plain_json(dict(asked)),
            "jobs": list(jobs),
            "randomness": dict(randomness) if randomness is not None else None,
            "state": _RUNNING,
            "strategy": None if strategy is None else _described(strategy),
            "version": 1,
        }
        _write(folder / _NAME, document)
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        return cls(folder)

    @property
    def asked(self) -> Mapping[str, Json]:
        """What `create` was given, real numbers as `{"real": text}`: see `from_plain`."""
        return _mapping(self._document["asked"])

    @property
    def jobs(self) -> tuple[str, ...]:
        """The ids of the training's jobs, the first one first."""
        jobs = self._document["jobs"]
        return tuple(str(job) for job in jobs) if isinstance(jobs, Sequence) else ()

    @property
    def costs(self) -> Mapping[str, int]:
        """What each job of a private training may have cost at a node, in micro-rho."""
        kept = _mapping(self._document.get("costs"))
        return {job: cost for job, cost in kept.items() if isinstance(cost, int)}

    def add_cost(self, job_id: str, micro_rho: int) -> None:
        self._update(costs={**self.costs, job_id: micro_rho})

    @property
    def strategy(self) -> Mapping[str, Json] | None:
        """Class and attributes of the strategy that began, as `create` kept them."""
        found = self._document["strategy"]
        return _mapping(found) if found is not None else None

    @property
    def randomness(self) -> Mapping[str, Json] | None:
        found = self._document["randomness"]
        return _mapping(found) if found is not None else None

    @property
    def kept(self) -> str:
        """How much can be gone on from, in words; empty where nothing can. Rounds are counted
        where every run was read or written here, runs otherwise: none is read for this."""
        runs = sum(1 for _ in self.folder.glob("round-*.bin"))
        if runs and runs == self._seen and self._trained:
            return counted(len(self._trained), "finished round")
        return counted(runs, "finished run") if runs else ""

    @property
    def finished(self) -> bool:
        return self._document["state"] == _FINISHED

    def add_jobs(self, job_ids: Iterable[str]) -> None:
        """Further jobs of this training; known ones change nothing."""
        known = self.jobs
        jobs = list(dict.fromkeys((*known, *job_ids)))
        if len(jobs) > len(known):
            self._update(jobs=jobs)

    def set_randomness(self, state: Mapping[str, Json]) -> None:
        self._update(randomness=dict(state))

    def write(self, number: int, finished: Finished) -> None:
        """Keep the run with this number, from 1, whole or not at all.

        What was kept beyond it, before damage, is of another course: reading must end here.
        """
        self._path(number + 1).unlink(missing_ok=True)
        _replace(self._path(number), to_parts(finished))
        self._note_trained(number, finished)

    def finish(self) -> None:
        """The training came to its end: all arrays but the last ones are deleted, metrics stay."""
        self._update(state=_FINISHED)
        for number in sorted(self._trained)[:-1]:
            self._path(number).unlink(missing_ok=True)

    def read(self) -> Iterator[Finished]:
        """The finished runs in order, up to the first that is missing, damaged or cut short."""
        for number in range(1, _MAX_ROUNDS + 1):
            path = self._path(number)
            if not path.exists():
                return
            try:
                finished = from_bytes(_read_round(path))
            except (PeerError, StateError, OSError):
                self._damaged(number)
                return
            self._note_trained(number, finished)
            yield finished

    def _note_trained(self, number: int, finished: Finished) -> None:
        self._seen = number
        if finished.action is Action.TRAIN:
            self._trained.add(number)

    def _damaged(self, number: int) -> None:
        note = (
            f"the checkpoint of run {number} is damaged: the training goes on from run "
            f"{number - 1}" + ("" if number > 1 else ", its start")
        )
        if note not in self.notes:
            self.notes.append(note)

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:06d}.bin"

    def _update(self, **changes: Json) -> None:
        self._document = {**self._document, **changes}
        _write(self.folder / _NAME, self._document)


def _described(strategy: object) -> dict[str, Json]:
    attributes = {
        name: plain_json(value)
        for name, value in sorted(vars(strategy).items())
        if not name.startswith("_")
    }
    kept = {name: value for name, value in attributes.items() if not _is_type(value)}
    kind = type(strategy)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "attributes": kept}


def _is_type(value: Json) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"type"}


def _read_round(path: Path) -> bytes:
    size = min(path.stat().st_size, _MAX_ROUND_BYTES)
    return read_file(path, private=True, max_bytes=size)


def _replace(path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """As `files.replace_file`, without one copy of all parts."""
    scratch = path.with_name(f".{path.name}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(scratch, flags, PRIVATE_MODE), "wb") as file:
            os.fchmod(file.fileno(), PRIVATE_MODE)
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise StateError(
            "state",
            f"`{path}` cannot be written: {error.strerror}",
            remedy="correct the folder's permissions or free some space",
        ) from None
    move_file(scratch, path)


def _read_asked(path: Path) -> dict[str, Json]:
    raw = read_file(path, private=True, max_bytes=_MAX_ASKED_BYTES)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    keys = {"asked", "jobs", "randomness", "state", "strategy", "version"}
    if (
        not isinstance(document, dict)
        or document.keys() - {"costs"} != keys
        or document["version"] != 1
    ):
        raise StateError(
            "state",
            f"expected a training in `{path}`, got another form",
            remedy="start the training again: what was asked is lost",
        )
    return document


def _jobs_of(path: Path) -> Sequence[Json]:
    """The jobs of another training; one that cannot be read has none."""
    try:
        jobs = _read_asked(path)["jobs"]
    except StateError:
        return ()
    return jobs if isinstance(jobs, Sequence) else ()


def _mapping(value: Json | None) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _write(path: Path, document: Mapping[str, Json]) -> None:
    replace_file(path, canonical.encode(document), mode=PRIVATE_MODE)
