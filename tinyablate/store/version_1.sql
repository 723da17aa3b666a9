CREATE TABLE environments (
    id INTEGER NOT NULL,
    host TEXT NOT NULL,
    device TEXT NOT NULL,
    driver TEXT NOT NULL,
    python TEXT NOT NULL,
    torch TEXT NOT NULL,
    torchvision TEXT NOT NULL,
    timm TEXT NOT NULL,
    ray TEXT NOT NULL,
    tinyablate TEXT NOT NULL,
    core_version INTEGER NOT NULL,
    train_digest TEXT NOT NULL,
    git_commit TEXT NOT NULL,
    data_digest TEXT NOT NULL,
    weights_digest TEXT NOT NULL,
    threads INTEGER NOT NULL,
    compiled BOOLEAN NOT NULL,
    memory_format TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT one_of_each UNIQUE (host, device, driver, python, torch, torchvision, timm, ray, tinyablate, core_version, train_digest, git_commit, data_digest, weights_digest, threads, compiled, memory_format)
);

CREATE TABLE schema_version (
    version INTEGER NOT NULL,
    applied_at FLOAT NOT NULL,
    tinyablate TEXT NOT NULL,
    PRIMARY KEY (version)
);

CREATE TABLE sweeps (
    id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    smoke BOOLEAN NOT NULL,
    overrides TEXT NOT NULL,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (digest)
);

CREATE INDEX sweeps_by_name ON sweeps (name);

CREATE TABLE variants (
    id INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    canonical TEXT NOT NULL,
    data_name TEXT,
    data_image_size INTEGER,
    data_normalize TEXT,
    augment_crop TEXT,
    augment_interpolation TEXT,
    augment_hflip FLOAT,
    augment_erase_prob FLOAT,
    augment_erase_mode TEXT,
    augment_erase_area TEXT,
    augment_erase_ratio TEXT,
    augment_erase_order TEXT,
    mix_mixup_alpha FLOAT,
    mix_cutmix_alpha FLOAT,
    mix_prob FLOAT,
    mix_switch_prob FLOAT,
    mix_mode TEXT,
    model_name TEXT,
    model_args TEXT,
    model_pretrained BOOLEAN,
    model_trainable TEXT,
    model_backbone_mode TEXT,
    model_drop_path FLOAT,
    loss_name TEXT,
    loss_smoothing FLOAT,
    optimizer_name TEXT,
    optimizer_lr FLOAT,
    optimizer_weight_decay FLOAT,
    optimizer_momentum FLOAT,
    optimizer_nesterov BOOLEAN,
    optimizer_betas TEXT,
    optimizer_eps FLOAT,
    optimizer_decay TEXT,
    schedule_name TEXT,
    schedule_epochs INTEGER,
    schedule_warmup_epochs FLOAT,
    schedule_warmup_lr FLOAT,
    schedule_min_lr FLOAT,
    batch_size INTEGER,
    ema_decay FLOAT,
    precision TEXT,
    evaluate_crop TEXT,
    PRIMARY KEY (id),
    UNIQUE ("key")
);

CREATE TABLE trials (
    id INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    kind TEXT NOT NULL,
    variant_id INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL,
    core_version INTEGER,
    fence INTEGER NOT NULL,
    owner TEXT,
    lease_until FLOAT,
    accepted_attempt_id INTEGER,
    updated_at FLOAT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE ("key"),
    FOREIGN KEY(variant_id) REFERENCES variants (id)
);

CREATE INDEX trials_by_state ON trials (state);

CREATE INDEX trials_by_variant ON trials (variant_id, seed);

CREATE TABLE attempts (
    id INTEGER NOT NULL,
    trial_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    state TEXT NOT NULL,
    job TEXT NOT NULL,
    owner TEXT NOT NULL,
    directory TEXT NOT NULL,
    environment_id INTEGER,
    micro_batch INTEGER,
    from_epoch INTEGER,
    epoch INTEGER,
    images_per_second FLOAT,
    cause TEXT,
    message TEXT,
    traceback TEXT,
    started_at FLOAT NOT NULL,
    heartbeat_at FLOAT NOT NULL,
    ended_at FLOAT,
    PRIMARY KEY (id),
    CONSTRAINT one_attempt_per_number UNIQUE (trial_id, number),
    FOREIGN KEY(trial_id) REFERENCES trials (id),
    FOREIGN KEY(environment_id) REFERENCES environments (id)
);

CREATE TABLE cells (
    sweep_id INTEGER NOT NULL,
    row_index INTEGER NOT NULL,
    column_index INTEGER NOT NULL,
    trial_id INTEGER NOT NULL,
    row_label TEXT NOT NULL,
    column_label TEXT NOT NULL,
    PRIMARY KEY (sweep_id, row_index, column_index, trial_id),
    FOREIGN KEY(sweep_id) REFERENCES sweeps (id),
    FOREIGN KEY(trial_id) REFERENCES trials (id)
)
 WITHOUT ROWID;

CREATE INDEX cells_by_trial ON cells (trial_id);

CREATE TABLE artefacts (
    attempt_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    trial_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (attempt_id, path),
    FOREIGN KEY(attempt_id) REFERENCES attempts (id),
    FOREIGN KEY(trial_id) REFERENCES trials (id)
);

CREATE TABLE correctness (
    attempt_id INTEGER NOT NULL,
    observer TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    trial_id INTEGER NOT NULL,
    bits BLOB NOT NULL,
    PRIMARY KEY (attempt_id, observer, epoch),
    FOREIGN KEY(attempt_id) REFERENCES attempts (id),
    FOREIGN KEY(trial_id) REFERENCES trials (id)
);

CREATE TABLE epochs (
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
    FOREIGN KEY(trial_id) REFERENCES trials (id)
);

CREATE INDEX epochs_by_trial ON epochs (trial_id);

CREATE TABLE metrics (
    attempt_id INTEGER NOT NULL,
    observer TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    name TEXT NOT NULL,
    trial_id INTEGER NOT NULL,
    value FLOAT,
    PRIMARY KEY (attempt_id, observer, epoch, name),
    FOREIGN KEY(attempt_id) REFERENCES attempts (id),
    FOREIGN KEY(trial_id) REFERENCES trials (id)
);

CREATE INDEX metrics_by_trial ON metrics (trial_id);

CREATE TABLE outcomes (
    attempt_id INTEGER NOT NULL,
    trial_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    observer TEXT,
    epochs INTEGER NOT NULL,
    diverged_epoch INTEGER,
    best_epoch INTEGER,
    best_val_top1 FLOAT,
    best_val_top5 FLOAT,
    best_val_loss FLOAT,
    best_train_loss FLOAT,
    last_val_top1 FLOAT,
    last_val_top5 FLOAT,
    last_val_loss FLOAT,
    last_train_loss FLOAT,
    parameters INTEGER,
    trainable_parameters INTEGER,
    PRIMARY KEY (attempt_id),
    FOREIGN KEY(attempt_id) REFERENCES attempts (id),
    FOREIGN KEY(trial_id) REFERENCES trials (id)
);

CREATE INDEX outcomes_by_trial ON outcomes (trial_id);

CREATE VIEW results AS SELECT t.key AS trial, t.seed, t.state, o.observer, o.epochs, o.best_epoch, o.best_val_top1, o.best_val_top5, o.best_val_loss, o.last_val_top1, o.last_val_top5, o.last_val_loss, o.last_train_loss, o.diverged_epoch, o.parameters, o.trainable_parameters, t.fingerprint, v.data_name,
    v.data_image_size,
    v.data_normalize,
    v.augment_crop,
    v.augment_interpolation,
    v.augment_hflip,
    v.augment_erase_prob,
    v.augment_erase_mode,
    v.augment_erase_area,
    v.augment_erase_ratio,
    v.augment_erase_order,
    v.mix_mixup_alpha,
    v.mix_cutmix_alpha,
    v.mix_prob,
    v.mix_switch_prob,
    v.mix_mode,
    v.model_name,
    v.model_args,
    v.model_pretrained,
    v.model_trainable,
    v.model_backbone_mode,
    v.model_drop_path,
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
    v.schedule_name,
    v.schedule_epochs,
    v.schedule_warmup_epochs,
    v.schedule_warmup_lr,
    v.schedule_min_lr,
    v.batch_size,
    v.ema_decay,
    v.precision,
    v.evaluate_crop FROM trials t JOIN variants v ON v.id = t.variant_id LEFT JOIN outcomes o ON o.attempt_id = t.accepted_attempt_id;

CREATE VIEW curves AS SELECT t.key AS trial, t.seed, e.observer, e.epoch, e.lr, e.train_loss, e.val_loss, e.val_top1, e.val_top5, e.seconds, e.images_per_second FROM epochs e JOIN trials t ON t.accepted_attempt_id = e.attempt_id;
