"""edge/timers.py: the wheel fires once, in time, without a timer per session."""

from edge.timers import TimerWheel


def test_an_entry_fires_once_and_not_before_its_time():
    """Five seconds asked for: silent at four, called at five, never again."""
    wheel, fired = TimerWheel(100.0), []
    wheel.schedule(5.0, lambda: fired.append(wheel.now))
    wheel.advance(104.9)
    assert fired == []
    wheel.advance(105.0)
    wheel.advance(1_000.0)
    assert fired == [105.0]


def test_times_beyond_one_turn_are_kept():
    """An hour is more than the wheel's slots; it fires then all the same."""
    wheel, fired = TimerWheel(0.0), []
    wheel.schedule(3_600.0, lambda: fired.append(wheel.now))
    wheel.advance(3_599.0)
    assert fired == []
    wheel.advance(3_602.0)
    assert len(fired) == 1


def test_an_entry_may_schedule_the_next():
    """Periodic work schedules itself again from its own call."""
    wheel, fired = TimerWheel(0.0), []

    def again():
        fired.append(wheel.now)
        wheel.schedule(10.0, again)

    wheel.schedule(10.0, again)
    wheel.advance(35.0)
    assert fired == [10.0, 20.0, 30.0]
