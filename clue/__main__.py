"""python -m clue: one clue, its settings from TALLGRASS_*."""

from __future__ import annotations

import os
import sys

from clue.config import ClueConfig
from clue.server import running
from common import config, lifecycle, log
from common.errors import ConfigError


def main() -> None:
    try:
        settings = config.load(ClueConfig, os.environ)
        log.configure("clue", settings.instance, settings.cluster, level=settings.log_level, form=settings.log_format)
    except ConfigError as error:
        sys.exit(f"configuration: {error}")

    async def serve() -> None:
        stop = lifecycle.stop_event()
        async with running(settings) as clue:
            print(f"ready: grpc={settings.advertise_host}:{clue.port}", flush=True)
            await stop.wait()

    lifecycle.run(serve, short_turns=True)


if __name__ == "__main__":
    main()
