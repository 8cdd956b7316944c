import os
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.backend.columns import CHUNK_BYTES, CHUNK_RECORDS, Columns, Extra, Lot, pack, pieces
from hawse.backend.reader import Reader
from hawse.backend.store import ItemGroup, Limits, Store
from hawse.batch import Signal
from hawse.diagnostics import HawseError

extras = st.one_of(
    st.none(),
    st.builds(
        Extra,
        severity_number=st.integers(0, 24),
        severity_text=st.text(),
        attributes=st.dictionaries(st.text(), st.one_of(st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans())),
        trace_id=st.text("0123456789abcdef", max_size=32),
        json=st.booleans(),
    ),
)
records = st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.binary(), extras), max_size=30)


def lot(found, resource=None) -> Lot:
    times, observed, bodies, more = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [], [])
    return Lot(resource or {}, times, observed, bodies, more if any(more) else [])


@given(st.lists(records.filter(bool), min_size=1, max_size=4))
def test_columns_give_back_what_went_in(groups):
    columns = Columns(*pack([lot(found) for found in groups]))
    flat = [record for found in groups for record in found]
    assert columns.bodies == [body for _, _, body, _ in flat]
    assert columns.times.tolist() == [when for when, *_ in flat]
    assert [columns.observed(at) for at in range(len(flat))] == [observed for _, observed, _, _ in flat]
    assert [columns.others(at) for at in range(len(flat))] == [extra or Extra() for *_, extra in flat]


@given(st.lists(st.lists(st.integers(0, CHUNK_BYTES + 10), max_size=20), max_size=5))
def test_pieces_keep_order_and_fit(sizes):
    body = bytes(CHUNK_BYTES + 10)
    lots = [
        Lot({"n": n}, list(range(len(one))), [0] * len(one), [body[:size] for size in one])
        for n, one in enumerate(sizes)
    ]
    found = list(pieces(lots))
    assert [len(b) for piece in found for part in piece for b in part.bodies] == [s for one in sizes for s in one]
    for piece in found:
        total = [len(b) for part in piece for b in part.bodies]
        assert len(total) == 1 or sum(total) <= CHUNK_BYTES
        assert all(len(part.times) == len(part.bodies) for part in piece)


def test_pieces_have_a_bounded_number_of_records():
    many = Lot({}, [1] * 10_000, [0] * 10_000, [b""] * 10_000)
    assert [sum(len(part.bodies) for part in piece) for piece in pieces([many])] == [CHUNK_RECORDS, CHUNK_RECORDS, 1808]


def filled(store: Store, count: int, text: bytes = b"x", now: int | None = None) -> None:
    store.append([Lot({"a": "b"}, [1] * count, [0] * count, [text] * count)], [], now or time.time_ns())


def held(path: Path) -> int:
    reader = Reader(str(path))
    try:
        return int(reader.connection.execute("SELECT coalesce(sum(items), 0) FROM run").fetchone()[0])
    finally:
        reader.close()


def test_totals_and_ids_survive_reopening(tmp_path):
    path = tmp_path / "s.db"
    store = Store(path, Limits(max_records=10))
    for _ in range(4):
        filled(store, 5)
    store.close()
    store = Store(path, Limits())
    try:
        total = store.totals[Signal.LOGS]
        assert (total.accepted, total.expired, total.accepted_bytes) == (20, 10, 20)
        filled(store, 1)
    finally:
        store.close()
    reader = Reader(str(path))
    assert reader.connection.execute("SELECT id, items FROM chunk ORDER BY id").fetchall() == [
        (11, 5),
        (16, 5),
        (21, 1),
    ]
    reader.close()


def test_size_is_bounded_and_pages_are_reused(tmp_path):
    path, limit = tmp_path / "s.db", 1 << 20
    store = Store(path, Limits(max_size=limit))
    try:
        for _ in range(100):
            bodies = [os.urandom(5000) for _ in range(10)]
            store.append([Lot({"a": "b"}, [1] * 10, [0] * 10, bodies)], [], time.time_ns())
            assert store.size <= limit
        total = store.totals[Signal.LOGS]
        assert total.accepted == 1000
        assert 0 < total.expired < 1000
        assert held(path) == total.accepted - total.expired
        assert path.stat().st_size <= limit + (256 << 10)
    finally:
        store.close()


def test_age_and_other_signals_expire_oldest_first(tmp_path):
    path, second = tmp_path / "s.db", 10**9
    store = Store(path, Limits(max_age=10))
    try:
        filled(store, 3, now=100 * second)
        store.append([], [ItemGroup(Signal.TRACES, {"t": 1}, 7, b"data", "text/x")], 105 * second)
        store.expire(109 * second)
        assert store.totals[Signal.LOGS].expired == 0
        store.expire(111 * second)
        assert (store.totals[Signal.LOGS].expired, store.totals[Signal.TRACES].expired) == (3, 0)
        store.expire(200 * second)
        assert store.totals[Signal.TRACES].expired == 7
    finally:
        store.close()


def test_a_failed_transaction_leaves_nothing_behind(tmp_path):
    path = tmp_path / "s.db"
    store = Store(path, Limits())
    try:
        filled(store, 2)
        broken = Lot({"new": "resource"}, [1, 2], [0, 0], [b"a", b"b"], [Extra(attributes={"x": object()}), None])
        with pytest.raises(TypeError):
            store.append([broken], [], 1)
        assert store.totals[Signal.LOGS].accepted == 2
        filled(store, 1)
    finally:
        store.close()
    assert held(path) == 3


def test_one_backend_a_file(tmp_path):
    store = Store(tmp_path / "s.db", Limits())
    try:
        with pytest.raises(HawseError, match=r"in use by another hawse backend.*--store"):
            Store(tmp_path / "s.db", Limits())
    finally:
        store.close()
    Store(tmp_path / "s.db", Limits()).close()


def test_files_of_others_are_not_touched(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("important")
    notes.chmod(0o644)
    with pytest.raises(HawseError, match="no SQLite file"):
        Store(notes, Limits())
    assert notes.read_text() == "important"
    assert notes.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [notes]

    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    before = other.read_bytes()
    with pytest.raises(HawseError, match="cannot be used as the backend's store"):
        Store(other, Limits())
    assert other.read_bytes() == before


def test_the_store_is_private_and_says_what_is_wrong_with_its_folder(tmp_path):
    Store(tmp_path / "s.db", Limits()).close()
    assert (tmp_path / "s.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(HawseError, match=r"missing/s\.db cannot be written: No such file.*--store"):
        Store(tmp_path / "missing" / "s.db", Limits())
