"""A trial's last weights as a file that timm loads: the whole model, frozen parts included."""

import hashlib

from tinyablate.job import FileDigest
from tinyablate.retention import WEIGHTS
from tinyablate.train.backbone import FrozenTrunk, WholeModel
from tinyablate.train.observer import Observer
from tinyablate.train.writing import write


def keep_weights(observer: Observer, backbone: WholeModel | FrozenTrunk) -> FileDigest:
    """Write what `observer` evaluates into its attempt's directory, durable on return.

    The file is a plain state dict of CPU tensors under timm's names: `timm.create_model(name, num_classes=...)`, with
    the recipe's `model.args` and `img_size` where it has them, takes it by `load_state_dict(torch.load(file,
    weights_only=True))`. An observer of averaged weights writes those. Raises DiskFullError and OSError.
    """
    file = observer.task.directory / WEIGHTS
    state = backbone.state_with(observer.module)
    write(file, {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    with file.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return FileDigest("weights", WEIGHTS, digest, file.stat().st_size)
