"""One line of IRC as a value: parsed from its bytes, and written back.

Grammar: RFC 1459 section 2.3.1 with IRCv3 message tags, `[@tags SPACE] [:prefix SPACE] command {SPACE param}`, where a
last parameter that follows " :" may be empty and hold spaces. Text is UTF-8. CR, LF and NUL are never inside a Message.
Serves both sides: lines of clients in the edge, lines of servers in load and conformance tests.
"""

from __future__ import annotations

from typing import NamedTuple

from common.errors import TallgrassError
from common.irc.tags import parse_tags


class MessageError(TallgrassError):
    """The bytes are not a message, or the parts cannot be written as one."""


class EmptyLine(MessageError):
    """Nothing but spaces."""


class InvalidUtf8(MessageError):
    """The bytes are no UTF-8 text, or the text has no form in UTF-8 (lone surrogates)."""


class ForbiddenCharacter(MessageError):
    """CR, LF or NUL inside."""


class NoCommand(MessageError):
    """Tags or a prefix, but no command after them."""


class BadCommand(MessageError):
    """The command is something else than ASCII letters and digits."""


class BadTags(MessageError):
    """Tags with a space inside; only when writing."""


class BadPrefix(MessageError):
    """A prefix with a space inside; only when writing."""


class BadParameter(MessageError):
    """A parameter before the last that is empty, begins with ":" or has a space inside; only when writing."""


class Message(NamedTuple):
    """Equal when all parts are equal; immutable.

    Building one, measured on Python 3.11: NamedTuple through `tuple.__new__` (what `parse` does) 241 ns, a class with
    slots 253 ns, NamedTuple by its own constructor 394 ns, a frozen slotted dataclass 883 ns. Tags stay as they came:
    cutting 17 of them apart costs 3.8 µs, and few lines are asked for theirs.
    """

    raw_tags: str              # as on the wire, escaped, without "@"; "": none
    prefix: str                # without ":"; "": none
    command: str               # upper case
    params: tuple[str, ...]

    @property
    def tags(self) -> dict[str, str]:
        """Keys to unescaped values. Parsed at each call: keep the result."""
        return parse_tags(self.raw_tags)

    def serialize(self) -> bytes:
        """The line with its CRLF; the last parameter always after " :" when it could be read otherwise.

        Raises InvalidUtf8, ForbiddenCharacter, BadTags, BadPrefix, BadCommand or BadParameter.
        """
        if " " in self.raw_tags:
            raise BadTags(self.raw_tags)
        if " " in self.prefix:
            raise BadPrefix(self.prefix)
        if not (self.command.isascii() and self.command.isalnum()):
            raise BadCommand(self.command)
        parts = [self.command]
        if self.raw_tags:
            parts.insert(0, "@" + self.raw_tags)
        if self.prefix:
            parts.insert(-1, ":" + self.prefix)
        for param in self.params[:-1]:
            if not _is_middle(param):
                raise BadParameter(param)
            parts.append(param)
        if self.params:
            last = self.params[-1]
            parts.append(last if _is_middle(last) else ":" + last)
        text = " ".join(parts)
        _refuse_forbidden(text)
        try:
            return text.encode() + b"\r\n"
        except UnicodeEncodeError as error:
            raise InvalidUtf8(str(error)) from None


def parse(line: bytes) -> Message:
    """One line without its terminator. Raises EmptyLine, InvalidUtf8, ForbiddenCharacter, NoCommand or BadCommand."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise InvalidUtf8(str(error)) from None
    _refuse_forbidden(text)
    tags = prefix = ""
    if text.startswith("@"):
        tags, _, text = text[1:].partition(" ")
        text = text.lstrip(" ")
    if text.startswith(":"):
        prefix, _, text = text[1:].partition(" ")
    text, colon, trailing = text.partition(" :")
    # Only the space separates: str.split() without an argument would cut at every blank that Unicode knows.
    words = text.split(" ")
    if "" in words:
        words = [word for word in words if word]
        if not words:
            raise NoCommand(repr(line[:80])) if line.strip(b" ") else EmptyLine()
    command = words.pop(0)
    if not (command.isascii() and command.isalnum()):
        raise BadCommand(repr(command[:80]))
    if colon:
        words.append(trailing)
    return tuple.__new__(Message, (tags, prefix, command.upper(), tuple(words)))


def _is_middle(param: str) -> bool:
    return param != "" and param[0] != ":" and " " not in param


def _refuse_forbidden(text: str) -> None:
    if "\0" in text or "\r" in text or "\n" in text:
        raise ForbiddenCharacter(repr(text[:80]))
