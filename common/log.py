"""One log line an event: `time level service event key=value ...`, readable and easy to cut apart; or a JSON object.

Lines about another process carry `remote` (service, instance, address), `operation` and `cause`. The same complaint
(event, remote, cause) is written at most once a second; the next line, or one at that second's end, says how many were
left out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

from common.errors import ConfigError

FORMS = ("text", "json")

_LOGGER = logging.getLogger("tallgrass")
_REPEAT_S = 1.0
_MAX_COMPLAINTS = 1_000


def configure(service: str, instance: str, cluster: str, *, level: str = "INFO", form: str = "text") -> None:
    """Send all logs of this process, also libraries', to stderr, as "text" or "json". Raises ConfigError."""
    if form not in FORMS:
        raise ConfigError(f"TALLGRASS_LOG_FORMAT={form!r} cannot be used: it takes {' or '.join(FORMS)}")
    handler = logging.StreamHandler(sys.stderr)
    formatter = _JsonFormatter if form == "json" else _TextFormatter
    handler.setFormatter(formatter(service, instance, cluster))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class Log:
    """Writes events of one part of a service; `bind` adds fields that each line shall carry."""

    __slots__ = ("_fields", "_seen")

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._seen: dict[tuple[Any, ...], _Seen] = {}

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
        if seen is not None and now - seen.written < _REPEAT_S:
            seen.left_out += 1
            if seen.left_out == 1:
                self._summarize_later(seen, level, event, fields)
            return
        if seen is not None and seen.left_out:
            fields["left_out"] = seen.left_out
            seen.left_out = 0
        if len(self._seen) >= _MAX_COMPLAINTS:
            self._seen.clear()
        self._seen[key] = _Seen(now)
        self._write(level, event, fields, trace)

    def _summarize_later(self, seen: _Seen, level: int, event: str, fields: dict[str, Any]) -> None:
        """A storm that has ended is counted to its end, too."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop: the next complaint tells
            return

        def summarize() -> None:
            if seen.left_out:
                self._write(level, event, {**fields, "left_out": seen.left_out})
                seen.left_out = 0

        loop.call_later(_REPEAT_S, summarize)

    def _write(self, level: int, event: str, fields: dict[str, Any], trace: bool = False) -> None:
        _LOGGER.log(level, "%s", event, extra={"fields": {**self._fields, **fields}}, exc_info=trace)


class _Seen:
    """A complaint that was written: when (monotonic seconds), and how many were left out since."""

    __slots__ = ("left_out", "written")

    def __init__(self, written: float) -> None:
        self.written = written
        self.left_out = 0


class _TextFormatter(logging.Formatter):
    def __init__(self, service: str, instance: str, cluster: str) -> None:
        super().__init__()
        self._name = f"{service}/{instance}@{cluster}"

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        pairs = "".join(f" {key}={_value(value)}" for key, value in fields.items() if value is not None)
        line = f"{_moment(record)} {record.levelname.lower():7} {self._name} {_event(record)}{pairs}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _JsonFormatter(logging.Formatter):
    """Fields of an event stand beside `time`, `level`, `service`, `instance`, `cluster`, `event`."""

    def __init__(self, service: str, instance: str, cluster: str) -> None:
        super().__init__()
        self._name = {"service": service, "instance": instance, "cluster": cluster}

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _moment(record), "level": record.levelname.lower(), **self._name, "event": _event(record)}
        line |= {key: value for key, value in getattr(record, "fields", {}).items() if value is not None}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _moment(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _event(record: logging.LogRecord) -> str:
    """What happened; libraries' messages say whose they are."""
    text = record.getMessage()
    return text if record.name == _LOGGER.name else f"{record.name}: {text}"


def _value(value: Any) -> str:
    text = str(value)
    if text and not any(c in text for c in ' "=\n\r'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
