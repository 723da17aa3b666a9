"""Cross-fitted selection: the best epoch is chosen on one half of the images and scored on the other. Pure but for
`back_fill`, which does it for results that were stored before."""

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray


def cross_fitted(correct: Sequence[bytes], top1: Sequence[float]) -> float | None:
    """Top-1 in percent over all images, each scored at an epoch that was chosen without it.

    `correct` holds per epoch a bit per image, most significant first, `top1` each epoch's percentage. The halves are
    the images at even and at odd positions. On each the epoch with most correct ones is chosen, of several the
    earliest, and scored on the other half: choosing and scoring on the same images would flatter the maximum.
    None without bits, or of a single image.
    """
    if not correct or not all(correct) or len({len(bits) for bits in correct}) > 1:
        return None
    right = unpacked(correct, top1)
    if right.shape[1] < 2:
        return None
    even, odd = right[:, 0::2].sum(axis=1), right[:, 1::2].sum(axis=1)
    return 100 * float(odd[even.argmax()] + even[odd.argmax()]) / int(right.shape[1])  # argmax: of several the first


def unpacked(correct: Sequence[bytes], top1: Sequence[float]) -> NDArray[np.bool_]:
    """The bits as an array (epochs, images), without those that fill the last byte.

    How many images there are is not stored: it is the number of which the correct ones make the percentage.
    """
    bits = np.frombuffer(b"".join(correct), np.uint8).reshape(len(correct), -1)
    unpacked = np.unpackbits(bits, axis=1)
    counts = unpacked.sum(axis=1)
    at, most = int(counts.argmax()), unpacked.shape[1]
    images = 100 * int(counts[at]) / top1[at] if top1[at] else most
    whole = round(images) if 0 < images < most else most  # top1 may be nan, or any number where it was edited
    return unpacked[:, : max(whole, most - 7)].astype(bool)


def back_fill(connection: sa.Connection) -> None:
    """Put the cross-fitted score beside every stored result whose bits are there.

    Part of the migration to schema version 4: it names tables and columns as they are then.
    """
    results = connection.exec_driver_sql(
        "SELECT attempt_id, observer FROM stored_outcomes WHERE observer IS NOT NULL ORDER BY attempt_id"
    ).fetchall()
    for attempt, observer in results:
        found = connection.exec_driver_sql(
            "SELECT c.bits, e.val_top1 FROM correctness c JOIN stored_epochs e ON e.attempt_id = c.attempt_id "
            "AND e.observer = c.observer AND e.epoch = c.epoch WHERE c.attempt_id = ? AND c.observer = ? "
            "ORDER BY c.epoch",
            (attempt, observer),
        ).fetchall()
        score = cross_fitted([bits for bits, _ in found], [top1 for _, top1 in found])
        if score is not None:
            connection.exec_driver_sql(
                "UPDATE stored_outcomes SET cross_fitted_val_top1 = ? WHERE attempt_id = ?", (score, attempt)
            )
