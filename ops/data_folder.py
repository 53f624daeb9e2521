"""The data folder of a single-machine stack: who runs in it, what it was made for, and what other commands must know.

    lock           held by the running `tallgrass up`; its pid
    stack.json     the running stack: addresses and processes
    cluster.json   what the data was made for, which may not change under it
    control-token  lets an operator's command in; for its owner's eyes only
    logs/  redis-1/ ...  haproxy/  tls/

With several clusters each has a folder of its own, main/ and event/ and so on, with cluster.json, control-token,
redis-1/ ... and haproxy/ in it, and directory/ is that of the directory's Redis. Logs stay together.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError

DEFAULT = ".tallgrass"
VARIABLE = "TALLGRASS_DATA"

_LOCK_WAIT_S = 0.5  # another command that looks whether a stack runs holds the lock for a moment


class DataFolder:
    def __init__(self, path: Path, *, logs: Path | None = None) -> None:
        self.path = path.absolute()
        self._logs = logs or self.path / "logs"
        self._lock: int | None = None

    def cluster(self, name: str) -> DataFolder:
        """The part of one cluster of several."""
        return DataFolder(self.folder(name), logs=self._logs)

    def acquire(self) -> None:
        """Make the folder and own it until this process ends. Raises ConfigError when another one does."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "logs").mkdir(exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(f"data folder {self.path}: {error.strerror}: choose another with --data") from None
        if not _lock_within(lock, _LOCK_WAIT_S):
            pid = os.read(lock, 32).decode().strip()
            os.close(lock)
            raise ConfigError(
                f"data folder {self.path} is in use by the stack with pid {pid}: "
                f"stop that one first (kill {pid}), or give this one a folder of its own with --data"
            )
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock
        (self.path / "stack.json").unlink(missing_ok=True)  # of a stack that was killed

    @property
    def running(self) -> bool:
        """A `tallgrass up` owns the folder now."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            return not _try_lock(lock)
        finally:
            os.close(lock)

    def require_layout(self, clusters: Sequence[str]) -> None:
        """Raises ConfigError when there is data of one cluster alone and several are to run, or the other way round."""
        alone = self.path / "cluster.json"
        several = sorted(path.parent.name for path in self.path.glob("*/cluster.json"))
        if len(clusters) > 1 and alone.exists():
            made = _made(alone).get("cluster")
            raise ConfigError(
                f"data folder {self.path} was made for the cluster {made} alone: use another folder with --data, or "
                f"move its data where it belongs beside others: cd {self.path} && mkdir {made} && "
                f"mv cluster.json control-token redis-* haproxy* {made}/"
            )
        if len(clusters) == 1 and several:
            raise ConfigError(
                f"data folder {self.path} was made for the clusters {', '.join(several)}: start them with "
                f"--clusters {','.join(several)}, or use another folder with --data"
            )

    def require_made_for(self, cluster: str, redis_shards: int) -> None:
        """Note what the data is made for, or compare.

        Raises ConfigError when it was made for something else: keys would be looked for on the wrong shard.
        """
        wanted = {"cluster": cluster, "redis_shards": redis_shards}
        path = self.path / "cluster.json"
        if not path.exists():
            _replace(path, json.dumps(wanted) + "\n")
            return
        made = _made(path)
        if made != wanted:
            raise ConfigError(
                f"data folder {self.path} was made for cluster {made.get('cluster')} with "
                f"{made.get('redis_shards')} Redis shards, not for {cluster} with {redis_shards}: "
                "start it as it was, or use another folder with --data"
            )

    def control_token(self) -> str:
        """The token of this folder's stack, made at the first call."""
        path = self.path / "control-token"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text("ascii").strip()
        token = secrets.token_hex(24)
        with os.fdopen(file, "w") as writer:
            writer.write(token + "\n")
        return token

    def log(self, name: str) -> Path:
        """The log file of one process; what an earlier stack wrote there is moved to NAME.log.old."""
        path = self._logs / f"{name}.log"
        if path.exists():
            path.replace(path.with_suffix(".log.old"))
        return path

    def folder(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(exist_ok=True)
        return path

    def write_stack(self, stack: dict[str, Any]) -> None:
        _replace(self.path / "stack.json", json.dumps(stack, indent=2) + "\n")

    def read_stack(self) -> dict[str, Any]:
        """Raises ConfigError when no stack runs here."""
        if self.running:
            try:
                stack: dict[str, Any] = json.loads((self.path / "stack.json").read_text("utf-8"))
            except (OSError, ValueError):
                raise ConfigError(f"the stack in {self.path} is still starting: try again in a moment") from None
            return stack
        raise ConfigError(
            f"no stack runs in {self.path}: start one with `tallgrass up`, or name another with --data DIR "
            f"({VARIABLE}) or --control HOST:PORT"
        )

    def remove_stack(self) -> None:
        (self.path / "stack.json").unlink(missing_ok=True)


def _made(path: Path) -> dict[str, Any]:
    try:
        made: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(
            f'{path} cannot be read ({error}): restore it, e.g. {{"cluster": "main", "redis_shards": 2}}'
        ) from None
    return made


def _lock_within(file: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _try_lock(file):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(path: Path, text: str) -> None:
    """Readers see the old text or the new one, never a part."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
