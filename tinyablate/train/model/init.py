"""Initial weights keyed by seed and parameter name, with exactly the distributions of the model's own constructor.

A constructor draws from one global generator, so a module more or less shifts every later value. Here it runs twice: a
rehearsal finds out which random operation ends up in which parameter, then the performance reseeds the generator
before each of them. It knows nothing of timm.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tinyablate.train.randomness import stream_key

M = TypeVar("M", bound=nn.Module)


def keyed_init(seed: int, rehearse: Callable[[], nn.Module], perform: Callable[[], M]) -> M:
    """What `perform()` constructs on the CPU, its random operations keyed by (seed, parameter name, how-manieth on it).

    `rehearse()` must construct the same model; it may leave out what draws nothing, such as loading weights. An
    operation that ends up in no parameter or buffer is keyed by its kind, shape and occurrence. The global generator's
    state stays as it was. Raises RuntimeError if the two constructions draw differently.
    """
    state = torch.default_generator.get_state()
    try:
        with torch.device("cpu"):
            with _Rehearsal() as rehearsal:
                model = rehearse()
            operations, keys = rehearsal.operations, _operation_keys(rehearsal, model, seed)
            del model, rehearsal  # large models need not be there twice
            with _Performance(operations, keys) as performance:
                performed = perform()
    finally:
        torch.default_generator.set_state(state)
    if performance.done != len(keys):
        raise RuntimeError(f"the model's constructor drew {performance.done} times, and {len(keys)} times before")
    return performed


@dataclass(frozen=True)
class _Operation:
    """A random operation as far as it can be recognised again."""

    kind: str
    shape: tuple[int, ...]


@dataclass
class _Traced:
    """A storage that holds random values, and the operations that these come from."""

    storage: torch.UntypedStorage  # held, so that no other storage can get its address
    operations: set[int] = field(default_factory=set)


class _Rehearsal(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lists the random operations and follows their values from storage to storage; to be quick, it draws zeros."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[_Operation] = []
        self.traced: dict[int, _Traced] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        random = _is_random(func)
        in_place = random and func.overloadpacket.__name__.endswith("_")
        result = args[0].zero_() if in_place else func(*args, **kwargs)
        sources = self.operations_in(_tensors((args, kwargs)))
        if random:
            sources.add(len(self.operations))
            self.operations.append(_operation(func, result))
        written = func._schema.is_mutable or not sources.issubset(self.operations_in(_tensors(result)))
        if sources and written:
            self._mark(_written(func, args, kwargs, result), sources)
        return result

    def operations_in(self, tensors: Iterable[torch.Tensor]) -> set[int]:
        """The random operations whose values these tensors' storages hold."""
        found = (self.traced.get(tensor.untyped_storage()._cdata) for tensor in tensors)
        return set().union(*(traced.operations for traced in found if traced))

    def _mark(self, tensors: Iterable[torch.Tensor], operations: set[int]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self.traced.setdefault(storage._cdata, _Traced(storage)).operations.update(operations)


class _Performance(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Seeds the generator with its key before each random operation."""

    def __init__(self, operations: list[_Operation], keys: list[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations, self.keys, self.done = operations, keys, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _is_random(func):
            return func(*args, **kwargs)
        if self.done == len(self.keys):
            raise RuntimeError(f"the model's constructor drew more than {self.done} times, unlike before")
        torch.default_generator.manual_seed(self.keys[self.done])
        result = func(*args, **kwargs)
        expected, seen = self.operations[self.done], _operation(func, result)
        if seen != expected:
            raise RuntimeError(f"the model's constructor drew {seen} where it drew {expected} before")
        self.done += 1
        return result


def _operation_keys(rehearsal: _Rehearsal, model: nn.Module, seed: int) -> list[int]:
    """The key of each operation. A value in several parameters (a shared one) belongs to the first name."""
    owners: dict[int, str] = {}
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        for index in rehearsal.operations_in([tensor]):
            owners.setdefault(index, name)
    seen: Counter[str] = Counter()
    keys = []
    for index, operation in enumerate(rehearsal.operations):
        stream = f"init/{owners[index]}" if index in owners else f"init?{operation.kind}{operation.shape}"
        keys.append(stream_key(seed, stream, seen[stream]))
        seen[stream] += 1
    return keys


def _is_random(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


def _operation(func: Any, result: Any) -> _Operation:
    return _Operation(func.overloadpacket.__name__, tuple(next(iter(_tensors(result))).shape))


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _written(func: Any, args: Any, kwargs: Any, result: Any) -> list[torch.Tensor]:
    """The tensors that an operation wrote: its results and the arguments that its schema marks as written."""
    marked = [
        args[place] if place < len(args) else kwargs.get(argument.name)
        for place, argument in enumerate(func._schema.arguments)
        if argument.is_write
    ]
    return _tensors((marked, result))
