"""What is said."""

from __future__ import annotations

from clue.command_names import KNOWN
from clue.facts import Candidate, Facts
from clue.verdict import Denial

_BAD = Denial("msg_bad_characters")


def unknown_command(submission: Candidate, facts: Facts) -> Denial | None:
    """A slash and a word that is no command is shown to nobody."""
    typed = submission.text.command
    return Denial("unrecognized_cmd", word=typed) if typed and typed[1:].lower() not in KNOWN else None


def characters(submission: Candidate, facts: Facts) -> Denial | None:
    """Control characters cannot be shown."""
    return _BAD if submission.text.bad else None


def wording(submission: Candidate, facts: Facts) -> Denial | None:
    """Something must be left to show. The dialect has no msg-id for this; silence would leave the sender guessing."""
    return None if submission.text.shown else _BAD
