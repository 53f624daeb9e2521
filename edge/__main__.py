"""`python -m edge`: one edge, configured by TALLGRASS_* (edge/config.py)."""

from __future__ import annotations

import os

from common import config, lifecycle, log
from edge.config import EdgeConfig
from edge.server import Edge


async def main() -> None:
    settings = config.load(EdgeConfig, os.environ)
    log.configure("edge", settings.instance, settings.cluster, level=settings.log_level, form=settings.log_format)
    await Edge(settings).run()


if __name__ == "__main__":
    lifecycle.run(main)
