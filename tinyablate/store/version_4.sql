DROP VIEW results;
DROP VIEW curves;

ALTER TABLE trials RENAME TO stored_trials;
ALTER TABLE cells RENAME TO stored_cells;
ALTER TABLE outcomes RENAME TO stored_outcomes;

ALTER TABLE stored_outcomes ADD COLUMN cross_fitted_val_top1 FLOAT;

ALTER TABLE attempts ADD COLUMN job_trials INTEGER NOT NULL DEFAULT 1;
CREATE TEMP TABLE jobs AS SELECT job, count(*) AS trials FROM attempts GROUP BY job;
CREATE INDEX temp.jobs_by_job ON jobs (job);
UPDATE attempts SET job_trials = (SELECT trials FROM jobs WHERE jobs.job = attempts.job);
DROP TABLE jobs;

CREATE TABLE stored_epochs (
    attempt_id INTEGER NOT NULL,
    observer TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    trial_id INTEGER NOT NULL,
    lr FLOAT,
    train_loss FLOAT,
    val_loss FLOAT,
    val_top1 FLOAT,
    val_top5 FLOAT,
    seconds FLOAT,
    images_per_second FLOAT,
    PRIMARY KEY (attempt_id, observer, epoch),
    FOREIGN KEY(attempt_id) REFERENCES attempts (id),
    FOREIGN KEY(trial_id) REFERENCES stored_trials (id)
)
 WITHOUT ROWID;
INSERT INTO stored_epochs SELECT
    attempt_id, observer, epoch, trial_id, lr, train_loss, val_loss, val_top1, val_top5, seconds, images_per_second
FROM epochs ORDER BY attempt_id, observer, epoch;
DROP TABLE epochs;

CREATE TABLE protocols (
    name TEXT NOT NULL,
    smoke BOOLEAN NOT NULL,
    noted_at FLOAT NOT NULL,
    metric TEXT NOT NULL,
    selection TEXT NOT NULL,
    margin FLOAT,
    family TEXT NOT NULL,
    test TEXT NOT NULL,
    seeds_rule TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (name, smoke, noted_at)
);

CREATE TABLE extensions (
    name TEXT NOT NULL,
    smoke BOOLEAN NOT NULL,
    noted_at FLOAT NOT NULL,
    row_label TEXT NOT NULL,
    column_label TEXT NOT NULL,
    from_n INTEGER NOT NULL,
    to_n INTEGER NOT NULL,
    first_n INTEGER NOT NULL,
    sd FLOAT,
    half_width FLOAT,
    PRIMARY KEY (name, smoke, row_label, column_label, noted_at)
);

CREATE VIEW trials AS SELECT
    t.key AS trial,
    t.kind,
    t.measured_on,
    t.seed,
    t.state,
    t.core_version,
    (SELECT group_concat(name, ', ') FROM (SELECT DISTINCT s.name FROM stored_cells c JOIN sweeps s ON s.id = c.sweep_id WHERE c.trial_id = t.id ORDER BY 1)) AS sweeps,
    (SELECT count(*) FROM attempts x WHERE x.trial_id = t.id) AS attempts,
    (SELECT sum((coalesce(x.ended_at, x.heartbeat_at) - x.started_at) / x.job_trials) / 3600 FROM attempts x WHERE x.trial_id = t.id) AS device_hours,
    o.observer,
    o.epochs,
    o.diverged_epoch,
    o.best_epoch,
    o.best_val_top1,
    o.best_val_top5,
    o.best_val_loss,
    o.best_train_loss,
    o.last_val_top1,
    o.last_val_top5,
    o.last_val_loss,
    o.last_train_loss,
    o.cross_fitted_val_top1,
    o.parameters,
    o.trainable_parameters,
    o.macs,
    o.checkpoint_bytes,
    o.layers,
    o.width,
    o.epoch_seconds,
    o.train_images_per_second,
    o.inference_images_per_second,
    o.train_peak_memory,
    (SELECT n.host FROM attempts x JOIN environments n ON n.id = x.environment_id WHERE x.id = t.accepted_attempt_id) AS host,
    (SELECT n.device FROM attempts x JOIN environments n ON n.id = x.environment_id WHERE x.id = t.accepted_attempt_id) AS device,
    (SELECT n.torch FROM attempts x JOIN environments n ON n.id = x.environment_id WHERE x.id = t.accepted_attempt_id) AS torch,
    (SELECT n.timm FROM attempts x JOIN environments n ON n.id = x.environment_id WHERE x.id = t.accepted_attempt_id) AS timm,
    (SELECT n.git_commit FROM attempts x JOIN environments n ON n.id = x.environment_id WHERE x.id = t.accepted_attempt_id) AS git_commit,
    (SELECT n.train_digest FROM attempts x JOIN environments n ON n.id = x.environment_id WHERE x.id = t.accepted_attempt_id) AS train_digest,
    (SELECT x.started_at FROM attempts x WHERE x.id = t.accepted_attempt_id) AS started_at,
    (SELECT x.ended_at FROM attempts x WHERE x.id = t.accepted_attempt_id) AS ended_at,
    t.updated_at,
    t.fingerprint,
    v.canonical AS recipe,
    v.data_name,
    v.data_image_size,
    v.data_split,
    v.data_fraction,
    v.data_normalize,
    v.augment_crop,
    v.augment_crop_scale,
    v.augment_crop_ratio,
    v.augment_crop_padding,
    v.augment_crop_padding_mode,
    v.augment_crop_pct,
    v.augment_interpolation,
    v.augment_antialias,
    v.augment_hflip,
    v.augment_policy,
    v.augment_at,
    v.augment_color_jitter,
    v.augment_repeats,
    v.augment_erase_prob,
    v.augment_erase_count,
    v.augment_erase_mode,
    v.augment_erase_area,
    v.augment_erase_ratio,
    v.augment_erase_order,
    v.mix_mixup_alpha,
    v.mix_cutmix_alpha,
    v.mix_prob,
    v.mix_switch_prob,
    v.mix_keep_rate,
    v.mix_mode,
    v.model_name,
    v.model_args,
    v.model_pretrained,
    v.model_trainable,
    v.model_backbone_mode,
    v.model_drop_path,
    v.model_drop_path_rule,
    v.model_distilled_heads,
    v.loss_name,
    v.loss_smoothing,
    v.optimizer_name,
    v.optimizer_lr,
    v.optimizer_weight_decay,
    v.optimizer_momentum,
    v.optimizer_nesterov,
    v.optimizer_betas,
    v.optimizer_eps,
    v.optimizer_decay,
    v.optimizer_decay_times,
    v.optimizer_clip_norm,
    v.optimizer_layer_decay,
    v.optimizer_perturbation,
    v.optimizer_rho,
    v.optimizer_asam_eta,
    v.optimizer_second_draw,
    v.schedule_name,
    v.schedule_epochs,
    v.schedule_warmup_epochs,
    v.schedule_warmup_lr,
    v.schedule_min_lr,
    v.schedule_cooldown_epochs,
    v.schedule_per,
    v.batch_size,
    v.batch_accumulation,
    v.batch_divide_loss,
    v.ema_decay,
    v.ema_warmup,
    v.precision,
    v.evaluate_split,
    v.evaluate_crop,
    v.evaluate_crop_pct,
    v.evaluate_interpolation,
    v.evaluate_precision
FROM stored_trials t
JOIN variants v ON v.id = t.variant_id
LEFT JOIN stored_outcomes o ON o.attempt_id = t.accepted_attempt_id;

CREATE VIEW cells AS SELECT
    s.name AS sweep,
    s.title,
    s.digest,
    s.smoke,
    s.overrides,
    s.created_at,
    NOT EXISTS (SELECT 1 FROM sweeps x WHERE x.name = s.name AND x.smoke = s.smoke AND x.overrides = s.overrides AND (x.created_at, x.id) > (s.created_at, s.id)) AS latest,
    c.row_index,
    c.column_index,
    c.row_label,
    c.column_label,
    t.key AS trial,
    t.kind,
    t.seed,
    t.state,
    o.diverged_epoch,
    o.best_epoch,
    o.best_val_top1,
    o.best_val_top5,
    o.best_val_loss,
    o.best_train_loss,
    o.last_val_top1,
    o.last_val_top5,
    o.last_val_loss,
    o.last_train_loss,
    o.cross_fitted_val_top1
FROM stored_cells c
JOIN sweeps s ON s.id = c.sweep_id
JOIN stored_trials t ON t.id = c.trial_id
LEFT JOIN stored_outcomes o ON o.attempt_id = t.accepted_attempt_id;

CREATE VIEW epochs AS SELECT
    t.key AS trial,
    t.seed,
    e.observer,
    e.epoch,
    e.lr,
    e.train_loss,
    e.val_loss,
    e.val_top1,
    e.val_top5,
    e.seconds,
    e.images_per_second
FROM stored_trials t
CROSS JOIN stored_epochs e ON e.attempt_id = t.accepted_attempt_id;

CREATE VIEW outcomes AS SELECT
    t.key AS trial,
    t.kind,
    t.seed,
    a.number AS attempt,
    o.state,
    a.id = t.accepted_attempt_id AS accepted,
    o.observer,
    o.epochs,
    o.diverged_epoch,
    o.best_epoch,
    o.best_val_top1,
    o.best_val_top5,
    o.best_val_loss,
    o.best_train_loss,
    o.last_val_top1,
    o.last_val_top5,
    o.last_val_loss,
    o.last_train_loss,
    o.cross_fitted_val_top1,
    o.parameters,
    o.trainable_parameters,
    o.macs,
    o.checkpoint_bytes,
    o.layers,
    o.width,
    o.epoch_seconds,
    o.train_images_per_second,
    o.inference_images_per_second,
    o.train_peak_memory,
    n.core_version,
    n.host,
    n.device,
    n.torch,
    n.timm,
    n.git_commit,
    n.train_digest,
    a.started_at,
    a.ended_at
FROM stored_outcomes o
JOIN attempts a ON a.id = o.attempt_id
JOIN stored_trials t ON t.id = o.trial_id
LEFT JOIN environments n ON n.id = a.environment_id;
