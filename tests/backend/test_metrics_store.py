import sqlite3
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hawse.backend import schema
from hawse.backend.metrics import samples as samples_module
from hawse.backend.metrics.registry import Kind
from hawse.backend.metrics.samples import CHUNK, STALE, SampleRows, Samples, stale, unpack
from hawse.backend.metrics.select import by_series, samples, series
from hawse.backend.reader import Reader
from hawse.backend.schema import open_for_writing
from hawse.backend.store import Limits, Store
from hawse.batch import Resource, Signal

SECOND = 10**9
FOREVER = 1 << 62


def append(store, found, received=None, labels=None):
    """`found`: (name, time, value)."""
    origin = store.registry.origin(Resource.of({"service.name": "web"}))
    numbers = [store.registry.number(origin, name, labels or {}, Kind("gauge")) for name, *_ in found]
    made = Samples(
        np.array(numbers, np.uint32),
        np.array([when for _, when, _ in found], np.int64),
        np.array([value for *_, value in found], np.float64),
        len(found),
    )
    store.append([], [], received or time.time_ns(), made)


def held(path):
    """Name → [(time, value)], as a search process sees it."""
    reader = Reader(str(path))
    try:
        found = {one.id: one.name for one in series(reader, [], FOREVER)}
        by = by_series(samples(reader, sorted(found), 0, FOREVER, FOREVER))
        return {
            name: list(zip(by[number].times.tolist(), by[number].values.tolist(), strict=True)) if number in by else []
            for number, name in found.items()
        }
    finally:
        reader.close()


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "s.db", Limits())
    yield made
    made.close()


columns = st.integers(1, 50).flatmap(
    lambda size: st.tuples(
        arrays.arrays(np.uint32, size, elements=st.integers(1, 2**32 - 1)),
        arrays.arrays(np.int64, size, elements=st.integers(0, 2**63 - 1)),
        arrays.arrays(np.uint64, size, elements=st.integers(0, 2**64 - 1)),
    )
)


@given(columns)
def test_rows_give_back_what_went_in_bit_for_bit(found):
    numbers, times, bits = found
    connection = sqlite3.connect(":memory:")
    connection.executescript(schema.METRICS)
    SampleRows(connection).insert(Samples(numbers, times, bits.view(np.float64), len(numbers)), 1)
    got = unpack(*connection.execute("SELECT series, times, samples FROM sample_chunk").fetchone())
    order = np.argsort(numbers, kind="stable")
    assert got.series.tolist() == numbers[order].tolist()
    assert got.times.tolist() == times[order].tolist()
    assert got.values.view(np.uint64).tolist() == bits[order].tolist()
    connection.close()


def test_gathering_changes_nothing_of_what_is_held(store, monkeypatch):
    monkeypatch.setattr(samples_module, "CHUNK", 7)
    wanted = {}
    for batch in range(150):  # more than twice as many as are gathered at once
        found = [(f"m{number}", batch * SECOND + number, batch + number / 10) for number in range(batch % 5 + 1)]
        append(store, found)
        for name, when, value in found:
            wanted.setdefault(name, []).append((when, value))
    assert held(store.path) == wanted
    levels = dict(store._connection.execute("SELECT level, count(*) FROM sample_chunk GROUP BY level"))
    assert levels == {0: 150 % 64, 1: -(-192 // 7) * 2}
    total = store.totals[Signal.METRICS]
    assert total.accepted == sum(map(len, wanted.values()))
    points = store._connection.execute("SELECT sum(points), sum(items) FROM sample_chunk").fetchone()
    assert points == (total.accepted, total.accepted)


def test_a_gathered_row_has_as_many_samples_as_it_may(store, monkeypatch):
    monkeypatch.setattr(samples_module, "_GATHER_SAMPLES", 3 * CHUNK)
    append(store, [("m", number, 1.0) for number in range(3 * CHUNK)])
    assert [row for (row,) in store._connection.execute("SELECT items FROM sample_chunk")] == [CHUNK] * 3


def test_stale_markers_are_kept_and_told_from_other_nans(store):
    append(store, [("m", 1, float("nan")), ("m", 2, STALE), ("m", 3, 4.0)])
    reader = Reader(str(store.path))
    ((_, found),) = by_series(samples(reader, [1], 0, FOREVER, FOREVER)).items()
    assert stale(found.values).tolist() == [False, True, False]
    assert np.isnan(found.values).tolist() == [True, True, False]
    reader.close()


def test_the_last_to_arrive_of_one_time_counts(store):
    append(store, [("m", 5, 1.0), ("m", 5, 2.0)])
    append(store, [("m", 5, 3.0), ("m", 4, 0.5)])
    assert held(store.path) == {"m": [(4, 0.5), (5, 3.0)]}


def test_series_keep_their_numbers_over_a_restart(tmp_path):
    path = tmp_path / "s.db"
    for run in range(3):
        store = Store(path, Limits())
        append(store, [("a", run, 1.0), ("b", run, 2.0)], labels={"x": 1})
        assert len(store.registry) == 2
        store.close()
    assert held(path) == {"a": [(0, 1.0), (1, 1.0), (2, 1.0)], "b": [(0, 2.0), (1, 2.0), (2, 2.0)]}


def test_a_failed_transaction_leaves_nothing_behind(store):
    append(store, [("a", 1, 1.0)])
    store._connection.execute("PRAGMA query_only=1")
    with pytest.raises(sqlite3.Error):
        append(store, [("a", 2, 1.0), ("b", 2, 1.0)])
    store._connection.execute("PRAGMA query_only=0")
    assert len(store.registry) == 1
    assert store.totals[Signal.METRICS].accepted == 1
    append(store, [("c", 3, 1.0), ("b", 3, 1.0)])
    assert held(store.path) == {"a": [(1, 1.0)], "c": [(3, 1.0)], "b": [(3, 1.0)]}


def test_the_oldest_samples_go_and_their_series_with_them(tmp_path):
    store = Store(tmp_path / "s.db", Limits(max_age=100))
    for step in range(600):
        append(
            store,
            [(f"m{step // 100}", step * SECOND, 1.0), ("always", step * SECOND, 2.0)],
            received=(step + 1) * SECOND,
        )
    total = store.totals[Signal.METRICS]
    assert total.accepted == 1200
    kept = held(store.path)
    assert sum(map(len, kept.values())) == total.accepted - total.expired < 2 * (100 + 2 * 64)
    assert kept["always"][-1] == (599 * SECOND, 2.0)
    store.expire(10_000 * SECOND)
    assert store.totals[Signal.METRICS].expired == 1200
    store._expired_since_sweep = 256
    append(store, [("new", 1, 1.0)], received=20_000 * SECOND)
    assert held(store.path) == {"new": [(1, 1.0)]}
    assert len(store.registry) == 1
    assert store._connection.execute("SELECT count(*) FROM metric").fetchone() == (1,)
    store.close()


def test_room_for_series_comes_back_when_samples_go(tmp_path):
    store = Store(tmp_path / "s.db", Limits(max_age=10, max_series=3))
    append(store, [(f"m{number}", 1, 1.0) for number in range(3)], received=SECOND)
    origin = store.registry.origin(Resource.of({"service.name": "web"}))
    assert store.registry.number(origin, "late", {}, Kind()) == 0
    append(store, [("m0", 1, 1.0)], received=100 * SECOND)  # the others have expired by now
    assert store.registry.number(origin, "late", {}, Kind()) > 0
    store.close()


def test_a_store_without_metrics_gets_them(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    monkeypatch.setattr(schema, "VERSION", 1)
    monkeypatch.setattr(schema, "_SINCE", {})
    open_for_writing(path).close()
    monkeypatch.undo()
    store = Store(path, Limits())
    append(store, [("a", 1, 1.0)])
    store.close()
    assert held(path) == {"a": [(1, 1.0)]}


def test_the_file_stays_within_its_limit(tmp_path):
    limit = 1 << 20
    store = Store(tmp_path / "s.db", Limits(max_size=limit))
    rng = np.random.default_rng(1)
    for step in range(60):
        append(store, [(f"m{n % 500}", step * SECOND, value) for n, value in enumerate(rng.random(5000).tolist())])
        assert store.size <= limit
    assert store.totals[Signal.METRICS].expired > 0
    store.close()
