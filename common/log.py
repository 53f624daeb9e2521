"""One log line an event: `time level service event key=value ...`, readable and easy to cut apart.

Lines about another process carry `remote` (service, instance, address), `operation` and `cause`. The same complaint
(event, remote, cause) is written at most once a second; the next line says how many were left out.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

_LOGGER = logging.getLogger("tallgrass")
_REPEAT_S = 1.0
_MAX_COMPLAINTS = 1_000


def configure(service: str, instance: str, cluster: str, *, level: str = "INFO") -> None:
    """Send all logs of this process, also libraries', to stderr in our form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(f"{service}/{instance}@{cluster}"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class Log:
    """Writes events of one part of a service; `bind` adds fields that each line shall carry."""

    __slots__ = ("_fields", "_seen")

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._seen: dict[tuple[Any, ...], list[float]] = {}

    def bind(self, **fields: Any) -> Log:
        return Log(**{**self._fields, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        if _LOGGER.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """A complaint: repeated ones are summarized."""
        self._complain(logging.WARNING, event, fields)

    def error(self, event: str, *, trace: bool = False, **fields: Any) -> None:
        """A complaint; `trace` adds the current exception's traceback (only for bugs of ours)."""
        self._complain(logging.ERROR, event, fields, trace)

    def _complain(self, level: int, event: str, fields: dict[str, Any], trace: bool = False) -> None:
        key = (event, fields.get("remote"), fields.get("cause"))
        now = time.monotonic()
        seen = self._seen.get(key)
        if seen is not None and now - seen[0] < _REPEAT_S:
            seen[1] += 1
            return
        if seen is not None and seen[1]:
            fields["left_out"] = int(seen[1])
        if len(self._seen) >= _MAX_COMPLAINTS:
            self._seen.clear()
        self._seen[key] = [now, 0]
        self._write(level, event, fields, trace)

    def _write(self, level: int, event: str, fields: dict[str, Any], trace: bool = False) -> None:
        _LOGGER.log(level, "%s", event, extra={"fields": {**self._fields, **fields}}, exc_info=trace)


class _Formatter(logging.Formatter):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        head = f"{moment}.{int(record.msecs):03d}Z {record.levelname.lower():7} {self._name}"
        if record.name == _LOGGER.name:
            text = record.getMessage()
        else:
            text = f"{record.name}: {record.getMessage()}"
        fields = getattr(record, "fields", {})
        pairs = "".join(f" {key}={_value(value)}" for key, value in fields.items() if value is not None)
        line = f"{head} {text}{pairs}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _value(value: Any) -> str:
    text = str(value)
    if text and not any(c in text for c in ' "=\n\r'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
