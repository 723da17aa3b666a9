ALTER TABLE stored_trials ADD COLUMN counted_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN from_step INTEGER;

CREATE TABLE drivers (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    started_at FLOAT NOT NULL,
    heartbeat_at FLOAT NOT NULL,
    ended_at FLOAT,
    log TEXT,
    stop_asked BOOLEAN NOT NULL,
    PRIMARY KEY (owner)
);
