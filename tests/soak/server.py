"""PostgreSQL killed and started again during sweeps."""

from reliability.outages import kill_server
from reliability.siege import short_sweep
from soaking import SLOW, Field, soak


def siege(field: Field) -> str:
    """One run after the other, each through up to five deaths of the server; no trial is computed twice."""
    wanted, killed, away = field.options, 0, 0.0
    sweep = short_sweep(wanted.cells, epochs=10)
    while killed < wanted.kills:
        with field.place(sweep, SLOW, "postgresql") as place:
            times, seconds = kill_server(place, field.rng, field.server, min(5, wanted.kills - killed))
            assert times, "the sweep was over before the server was killed: more --cells"
            assert field.check(place, sweep, wanted.cells).attempts == wanted.cells
            killed, away = killed + times, away + seconds
    return f"server killed {killed} times, away for {away:.0f} s in all"


if __name__ == "__main__":
    soak("PostgreSQL killed", siege, kills=20, cells=32)
