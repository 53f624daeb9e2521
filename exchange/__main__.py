"""`python -m exchange`: one exchange, configured by the environment, until SIGTERM or SIGINT."""

from __future__ import annotations

import os

from common import lifecycle, log
from common.config import load
from exchange.config import ExchangeConfig
from exchange.server import Server


async def main() -> None:
    config = load(ExchangeConfig, os.environ)
    log.configure("exchange", config.instance, config.cluster, level=config.log_level, form=config.log_format)
    stop = lifecycle.stop_event()
    server = Server(config)
    await server.start()
    async with lifecycle.background(server.run()):
        await stop.wait()
    await server.stop()


if __name__ == "__main__":
    lifecycle.run(main, short_turns=True)
