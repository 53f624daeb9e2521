"""The delivery guarantee on random histories: exactly the log after the head, once, in order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from common.pb.chat_pb2 import Entry
from edge.sequencer import Sequencer

PAGE = 3


@st.composite
def logs(draw):
    """A log with jumps in its numbers: entries that each name their predecessor."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1_000]), min_size=1, max_size=40))
    log, prev = [], 0
    for step in steps:
        log.append(Entry(seq=prev + step, prev=prev, publication=b"%d" % (prev + step)))
        prev += step
    return log


@st.composite
def histories(draw):
    """A log, where reading begins, and what happens: the log grows while two links lose, repeat and reorder."""
    log = draw(logs())
    link = st.sampled_from(["one", "two", "both", "neither"])
    sent = [draw(link) for _ in log]
    events = draw(
        st.lists(
            st.sampled_from(["commit", "commit", "one", "two", "one again", "swap", "ask", "answer", "begin", "head"]),
            max_size=150,
        )
    )
    return log, sent, events, draw(st.integers(0, 3))


def run(log, sent, events, early):
    """Play the history with early entries committed before anything else. Gives (begun at, what came out, losses)."""
    committed = early = min(early, len(log))
    sequencer = Sequencer()
    queues = {"one": [], "two": []}
    delivered = {"one": [], "two": []}
    asked = None
    head = None
    out = []

    def begin():
        nonlocal head
        head = log[committed - 1].seq if committed else 0
        out.extend(sequencer.begin(head, 0.0))

    def answer():
        nonlocal asked
        after, mark, known = asked
        asked = None
        rest = [entry for entry in log[:known] if entry.seq > after]
        out.extend(sequencer.replayed(rest[:PAGE], mark, len(rest) > PAGE, 0.0))

    def ask():
        nonlocal asked
        if head is not None and asked is None and sequencer.hole_since is not None:
            asked = (sequencer.last, sequencer.asking(), committed)

    for event in events:
        if event == "commit" and committed < len(log):
            for name in ("one", "two"):
                if sent[committed] in (name, "both"):
                    queues[name].append(log[committed])
            committed += 1
        elif queues.get(event):
            entry = queues[event].pop(0)
            delivered[event].append(entry)
            out.extend(sequencer.feed([entry], 0.0))
        elif event == "one again":
            out.extend(sequencer.feed(delivered["one"][-5:], 0.0))
        elif event == "swap" and len(queues["one"]) > 1:
            queues["one"][0], queues["one"][1] = queues["one"][1], queues["one"][0]
        elif event == "begin" and head is None:
            begin()
        elif event == "head" and committed:
            sequencer.head(log[committed - 1].seq, 0.0)
        elif event == "ask":
            ask()
        elif event == "answer" and asked is not None:
            answer()

    # Whatever happened: comparing heads and replaying ends it.
    if head is None:
        begin()
    if committed:
        sequencer.head(log[committed - 1].seq, 0.0)
    for _ in range(2 * len(log) + 2):
        if asked is not None:
            answer()
        ask()
    assert sequencer.hole_since is None
    return head, [item.seq for item in out], sequencer.losses, [entry.seq for entry in log[:committed]]


@settings(max_examples=300, deadline=None)
@given(histories())
def test_output_is_the_log_after_the_head_once_in_order(history):
    """Links that lose, repeat and reorder, and replays at any moment: the output is the log after the head."""
    head, out, losses, committed = run(*history)
    assert out == [seq for seq in committed if seq > head]
    assert losses == []


@settings(max_examples=200, deadline=None)
@given(logs(), st.data())
def test_a_trimmed_log_is_stepped_over_in_order(log, data):
    """When the log lost its oldest entries, the rest still comes once, in order, and the gap is reported."""
    kept = data.draw(st.integers(0, len(log)))
    heard = data.draw(st.sets(st.sampled_from(range(len(log)))))
    sequencer = Sequencer()
    out = list(sequencer.begin(0, 0.0))
    for index in data.draw(st.permutations(sorted(heard))):
        out += sequencer.feed([log[index]], 0.0)
    sequencer.head(log[-1].seq, 0.0)
    if sequencer.hole_since is not None:
        rest = [entry for entry in log[len(log) - kept :] if entry.seq > sequencer.last]
        out += sequencer.replayed(rest, sequencer.asking(), False, 0.0)
    expected = sorted({log[index].seq for index in heard} | {entry.seq for entry in log[len(log) - kept :]})
    assert [item.seq for item in out] == expected
    assert sequencer.hole_since is None
    assert bool(sequencer.losses) == (len(expected) < len(log))
