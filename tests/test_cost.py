"""Cost before a launch: speeds from what was computed before, jobs on slots, disk; estimate beside truth afterwards."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Cli

from tinyablate import cost, estimates
from tinyablate.calibrate import calibration
from tinyablate.cost import Devices, Estimate, History, SpeedKey, estimate, evaluated_images, images_per_epoch
from tinyablate.describe import describe_plan, describe_status, size_text
from tinyablate.identity import CORE_VERSION, canonical
from tinyablate.job import EpochResult, Outcome
from tinyablate.model_facts import Request, facts_of
from tinyablate.plan import Plan, PlannedJob, ask, make_plan, unique
from tinyablate.recipe import Recipe, build
from tinyablate.run import register
from tinyablate.store.query import TimedTrial, spent, timed_trials
from tinyablate.store.records import EnvironmentRecord
from tinyablate.store.store import Store
from tinyablate.sweep.schema import Cell, Column, Row, Sweep

DEVICE = "NVIDIA H200"
ONE = Devices(DEVICE, "GPU", 1)


@dataclass(frozen=True)
class KnownFacts:
    """As much as a cost needs of a model."""

    parameters: int = 5_000_000
    trainable_parameters: int = 1_000_000
    splits: bool = True


def recipe(**changes: object) -> Recipe:
    """A recipe on Tiny ImageNet with these changes: 781 updates of 128 images an epoch, 10,000 images evaluated."""
    leaves = {path.replace("__", "."): value for path, value in changes.items()}
    return build({"model.name": "vit", "schedule.epochs": 3} | leaves)


def sweep_of(*recipes: Recipe, seeds: tuple[int, ...] = (0,), metrics: tuple[str, ...] = ("val_top1",)) -> Sweep:
    """A sweep with a row for each recipe."""
    rows = tuple(Row(i, f"row {i}", "", None if i == 0 else 0, seeds, False) for i in range(len(recipes)))
    cells = tuple(Cell(i, 0, each, canonical(each), {}) for i, each in enumerate(recipes))
    return Sweep(
        name="paper/table", path=Path("s.toml"), title="A table", question="", source="", metrics=metrics,
        select="best", margin=None, baseline=recipes[0], figures=(), rows=rows, columns=(Column(0, ""),), cells=cells,
        excluded=(), smoke=False, overrides=(), text="", digest="digest",
    )  # fmt: skip


def planned(*recipes: Recipe, share: bool = True, **more: object) -> Plan:
    """The plan of a sweep of these recipes against an empty store."""
    asked = ask(sweep_of(*recipes, **more), DEVICE)  # type: ignore[arg-type]
    return make_plan([asked], {}, splits=lambda _: True, share=share)


def jobs(*recipes: Recipe, share: bool = True, **more: object) -> tuple[PlannedJob, ...]:
    """Its jobs."""
    return planned(*recipes, share=share, **more).jobs


def trained(
    of: Recipe, *, rate: float = 781 * 128 / 100, first: float = 20.0, later: float = 20.0, startup: float = 5.0
) -> TimedTrial:
    """A past trial: 100 s of updates an epoch unless told otherwise, these seconds of evaluation and of starting up."""
    updates = images_per_epoch(of) / rate
    epochs = tuple((updates + (first if number == 0 else later), rate) for number in range(of.schedule.epochs))
    seconds = startup + sum(seconds for seconds, _ in epochs)
    return TimedTrial(canonical(of), DEVICE, seconds, epochs, None)


def measured(of: Recipe, train: float, inference: float, seconds: float = 12.0) -> TimedTrial:
    """A past trial of kind measure."""
    return TimedTrial(canonical(of), DEVICE, seconds, (), (train, inference))


def costs(of: tuple[PlannedJob, ...], *past: TimedTrial, devices: Devices = ONE, splits: bool = True) -> Estimate:
    """What these jobs cost by these past trials."""
    return estimate(of, History.of(past), devices, lambda _: KnownFacts(splits=splits))


# ---- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "images", "evaluated"),
    [
        ({}, 781 * 128, 10_000),
        ({"data__fraction": 0.5}, 390 * 128, 10_000),
        ({"data__split": "train[:90%]", "evaluate__split": "train[90%:]", "batch__size": 64}, 1406 * 64, 10_000),
        ({"data__split": "train[:99%]", "evaluate__split": "train[99%:]"}, 773 * 128, 1_000),
        ({"data__name": "shapes", "batch__size": 50}, 4_000, 1_000),
    ],
)
def test_images_are_counted_as_trained(changes: dict[str, object], images: int, evaluated: int) -> None:
    """Split, fraction and the dropped last batch decide how many images an epoch has."""
    assert images_per_epoch(recipe(**changes)) == images
    assert evaluated_images(recipe(**changes)) == evaluated


# ---- speeds ----------------------------------------------------------------------------------------------------------


def test_a_past_trial_tells_the_same_trial() -> None:
    """An estimate for what was run before is what it took: start, updates, evaluations."""
    past = recipe()
    found = costs(jobs(past), trained(past))
    assert found.seconds == pytest.approx(5 + 3 * (100 + 20))
    assert found.device_hours == pytest.approx(found.seconds / 3600)
    assert (found.counts["history"], found.counts["calibration"], found.trials, found.unknown) == (1, 0, 1, ())


def test_epochs_and_images_scale_the_estimate() -> None:
    """A longer schedule, cooldown included, and half the data cost in proportion."""
    past = trained(recipe())
    longer = jobs(recipe(schedule__epochs=6, schedule__cooldown_epochs=2))
    assert costs(longer, past).seconds == pytest.approx(5 + 8 * (100 + 20))
    half = jobs(recipe(data__fraction=0.5))
    assert costs(half, past).seconds == pytest.approx(5 + 3 * (100 * 390 / 781 + 20))


def test_the_median_of_the_latest_trials_counts() -> None:
    """One slow trial moves nothing, and trials beyond the latest MOST_TRIALS are not asked."""
    of = recipe()
    usual, slow = trained(of), trained(of, rate=100.0)
    assert costs(jobs(of), usual, usual, slow).seconds == pytest.approx(365)
    latest = [trained(of, startup=1.0)] * cost.MOST_TRIALS
    found = costs(jobs(of), *latest, *[slow] * 100)
    assert found.seconds == pytest.approx(361)
    assert found.trials == cost.MOST_TRIALS


@pytest.mark.parametrize(
    "changes",
    [
        {"model__name": "other"},
        {"model__args": {"depth": 3}},
        {"data__name": "shapes", "batch__size": 128},
        {"data__image_size": 64},
        {"model__trainable": "head"},
        {"batch__size": 64},
        {"precision": "bf16"},
        {"evaluate__precision": "bf16"},
        {"optimizer__perturbation": "sam"},
    ],
)
def test_only_alike_trials_tell(changes: dict[str, object]) -> None:
    """Another model, resolution, batch, precision, trained part or number of passes is another speed."""
    found = costs(jobs(recipe(**changes)), trained(recipe()))
    assert len(found.unknown) == 1
    assert (found.seconds, found.device_hours) == (0, 0)


def test_what_costs_no_time_does_not_matter() -> None:
    """Learning rate, seed, smoothing or EMA leave the speed known; a head's second pass is free unless drawn anew."""
    assert not costs(jobs(recipe(optimizer__lr=0.1, loss__smoothing=0.1), seeds=(7,)), trained(recipe())).unknown
    head, sam = recipe(model__trainable="head"), {"model__trainable": "head", "optimizer__perturbation": "sam"}
    assert not costs(jobs(recipe(**sam)), trained(head)).unknown
    second = recipe(**sam, optimizer__second_draw=True)
    assert costs(jobs(second), trained(head)).unknown
    (together,) = costs(jobs(head, second), trained(head)).jobs
    assert (together.speed, together.trial.recipe) == (None, second)


def test_another_device_tells_nothing() -> None:
    """A trial on another device is no history."""
    past = dataclasses.replace(trained(recipe()), device="NVIDIA H100 80GB HBM3")
    assert costs(jobs(recipe()), past).unknown


def test_a_measurement_stands_in_for_history() -> None:
    """With rates alone the time is images over rates; once something was trained, that counts instead."""
    of = recipe()
    rates = measured(of, train=1000.0, inference=4000.0)
    found = costs(jobs(of), rates)
    assert found.seconds == pytest.approx(3 * (781 * 128 / 1000 + 10_000 / 4000))
    assert found.counts == {"calibration": 1}
    assert costs(jobs(of), rates, trained(of)).counts == {"history": 1}


# ---- shared jobs -----------------------------------------------------------------------------------------------------


def test_heads_cost_one_pass_of_the_trunk() -> None:
    """Seventeen classifiers on one trunk: one training's updates, a small share for each more, features computed once.

    The lone trial evaluates in 20 s at first and in 0.5 s on the kept features.
    """
    heads = [recipe(model__trainable="head", optimizer__lr=0.01 * (i + 1)) for i in range(17)]
    past = trained(heads[0], first=20.0, later=0.5)
    (shared,) = costs(jobs(*heads), past).jobs
    assert shared.seconds == pytest.approx(5 + 3 * (100 + 781 * 16 * cost.HEAD_SECONDS) + 20 + 17 * 2 * 0.5)
    alone = costs(jobs(*heads, share=False), past)
    assert alone.seconds == pytest.approx(17 * (5 + 300 + 20 + 2 * 0.5))


def test_a_measurement_knows_that_features_are_kept() -> None:
    """On a frozen trunk a measured inference rate is paid once per way of evaluating, else in every epoch."""
    head = recipe(model__trainable="head")
    centre = recipe(model__trainable="head", evaluate__crop="center")
    rates = measured(head, train=1000.0, inference=100.0)
    updates = 3 * 781 * 128 / 1000
    assert costs(jobs(head), rates).seconds == pytest.approx(updates + 100)
    assert costs(jobs(head, centre), rates).seconds == pytest.approx(updates + 200)
    assert costs(jobs(head), rates, splits=False).seconds == pytest.approx(updates + 300)


def test_an_observer_costs_its_evaluations() -> None:
    """EMA beside the raw weights is no training of its own, but evaluates as often."""
    found = costs(jobs(recipe(), recipe(ema__decay=0.9)), trained(recipe()))
    assert found.seconds == pytest.approx(5 + 3 * (100 + 2 * 20))


def test_the_longest_schedule_decides() -> None:
    """Heads of several lengths share the trunk until the last is through."""
    heads = [recipe(model__trainable="head", schedule__epochs=epochs) for epochs in (3, 6)]
    past = trained(heads[0], first=20.0, later=0.0)
    assert costs(jobs(*heads), past).seconds == pytest.approx(5 + 6 * (100 + 781 * cost.HEAD_SECONDS) + 20)


# ---- schedule and disk -----------------------------------------------------------------------------------------------


def test_jobs_fill_the_slots() -> None:
    """Five jobs of 365 s on two GPUs take three rounds; two at a time on each halve a trial's GPU-hours."""
    of, past = [recipe(optimizer__lr=0.1 * (i + 1)) for i in range(5)], trained(recipe())
    two = costs(jobs(*of), past, devices=Devices(DEVICE, "GPU", 2))
    assert (two.seconds, two.device_hours) == (pytest.approx(3 * 365), pytest.approx(5 * 365 / 3600))
    four = costs(jobs(*of), past, devices=Devices(DEVICE, "GPU", 2, trials_each=2))
    assert (four.seconds, four.device_hours) == (pytest.approx(2 * 365), pytest.approx(5 * 365 / 7200))


def test_a_measurement_runs_alone() -> None:
    """What is measured begins when the trainings have ended, one after the other; its time is that of past ones."""
    of = jobs(recipe(), recipe(optimizer__lr=0.1), recipe(optimizer__lr=0.2), metrics=("val_top1", "epoch_seconds"))
    past = [trained(recipe()), measured(recipe(), 1000.0, 4000.0, seconds=12.0)]
    found = costs(of, *past, devices=Devices(DEVICE, "GPU", 2))
    assert found.seconds == pytest.approx(2 * 365 + 3 * 12)
    assert len(costs(of, past[0]).unknown) == 3  # nobody knows how long a measurement takes


def test_a_sweeps_share_is_part_of_the_whole() -> None:
    """A sweep that shares the machine ends when the last of its jobs ends; device-hours are its own jobs'."""
    of = jobs(*[recipe(optimizer__lr=0.1 * (i + 1)) for i in range(4)])
    whole = costs(of, trained(recipe()))
    share = whole.of({of[2].trials[0].key})
    assert share.seconds == pytest.approx(3 * 365)
    assert share.device_hours == pytest.approx(365 / 3600)
    assert whole.of(set()).jobs == ()


def test_disk_is_checkpoints_and_rows() -> None:
    """Two files of parameters, moments and results per running trial; a bit per evaluated image and epoch for good."""
    sgd = {"optimizer__name": "sgd", "optimizer__momentum": 0.0}
    of = jobs(recipe(), recipe(**sgd), recipe(optimizer__name="lamb", ema__decay=0.9))
    found = costs(of)
    million, results = 4 * 1_000_000 * cost.CHECKPOINTS, 3 * (1250 + cost.EPOCH_RESULT_BYTES) * cost.CHECKPOINTS
    files = [3 * million + results, 1 * million + results, 4 * million + results]
    assert [job.checkpoint_bytes for job in found.jobs] == files
    rows = 3 * 3 * (1250 + cost.EPOCH_ROW_BYTES)
    assert found.disk_bytes == files[2] + rows
    assert costs(of, devices=Devices(DEVICE, "GPU", 2)).disk_bytes == files[2] + files[0] + rows


def test_every_trial_of_a_job_writes_its_own_files() -> None:
    """A training and its average in one job: both have checkpoints, with the learner's state in each."""
    (both,) = costs(jobs(recipe(), recipe(ema__decay=0.9))).jobs
    lone, average = costs(jobs(recipe(), recipe(ema__decay=0.9), share=False)).jobs
    assert both.checkpoint_bytes == lone.checkpoint_bytes + average.checkpoint_bytes


def test_kept_weights_take_room_for_good() -> None:
    """With --keep-weights the whole model of every trial stays, frozen part included; a measurement leaves none."""
    of = jobs(recipe(), recipe(optimizer__lr=0.1), metrics=("val_top1", "epoch_seconds"))
    plain = estimate(of, History.of([]), ONE, lambda _: KnownFacts())
    kept = estimate(of, History.of([]), ONE, lambda _: KnownFacts(), keep_weights=True)
    assert [job.kept_bytes for job in kept.jobs] == [20_000_000, 20_000_000, 0, 0]
    assert kept.disk_bytes == plain.disk_bytes + 40_000_000


# ---- the store's history ---------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with Store(tmp_path / "ablations.db") as opened:
        yield opened


ENVIRONMENT = EnvironmentRecord(
    host="host", device=DEVICE, driver="", python="3.11", torch="2.15", torchvision="0.29", timm="1.0.31", ray="",
    tinyablate="0.1.0", core_version=CORE_VERSION, train_digest="abc", git_commit="", data_digest="d",
    weights_digest="", threads=1, compiled=False, memory_format="x",
)  # fmt: skip


def compute(store: Store, plan: Plan, seconds: float = 365.0, alone: bool = True) -> None:
    """Claim and finish every job of the plan, each `seconds` long in the books; epochs as in `trained`."""
    for number, job in enumerate(plan.jobs):
        claims = store.claim([trial.key for trial in job.trials], f"job-{number}")
        for claim, trial in zip(claims, job.trials, strict=True):
            store.begin(claim, ENVIRONMENT, 1, None)
            store.finish(claim, outcome_of(trial.recipe, alone) if trial.kind == "train" else RATES)
    with store.engine().begin() as connection:
        connection.execute(sa.text("UPDATE attempts SET ended_at = started_at + :s"), {"s": seconds})


RATES = Outcome("complete", (), (("train_images_per_second", 1000.0), ("inference_images_per_second", 4000.0)))


def outcome_of(of: Recipe, alone: bool) -> Outcome:
    """Epochs of 120 s, 100 of them updates; without times where the job was shared."""
    seconds, rate = (120.0, 781 * 128 / 100) if alone else (None, None)
    epochs = (1, 2, 3)
    results = tuple(EpochResult("raw", e, 1e-3, 1.0, 1.0, 50.0, 80.0, b"", seconds, rate) for e in epochs)
    return Outcome("complete", results[: of.schedule.epochs], (("trainable_parameters", 1.0),))


def test_the_store_tells_what_lone_trials_took(store: Store) -> None:
    """Epochs, start and rates come from accepted attempts of these models on this device, the latest first."""
    plan = planned(recipe(), recipe(optimizer__lr=0.1), metrics=("val_top1", "epoch_seconds"))
    register(store, plan, DEVICE)
    compute(store, plan)
    found = timed_trials(store, ["vit"], DEVICE)
    assert [(len(each.epochs), each.rates) for each in found] == [(0, (1000.0, 4000.0))] * 2 + [(3, None)] * 2
    assert found[-1].canonical == canonical(recipe())
    assert found[-1].seconds == pytest.approx(365, abs=1e-3)  # times in the database are seconds since 1970
    assert found[-1].epochs == ((120.0, 781 * 128 / 100),) * 3
    assert timed_trials(store, ["other"], DEVICE) == timed_trials(store, ["vit"], "other") == []
    again = estimates.cost_of(planned(recipe(optimizer__lr=0.3)), store, ONE, {})
    assert again.seconds == pytest.approx(365, abs=1e-3)
    assert again.trials == 2


def test_a_shared_job_is_no_history(store: Store) -> None:
    """Times are never taken from a shared job."""
    plan = planned(recipe(), recipe(ema__decay=0.9))
    register(store, plan, DEVICE)
    compute(store, plan, alone=False)
    assert timed_trials(store, ["vit"], DEVICE) == []
    assert len(estimates.cost_of(plan, store, ONE, {}).unknown) == 1


def test_estimate_and_truth_stand_side_by_side(store: Store) -> None:
    """After a run `status` has both; a shared job counts once, what ran before the estimate does not."""
    before = planned(recipe())
    register(store, before, DEVICE)
    compute(store, before, seconds=3650.0)
    asked = ask(sweep_of(recipe(), *(recipe(optimizer__lr=lr, ema__decay=e) for lr in (0.1, 0.2) for e in (0, 0.9))))
    plan = make_plan([asked], store.states(unique([asked])))
    estimates.note_cost(plan, estimates.cost_of(plan, store, ONE, {}), store)
    assert [(each.jobs, each.seconds) for each in spent(store)] == [(0, 0.0)]
    compute(store, plan, seconds=400.0)
    (each,) = spent(store)
    assert (each.name, each.jobs, each.running) == ("paper/table", 2, False)
    assert each.device_hours == pytest.approx(800 / 3600, rel=1e-3)
    assert each.seconds == pytest.approx(400, abs=5)  # the jobs were claimed one just after the other
    assert (each.estimate.jobs, each.estimate.from_history) == (2, 2)
    assert each.estimate.device_hours == pytest.approx(2 * (3650 - 360 + 3 * (100 + 2 * 20)) / 3600, rel=1e-3)
    text = describe_status(store.location.text, "paper/table")
    assert "estimated and in truth" in text
    assert "2 of 2" in text
    assert "6m4" in text.rpartition("in truth")[2]


def test_the_last_estimate_of_a_sweep_counts(store: Store) -> None:
    """A second run of the sweep replaces the first one's line."""
    plan = planned(recipe())
    for _ in range(2):
        estimates.note_cost(plan, estimates.cost_of(plan, store, ONE, {}), store)
    assert len(spent(store)) == 1


# ---- words -----------------------------------------------------------------------------------------------------------


def test_the_plan_says_what_it_costs_and_what_is_shared() -> None:
    """The text names time, GPU-hours, disk, where the estimate is from, and what is computed once."""
    heads = [recipe(model__trainable="head", optimizer__lr=0.01 * (i + 1)) for i in range(17)]
    plan = planned(*heads, recipe(model__trainable="head", optimizer__lr=0.01, ema__decay=0.9), recipe())
    past = [trained(heads[0])] * 12
    text = describe_plan("paper/table", plan, costs(plan.jobs, *past), "table")
    assert "`run` would compute 19 trials in 2 jobs, 1 of them observers of another's training" in text
    assert "17 classifiers are trained on one pass of the data through their frozen trunk instead of 17" in text
    assert "estimated for 1 of 2 jobs: " in text
    assert "on 1 x NVIDIA H200 (" in text
    assert "from 12 past trials of the same model, data, resolution, batch and device" in text
    assert "no estimate for 1 job (vit at batch 128): `tinyablate plan paper/table --calibrate`" in text
    data = json.loads(describe_plan("paper/table", plan, costs(plan.jobs, *past), "json"))
    assert data["shared"] == {"observers": 1, "heads": 16}
    assert (data["sweep"], data["trials"], data["jobs"], data["learners"]) == ("paper/table", 19, 2, 18)
    assert (data["estimate"]["from_history"], data["estimate"]["unknown"]) == (1, 1)
    assert len(data["rows"]) == 19


def test_a_folder_is_one_plan() -> None:
    """Several sweeps: a block each, then what they have in common; JSON holds the sweeps under the folder's name."""
    one = sweep_of(recipe(), recipe(optimizer__lr=0.1))
    two = dataclasses.replace(sweep_of(recipe(), recipe(optimizer__lr=0.2)), name="paper/other", title="Another")
    plan = make_plan([ask(one, DEVICE), ask(two, DEVICE)], {})
    found = costs(plan.jobs, trained(recipe()))
    text = describe_plan("paper", plan, found, "table")
    assert text.index("A table") < text.index("Another") < text.index("2 sweeps, 3 trials: 3 new; 1 of them stand in")
    data = json.loads(describe_plan("paper", plan, found, "json"))
    assert data["folder"] == "paper"
    assert (data["trials"], data["common"], [each["sweep"] for each in data["sweeps"]]) == (
        3, 1, ["paper/table", "paper/other"],
    )  # fmt: skip


def test_a_plan_with_nothing_to_run_has_no_cost() -> None:
    """What is done costs nothing, and no estimate is printed."""
    asked = ask(sweep_of(recipe()), DEVICE)
    from tinyablate.store.records import StoredState

    plan = make_plan([asked], dict.fromkeys(unique([asked]), StoredState("complete", CORE_VERSION, False)))
    text = describe_plan("paper/table", plan, costs(plan.jobs), "table")
    assert text.endswith("nothing to run")
    assert "estimate" not in text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_200_000_000, "1.2 GB"), (45_600, "45.6 kB")]
)
def test_sizes_are_readable(count: int, text: str) -> None:
    """Bytes in decimal units, three digits."""
    assert size_text(count) == text


# ---- calibration -----------------------------------------------------------------------------------------------------


def test_a_calibration_measures_each_kind_of_job_once() -> None:
    """Its sweep has a trial of kind measure for every recipe given, under that trial's own seed."""
    of = jobs(recipe(), recipe(batch__size=64), seeds=(3,))
    sweep = calibration([job.trials[0] for job in of])
    assert sweep.kinds == ("measure",)
    plan = make_plan([ask(sweep, DEVICE)], {})
    assert [(trial.kind, trial.seed, trial.recipe) for trial in plan.trials.values()] == [
        ("measure", 3, job.trials[0].recipe) for job in of
    ]
    assert SpeedKey.of(plan.jobs[0].trials[0].recipe, DEVICE) == SpeedKey.of(recipe(), DEVICE)


def test_plan_calibrates(cli: Cli) -> None:
    """--calibrate measures each kind of job once and keeps it; this plan and the next have their estimate from it."""
    cli.write()
    text = cli("plan", "tiny", "--device", "cpu", "--calibrate").stdout
    assert "from measurements of a few steps on this device" in text
    assert cli.sql("SELECT kind, count(*) AS n, min(train_images_per_second) > 0 AS fast FROM trials GROUP BY 1") == [
        {"kind": "measure", "n": 1, "fast": 1}
    ]
    data = cli.json("plan", "tiny", "--device", "cpu", "--slots", "1")
    assert (data["estimate"]["from_calibration"], data["estimate"]["unknown"]) == (data["jobs"], 0)
    assert data["estimate"]["seconds"] > 0


def test_devices_are_what_run_computes_on() -> None:
    """On a CPU a core per slot, no more than there are; one job at a time inline."""
    one, many = estimates.devices_of("cpu", slots=1), estimates.devices_of("cpu", slots=10_000)
    assert (one.unit, one.count, one.slots) == ("core", 1, 1)
    assert many == estimates.devices_of("cpu")
    assert estimates.devices_of("cpu", inline=True) == one


def test_facts_are_looked_up_by_recipe() -> None:
    """A recipe's facts are those of its model on its data set; an unknown model has none."""
    known = recipe()
    found = facts_of({Request.of(known, 200): KnownFacts()})  # type: ignore[dict-item]
    assert found(known) == KnownFacts()
    assert found(recipe(model__name="other")) is None
