ALTER TABLE variants ADD COLUMN data_split TEXT;
ALTER TABLE variants ADD COLUMN data_fraction FLOAT;
ALTER TABLE variants ADD COLUMN augment_crop_scale TEXT;
ALTER TABLE variants ADD COLUMN augment_crop_ratio TEXT;
ALTER TABLE variants ADD COLUMN augment_crop_padding INTEGER;
ALTER TABLE variants ADD COLUMN augment_crop_padding_mode TEXT;
ALTER TABLE variants ADD COLUMN augment_crop_pct FLOAT;
ALTER TABLE variants ADD COLUMN augment_antialias BOOLEAN;
ALTER TABLE variants ADD COLUMN augment_policy TEXT;
ALTER TABLE variants ADD COLUMN augment_at TEXT;
ALTER TABLE variants ADD COLUMN augment_color_jitter FLOAT;
ALTER TABLE variants ADD COLUMN augment_repeats INTEGER;
ALTER TABLE variants ADD COLUMN augment_erase_count INTEGER;
ALTER TABLE variants ADD COLUMN mix_keep_rate BOOLEAN;
ALTER TABLE variants ADD COLUMN evaluate_split TEXT;
ALTER TABLE variants ADD COLUMN evaluate_crop_pct FLOAT;
ALTER TABLE variants ADD COLUMN evaluate_interpolation TEXT;

UPDATE variants SET
    data_split = 'train',
    data_fraction = 1.0,
    augment_crop_scale = '[0.08, 1.0]',
    augment_crop_ratio = '[0.75, 1.3333333333333333]',
    augment_crop_padding = 4,
    augment_crop_padding_mode = 'reflect',
    augment_crop_pct = 0.0,
    augment_antialias = 1,
    augment_policy = 'none',
    augment_at = 'target',
    augment_color_jitter = 0.0,
    augment_repeats = 1,
    augment_erase_count = 1,
    mix_keep_rate = 0,
    evaluate_split = 'val',
    evaluate_crop_pct = 0.0,
    evaluate_interpolation = 'bicubic';

DROP VIEW results;

CREATE VIEW results AS SELECT t.key AS trial, t.seed, t.state, o.observer, o.epochs, o.best_epoch, o.best_val_top1, o.best_val_top5, o.best_val_loss, o.last_val_top1, o.last_val_top5, o.last_val_loss, o.last_train_loss, o.diverged_epoch, o.parameters, o.trainable_parameters, t.fingerprint, v.data_name,
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
    v.evaluate_split,
    v.evaluate_crop,
    v.evaluate_crop_pct,
    v.evaluate_interpolation FROM trials t JOIN variants v ON v.id = t.variant_id LEFT JOIN outcomes o ON o.attempt_id = t.accepted_attempt_id;
