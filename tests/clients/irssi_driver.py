"""irssi: the program itself on a pseudo-terminal; what it heard is read from the log it keeps of its channel window."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import tempfile
from pathlib import Path

from driver import Tail, commands, report, target

TARGET = target()

CONFIG = """
servers = ( {{
  address = "{host}"; port = "{port}"; chatnet = "tallgrass"; password = "{token}"; use_tls = "no"; autoconnect = "yes";
}} );
chatnets = {{ tallgrass = {{ type = "IRC"; nick = "{login}"; username = "{login}"; }}; }};
channels = ( {{ name = "{channel}"; chatnet = "tallgrass"; autojoin = "yes"; }} );
settings = {{
  core = {{ real_name = "{login}"; user_name = "{login}"; nick = "{login}"; }};
  "fe-text" = {{ term_charset = "UTF-8"; paste_verify_line_count = "0"; }};
  "fe-common/core" = {{
    autolog = "yes"; autolog_level = "all -crap -clientcrap"; autolog_path = "{home}/log"; term_charset = "UTF-8";
  }};
}};
"""

JOINED = re.compile(rf"-!- {TARGET.login} \[.*\] has joined {TARGET.channel}")
PARTED = re.compile(rf"-!- {TARGET.login} \[.*\] has left {TARGET.channel}")
HEARD = re.compile(r"<[ +@]?(?P<nick>[^>]+)> (?P<text>.*)")


def read(line: str) -> None:
    """Report what one line of irssi's log says."""
    _, _, line = line.partition(" ")  # the time of day
    if JOINED.match(line):
        report("joined")
    elif PARTED.match(line):
        report("parted")
    elif (heard := HEARD.match(line)) and heard["nick"] != TARGET.login:
        report("heard", **{"from": heard["nick"]}, channel=TARGET.channel, text=heard["text"], tags={})


def configure(home: Path) -> None:
    settings = {name: getattr(TARGET, name) for name in ("host", "port", "token", "login", "channel")}
    (home / "config").write_text(CONFIG.format(home=home, **settings))


def look_away(screen: int) -> None:
    try:
        os.read(screen, 65536)
    except OSError:  # irssi has left, and its terminal with it
        asyncio.get_running_loop().remove_reader(screen)


async def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        configure(Path(home))
        keyboard, terminal = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            "irssi", f"--home={home}", stdin=terminal, stdout=terminal, stderr=terminal,
            env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"},
        )
        os.close(terminal)
        # Somebody has to look at the screen, or irssi stops at a full terminal.
        asyncio.get_running_loop().add_reader(keyboard, look_away, keyboard)
        follower = asyncio.create_task(Tail(Path(home, "log")).follow(read))

        def type_in(line: str) -> None:
            os.write(keyboard, f"{line}\n".encode())

        async for verb, text in commands():
            if verb == "say":
                type_in(f"/msg -tallgrass {TARGET.channel} {text}")
                report("said", text=text)
            elif verb == "part":
                type_in(f"/part {TARGET.channel}")
            else:
                break
        type_in("/quit")
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
        asyncio.get_running_loop().remove_reader(keyboard)
        follower.cancel()


asyncio.run(main())
