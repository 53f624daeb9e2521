import json
import re
from array import array

import pytest

from loadtest.audit import FATES, Findings
from loadtest.monitor import LogReader, Processes
from loadtest.outcome import FAULTY, UNKNOWN, WELL, Record, evaluate
from loadtest.report import page, plot
from loadtest.timing import Histogram
from ops.checker import Chain, Fate
from tests.unit.loadtest.plans import plan, target

ALLOWED = FATES.index(Fate.ALLOWED)


def findings(*, reference=(1, 2, 3), fates=None, **faults):
    """What one worker answers to the audit."""
    fates = {1: ALLOWED, 2: ALLOWED, 3: ALLOWED} if fates is None else fates
    return {
        "kind": "findings",
        "worker": 0,
        "channels": {
            "#tpp": {
                "findings": Findings(sampled=2, counted=8, exact=8, **faults).pack(),
                "reference": array("Q", reference).tobytes().hex(),
                "from_start": True,
            }
        },
        "fates": {"#tpp": [list(fates), list(fates.values())]},
        "denials": {"<no>": 1},
        "inside": {"tpp": 10},
        "tail_seen": 0,
        "cpu_s": 1.0,
    }


def record(tmp_path, found, *, ended=True):
    """A small run's record: ten viewers, three messages, 100 bytes a line."""
    delays = Histogram()
    delays.add(20.0, times=6)
    lines = [
        {"kind": "said", "name": "speak", "at": 100.0},
        {
            "kind": "second", "worker": 0, "cpu_s": 1.0, "pid": 1,
            "counts": {
                "99": {"entered tpp": 10},
                "101": {"sent tpp": 3, "allowed tpp": 3, "sampled tpp": 6, "sampled bytes": 600, "bytes tpp": 2400},
            },
            "delays": {"101": {"deliver tpp": delays.pack()}},
        },
        {"kind": "said", "name": "hush", "at": 103.0},
        *([found] if found else []),
        *([{"kind": "end", "at": 108.0, "heard": 1}] if ended else []),
    ]  # fmt: skip
    path = tmp_path / "record.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = Record(path)
    assert made.read()
    return made


def log(*numbers, gaps=0):
    made = LogReader("127.0.0.1:1", ["#tpp"], "kabc")
    made.numbers["#tpp"] = list(numbers)
    made.chains["#tpp"] = Chain(0, gaps=gaps)
    return made


def outcome(tmp_path, found, logged=None, **changes):
    made = plan(viewers=10, workers=1, **changes)
    return evaluate(made, record(tmp_path, found), Processes(), None, logged or log(1, 2, 3))


def test_a_faultless_run_is_well(tmp_path):
    """Nothing lost, repeated or out of order, and senders told the truth."""
    made = outcome(tmp_path, findings())
    assert made["status"] == WELL
    assert made["totals"]["delivered"] == 30
    assert made["totals"]["sent"] == 3
    assert made["delays"]["tpp"]["count"] == 6


@pytest.mark.parametrize(
    ("found", "logged"),
    [
        (findings(missing=1), (1, 2, 3)),
        (findings(repeated=1), (1, 2, 3)),
        (findings(out_of_order=1), (1, 2, 3)),
        (findings(short=1), (1, 2, 3)),
        (findings(over=1), (1, 2, 3)),
        (findings(reference=(1, 3)), (1, 2, 3)),
        (findings(reference=(1, 3, 2)), (1, 2, 3)),
        (findings(), (1, 2)),
        (findings(fates={1: ALLOWED, 2: ALLOWED, 3: FATES.index(Fate.DENIED)}), (1, 2, 3)),
        (findings(fates={1: ALLOWED, 2: ALLOWED, 3: ALLOWED, 4: FATES.index(Fate.UNANSWERED)}), (1, 2, 3)),
    ],
    ids=[
        "missing", "repeated", "out of order", "too few bytes", "too many bytes", "process lost",
        "process out of order", "not in the log", "denied but logged", "unanswered",
    ],
)  # fmt: skip
def test_each_fault_makes_the_run_faulty(tmp_path, found, logged):
    """One fault anywhere is enough."""
    assert outcome(tmp_path, found, log(*logged))["status"] == FAULTY


def test_a_log_that_was_cut_proves_nothing(tmp_path):
    """When the log was trimmed before it was read, the run is neither well nor faulty."""
    assert outcome(tmp_path, findings(), log(1, 2, 3, gaps=1))["status"] == UNKNOWN


def test_a_run_that_did_not_end_proves_nothing(tmp_path):
    """Without the answers of all processes nothing is claimed."""
    assert outcome(tmp_path, None)["status"] == UNKNOWN


def test_a_record_is_read_as_it_grows(tmp_path):
    """A line that is not whole yet waits for its rest."""
    path = tmp_path / "record.jsonl"
    line = json.dumps({"kind": "said", "name": "speak", "at": 1.0}) + "\n"
    path.write_text(line[:10])
    made = Record(path)
    made.read()
    assert made.said == {}
    with path.open("a") as file:
        file.write(line[10:])
    made.read()
    assert made.said == {"speak": 1.0}


def test_the_page_needs_nothing_from_outside(tmp_path):
    """No address of anything to load, and what others wrote is text, not markup."""
    text = page(outcome(tmp_path, findings(), target=target(name="<script>")))
    assert not re.search(r"(src|href)\s*=|@import|url\(", text)
    assert "<script" not in text
    assert "&lt;no&gt;" in text
    assert text.count("<svg") >= 3
    json.dumps(outcome(tmp_path, findings()))


@pytest.mark.parametrize("log_scale", [False, True])
def test_a_plot_leaves_gaps_where_nothing_is_known(log_scale):
    """A line is broken where values are missing; all points are inside the picture."""
    text = plot("t", [0, 1, 2, 3, 4], {"a": [1, 5, None, 1000, 2]}, log=log_scale)
    (path,) = re.findall(r"<path d='([^']*)'", text)
    assert path.count("M") == 2
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
    assert all(0 <= x <= 860 for x in numbers[::2])
    assert all(0 <= y <= 250 for y in numbers[1::2])


def test_a_plot_without_values_is_left_out():
    """Nothing to show is nothing, not an empty frame."""
    assert plot("t", [0, 1], {"a": [None, None]}) == ""
