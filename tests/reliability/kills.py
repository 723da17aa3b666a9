"""The siege of the driver: SIGKILL at random moments, over and over, then once to the end."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from reliability.siege import Kept, Place, Run

HOW = ("alone", "group", "all")
"""Who is killed: the driver, its process group, or every process of the run as in a power cut."""

EARLY_SHARE = 0.3
"""Share of the kills in the time until the run begins a trial: imports, migrations, Ray's start, the first claim."""

COMMIT_SHARE = 0.4
"""Share of the kills that wait for the next write to the database: commits last milliseconds, and chance alone would
hardly ever hit one."""

SHORTEST, LONGEST = 0.2, 60.0


@dataclass
class Killed:
    """What was done to the drivers of one sweep."""

    kills: int = 0
    missed: int = 0
    """Runs that ended before their kill."""
    how: Counter[str] = field(default_factory=Counter)
    when: Counter[str] = field(default_factory=Counter)
    """Kills by what they hit: `start` (that run had begun no trial), `work`, `end` (all trials were done)."""

    def __add__(self, other: "Killed") -> "Killed":
        both = zip(vars(self).values(), vars(other).values(), strict=True)
        return Killed(*(ours + theirs for ours, theirs in both))


@dataclass
class Aim:
    """When the next kill comes. A run lives until its first trial and then for a random time, uniform up to `span`.

    The span follows the work that is left, so that the last trial is done with about the last kill: too long, and few
    kills do; too short, and only starts are hit.
    """

    rng: random.Random
    span: float
    """Seconds."""
    start: float = 5.0
    """Seconds that a run needs until its first trial, as last seen."""

    def kill(self, place: Place, run: Run, how: str) -> bool:
        """Kill a run at a random moment; False if it ended before."""
        early, share = self.rng.random() < EARLY_SHARE, self.rng.random()
        commit, late = self.rng.random() < COMMIT_SHARE, self.rng.uniform(0, 0.01)
        if early:
            run.wait(share * self.start)
        else:
            self._wait_for_work(place, run)
            run.wait(share * self.span)
        if commit and not run.over and place.wait_for_commit(5.0):
            time.sleep(late)
        if run.over:
            return False
        run.kill(how)
        return True

    def _wait_for_work(self, place: Place, run: Run) -> None:
        before, begun = attempts(place), time.monotonic()
        while not run.over and attempts(place) == before:
            run.wait(0.1)
        self.start = time.monotonic() - begun

    def adapt(self, behind: bool) -> None:
        """After a kill; `behind`: fewer of the trials are done than of the kills."""
        self.span = min(LONGEST, max(SHORTEST, self.span * (1.25 if behind else 0.8)))


def kill_drivers(place: Place, rng: random.Random, kills: int, trials: int, span: float, *options: str) -> Killed:
    """Start runs of the place's sweep and kill each, until `kills` are used up or the sweep is done."""
    killed, aim = Killed(), Aim(rng, span)
    while killed.kills < kills and place.complete() < trials:
        before = attempts(place)
        run = place.start("run", "s", "--format", "csv", *options)
        how = rng.choice(HOW)
        if not aim.kill(place, run, how):
            run.end()
            killed.missed += 1
            break
        place.acknowledge()
        killed.kills += 1
        done = place.complete()
        killed.how[how] += 1
        killed.when["end" if done == trials else "work" if attempts(place) > before else "start"] += 1
        aim.adapt(behind=done / trials < killed.kills / kills)
    return killed


def attempts(place: Place) -> int:
    """How many attempts have begun."""
    return sum(count for (count,) in place.ask("SELECT count(*) FROM attempts"))


def finish(place: Place, trials: int, table: str, *options: str) -> Kept:
    """Run once more, undisturbed, whatever is left, and check the promise."""
    return place.check(trials, place.run("run", "s", "--format", "csv", *options), table)
