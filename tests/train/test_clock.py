"""Time spent computing."""

import time
from collections.abc import Iterator

from tinyablate.job import Event, Progress
from tinyablate.train.clock import Clock


def test_pauses_of_the_consumer_are_not_counted() -> None:
    """Seconds grow while the generator computes and stand while an event is held."""
    clock = Clock()
    seen = []

    def events() -> Iterator[Event]:
        for step in range(3):
            time.sleep(0.01)
            yield Progress(1, 1, step, 3, 0.0)
            seen.append(clock.seconds)

    for _ in clock.excluding_pauses(events()):
        time.sleep(0.2)
    assert 0.03 <= seen[-1] < 0.2


def test_rate_counts_laps_only() -> None:
    """Images per second are taken over the laps; what passes before a lap begins is left out."""
    clock = Clock()
    assert clock.lap() == 0
    time.sleep(0.02)
    first = clock.lap(100)
    time.sleep(0.2)
    clock.lap()
    time.sleep(0.02)
    second = clock.lap(100)
    assert 2000 < first < 5000
    assert 2000 < second < 5000
