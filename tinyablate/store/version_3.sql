ALTER TABLE variants ADD COLUMN model_drop_path_rule TEXT;
ALTER TABLE variants ADD COLUMN model_distilled_heads TEXT;
ALTER TABLE variants ADD COLUMN optimizer_decay_times TEXT;
ALTER TABLE variants ADD COLUMN optimizer_clip_norm FLOAT;
ALTER TABLE variants ADD COLUMN optimizer_layer_decay FLOAT;
ALTER TABLE variants ADD COLUMN optimizer_perturbation TEXT;
ALTER TABLE variants ADD COLUMN optimizer_rho FLOAT;
ALTER TABLE variants ADD COLUMN optimizer_asam_eta FLOAT;
ALTER TABLE variants ADD COLUMN optimizer_second_draw BOOLEAN;
ALTER TABLE variants ADD COLUMN schedule_cooldown_epochs INTEGER;
ALTER TABLE variants ADD COLUMN schedule_per TEXT;
ALTER TABLE variants ADD COLUMN batch_accumulation INTEGER;
ALTER TABLE variants ADD COLUMN batch_divide_loss BOOLEAN;
ALTER TABLE variants ADD COLUMN ema_warmup BOOLEAN;
ALTER TABLE variants ADD COLUMN evaluate_precision TEXT;

UPDATE variants SET
    model_drop_path_rule = 'model',
    model_distilled_heads = 'mean',
    optimizer_decay_times = 'lr',
    optimizer_clip_norm = 0.0,
    optimizer_layer_decay = 1.0,
    optimizer_perturbation = 'none',
    optimizer_rho = 0.05,
    optimizer_asam_eta = 0.01,
    optimizer_second_draw = 0,
    schedule_cooldown_epochs = 0,
    schedule_per = 'update',
    batch_accumulation = 1,
    batch_divide_loss = 1,
    ema_warmup = 0,
    evaluate_precision = 'fp32';

ALTER TABLE trials ADD COLUMN measured_on TEXT;

ALTER TABLE outcomes ADD COLUMN macs INTEGER;
ALTER TABLE outcomes ADD COLUMN checkpoint_bytes INTEGER;
ALTER TABLE outcomes ADD COLUMN layers INTEGER;
ALTER TABLE outcomes ADD COLUMN width INTEGER;
ALTER TABLE outcomes ADD COLUMN epoch_seconds FLOAT;
ALTER TABLE outcomes ADD COLUMN train_images_per_second FLOAT;
ALTER TABLE outcomes ADD COLUMN inference_images_per_second FLOAT;
ALTER TABLE outcomes ADD COLUMN train_peak_memory INTEGER;

CREATE TABLE limits (
    model TEXT NOT NULL,
    image_size INTEGER NOT NULL,
    trainable TEXT NOT NULL,
    precision TEXT NOT NULL,
    device TEXT NOT NULL,
    micro_batch INTEGER NOT NULL,
    noted_at FLOAT NOT NULL,
    PRIMARY KEY (model, image_size, trainable, precision, device)
);

CREATE TABLE estimates (
    sweep_id INTEGER NOT NULL,
    made_at FLOAT NOT NULL,
    seconds FLOAT NOT NULL,
    device TEXT NOT NULL,
    devices INTEGER NOT NULL,
    trials_each INTEGER NOT NULL,
    device_hours FLOAT NOT NULL,
    disk_bytes INTEGER NOT NULL,
    jobs INTEGER NOT NULL,
    from_history INTEGER NOT NULL,
    from_calibration INTEGER NOT NULL,
    PRIMARY KEY (sweep_id, made_at),
    FOREIGN KEY(sweep_id) REFERENCES sweeps (id)
);

DROP VIEW results;

CREATE VIEW results AS SELECT t.key AS trial, t.kind, t.measured_on, t.seed, t.state, o.observer, o.epochs, o.best_epoch, o.best_val_top1, o.best_val_top5, o.best_val_loss, o.last_val_top1, o.last_val_top5, o.last_val_loss, o.last_train_loss, o.diverged_epoch, o.parameters, o.trainable_parameters, o.macs, o.checkpoint_bytes, o.layers, o.width, o.epoch_seconds, o.train_images_per_second, o.inference_images_per_second, o.train_peak_memory, t.fingerprint, v.data_name,
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
    v.evaluate_precision FROM trials t JOIN variants v ON v.id = t.variant_id LEFT JOIN outcomes o ON o.attempt_id = t.accepted_attempt_id;
