"""Protocols and extensions: what a sweep was judged by, and how its seeds grew."""

import dataclasses

import stores

from tinyablate.store.records import ExtensionRecord, ProtocolRecord
from tinyablate.store.store import Store

BACKENDS = stores.BACKENDS

FIRST = ProtocolRecord("val_top1", "last", None, "table", "max-t", "0, 1, 2", "a")


def test_a_protocol_is_noted_when_it_changes(store: Store) -> None:
    """The same again adds nothing; a change does, and so does the way back; sweeps and smoke runs are apart."""
    wider = dataclasses.replace(FIRST, margin=0.5, digest="b")
    for protocol in (FIRST, FIRST, wider, wider, FIRST):
        store.note_protocol("demo/x", False, protocol)
    store.note_protocol("demo/x", True, wider)
    found = store.protocols("demo/x", False)
    assert [protocol for _, protocol in found] == [FIRST, wider, FIRST]
    times = [at for at, _ in found]
    assert times == sorted(set(times))
    assert [protocol for _, protocol in store.protocols("demo/x", True)] == [wider]
    assert store.protocols("demo/y", False) == []


def test_extensions_are_kept_in_order(store: Store) -> None:
    """Each with what it followed from."""
    records = [ExtensionRecord("row", "90ep", 3, 5, 3, 0.3, 0.1), ExtensionRecord("row", "90ep", 5, 6, 3, None, None)]
    for record in records:
        store.note_extension("demo/x", False, record)
    assert store.extensions("demo/x", False) == records
    assert store.extensions("demo/x", True) == []
