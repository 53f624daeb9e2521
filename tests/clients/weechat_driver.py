"""WeeChat: the program itself without its screen; commands go in through its FIFO, what it heard stands in its log."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from pathlib import Path

from driver import Tail, commands, report, target

TARGET = target()

SETUP = """
/set fifo.file.path "{home}/fifo"
/set logger.file.path "{home}"
/set logger.file.flush_delay 0
/set logger.mask.irc "$server.$channel.log"
/server add tallgrass {host}/{port} -notls -nicks={login} -username={login} -password={token} -autojoin={channel}
/set irc.server.tallgrass.capabilities "*,twitch.tv/tags,twitch.tv/commands,twitch.tv/membership"
/connect tallgrass
"""

JOINED = re.compile(rf"{TARGET.login} \(.*\) has joined {TARGET.channel}")
PARTED = re.compile(rf"{TARGET.login} \(.*\) has left {TARGET.channel}")


def read(line: str) -> None:
    """Report what one line of WeeChat's log (time, prefix, text) says."""
    _, prefix, text = line.split("\t", 2)
    if prefix == "-->" and JOINED.match(text):
        report("joined")
    elif prefix == "<--" and PARTED.match(text):
        report("parted")
    elif re.fullmatch(r"[@+]?\w+", prefix) and prefix.lstrip("@+") != TARGET.login:
        report("heard", **{"from": prefix.lstrip("@+")}, channel=TARGET.channel, text=text, tags={})


async def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        settings = {name: getattr(TARGET, name) for name in ("host", "port", "token", "login", "channel")}
        setup = SETUP.format(home=home, **settings)
        arguments = [part for line in setup.strip().splitlines() for part in ("-r", line)]
        process = await asyncio.create_subprocess_exec(
            "weechat-headless", "--dir", home, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        follower = asyncio.create_task(Tail(Path(home, f"tallgrass.{TARGET.channel}.log")).follow(read))

        def command(line: str) -> None:
            with open(f"{home}/fifo", "w", encoding="utf-8") as fifo:
                fifo.write(line + "\n")

        async for verb, text in commands():
            if verb == "say":
                command(f"irc.tallgrass.{TARGET.channel} *{text}")
                report("said", text=text)
            elif verb == "part":
                command(f"irc.tallgrass.{TARGET.channel} */part")
            else:
                break
        command("core.weechat */quit")
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
        follower.cancel()


asyncio.run(main())
