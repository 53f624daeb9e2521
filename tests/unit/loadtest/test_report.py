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
        "tail_repeated": 0,
        "cpu_s": 1.0,
    }


def packed(ms, times=1):
    """One delay, so many times, as it travels."""
    delays = Histogram()
    delays.add(ms, times=times)
    return delays.pack()


def record(tmp_path, found, *more, ended=True):
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
        *more,
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


def second(counts=None, delays=None):
    """One more report of the only worker, of the given seconds."""
    return {"kind": "second", "worker": 0, "cpu_s": 2.0, "pid": 1, "counts": counts or {}, "delays": delays or {}}


def outcome(tmp_path, found, logged=None, *more, processes=None, **changes):
    made = plan(viewers=10, workers=1, apart=False, **changes)
    return evaluate(made, record(tmp_path, found, *more), processes or Processes(), None, logged or log(1, 2, 3))


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


def storm(tmp_path, back):
    """A storm in second 101, after which `back` viewers have entered by second 102."""
    stayed = {"deliver stayed": packed(10.0)}
    return outcome(
        tmp_path, findings(), None,
        {"kind": "said", "name": "scatter", "at": 101.0},
        second(
            {"101": {"left tpp": 10}, "102": {"entered tpp": back, "turned-away tpp": 1, "refused tpp": 2}},
            {
                "100": stayed, "101": {"deliver stayed": packed(200.0), "lag apart": packed(30.0)},
                "102": {"enter tpp": packed(1_500.0, back), "enter calm": packed(9_000.0)},
                "103": stayed,
            },
        ),
        {"kind": "said", "name": "hush", "at": 104.0},
        shape="storm",
    )  # fmt: skip


def test_a_storm_tells_who_came_back_and_how_those_who_stayed_fared(tmp_path):
    """Before is until the storm, during until the last has entered; the entering of those who stayed is not counted."""
    made = storm(tmp_path, 10)
    assert made["status"] == WELL
    back = made["returning"]
    assert (back["left"], back["back"], back["all_back_s"]) == (10, 10, 1.5)
    assert (back["turned_away"], back["tries_lost"]) == (1, 2)
    phases = made["stayed"]
    assert [phases[name]["max"] for name in ("before", "during", "after")] == [10.0, 200.0, 10.0]
    assert phases["during"]["own_lag_p99"] == 30.0
    assert "Turned away by our limits: 1" in page(made)
    assert re.search(r"\+1[89]\d ms", page(made))


def test_a_storm_from_which_somebody_does_not_come_back_is_faulty(tmp_path):
    """Nobody may stay away."""
    made = storm(tmp_path, 9)
    assert (made["status"], made["summary"]) == (FAULTY, "1 did not come back from the storm")


def test_what_a_moderator_never_saw_is_a_fault(tmp_path):
    """The command is named, with what did not come."""
    counts = {"102": {"unmoderated /clear: after 10 s there was no CLEARCHAT": 2}}
    made = outcome(tmp_path, findings(), None, second(counts, {"102": {"moderate /ban": packed(12.0)}}))
    assert made["status"] == FAULTY
    assert made["summary"] == "moderator: 2 times /clear: after 10 s there was no CLEARCHAT"
    assert made["moderation"]["shown"]["/ban"]["max"] == 12.0


@pytest.mark.parametrize(
    ("seen", "repeated", "status"), [(4, 0, WELL), (3, 0, FAULTY), (5, 0, FAULTY), (4, 1, FAULTY)]
)  # fmt: skip
def test_small_channels_are_checked_together(tmp_path, seen, repeated, status):
    """Two viewers of each: two messages that were let in are four deliveries, no less, no more, none twice."""
    found = findings()
    fates = {7: ALLOWED, 8: ALLOWED, 9: FATES.index(Fate.DENIED)}
    found["fates"]["#tail0"] = [list(fates), list(fates.values())]
    found |= {"tail_seen": seen, "tail_repeated": repeated}
    counts = {"99": {"entered tail": 2}, "101": {"allowed tail": 20, "allowed spam": 1}}
    made = outcome(tmp_path, found, None, second(counts), shape="longtail", tail_channels=40, tail_rate=1.0, herd=2)
    # Three messages and one of spam to ten viewers; each of the two of the tail is in half of its channels.
    assert made["series"]["offered"] == [0, 0, 40 + 20]
    assert made["tail"] == {"expected": 4, "unsure": 0, "seen": seen, "repeated": repeated}
    assert made["status"] == status


def test_what_other_programs_took_is_told_by_second(tmp_path, monkeypatch):
    """Busy cores less those of watched processes; delays are told apart by it, and the page says so."""
    monkeypatch.setattr("loadtest.outcome.os.cpu_count", lambda: 2)
    processes = Processes()
    processes.busy = {100: 0.5, 101: 0.75, 102: 0.5}
    processes.cpu["edge-1"] = {99: 0.0, 100: 1.0, 101: 1.5, 102: 2.5}
    made = outcome(tmp_path, findings(), None, processes=processes)
    others = made["others"]
    assert (others["cores"], others["disturbed_s"], others["of_s"]) == (0.333, 1, 3)
    by_bound = {band["from"]: (band["seconds"], band["count"]) for band in others["bands"]}
    assert by_bound == {0.0: (2, 0), 0.3: (0, 0), 0.5: (0, 0), 0.8: (1, 6)}
    assert made["series"]["others"][:3] == [None, 0.0, 1.0]
    assert "The machine was disturbed: programs outside of the test took 0.33 cores on average" in page(made)


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
