"""What the ledger keeps over restarts, crashes, full disks and damaged files."""

import asyncio
import shutil
import sqlite3

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Busy, Kind, Refused
from hawse.pipeline.edges import from_receiver, to_exporter, to_queue
from hawse.pipeline.ledger import Ledger, store
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.ledger.held import Held
from hawse.pipeline.ledger.report import report
from hawse.pipeline.ledger.sources import Sources, name_of
from hawse.pipeline.ledger.store import Kept
from hawse.pipeline.telemetry import Telemetry
from hawse.state.storage import Storage


def pod(name, container="app"):
    return {"k8s.namespace.name": "shop", "k8s.pod.name": name, "k8s.container.name": container}


def batch(*named, signal=Signal.LOGS):
    return Batch(signal, [Group(Resource.of(attributes), (b"",), items) for attributes, items in named])


def shape(line):
    columns = ("received", "copied", "delivered", "filtered", "refused", "dropped", "in_flight", "unaccounted")
    return {name: value for name in columns if (value := getattr(line, name))}


def total(ledger):
    found = report(ledger, sources=True)
    assert found.balanced
    return shape(found.totals[0]) if found.totals else {}


class Take:
    """An exporter, or what is behind a queue's put."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def consume(self, one):
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


class Process:
    """A receiver, an exporter with or without a queue on disk, and a state file."""

    def __init__(self, folder):
        self.storage = Storage()
        self.storage.open_storage(str(folder))
        self.keys = self.storage.keyspace("filelog")
        self.ledger = Ledger()
        self.kept = Kept(self.ledger, self.storage)
        self.kept.open()
        self.telemetry = Telemetry()
        self.own = ComponentLedger(self.ledger, Kind.EXPORTER, "sink", {Signal.LOGS})
        self.held = Held(self.ledger, Kind.EXPORTER, "sink")
        self.storage.connection.execute("CREATE TABLE IF NOT EXISTS q (id INTEGER PRIMARY KEY, items INTEGER)")
        self.fail = None

    def receive(self, one, consumer):
        edge = from_receiver(
            consumer, self.telemetry.meter(Kind.RECEIVER, "feed"), Signal.LOGS, None, self.ledger, "feed"
        )
        asyncio.run(edge.consume(one))

    def deliver(self, one, *answers):
        """Without a queue, as filelog does: the offset is put when the answer is there."""
        meter = self.telemetry.meter(Kind.EXPORTER, "sink")
        self.receive(one, to_exporter(Take(*answers), meter, Signal.LOGS, self.ledger, self.own))
        self.keys.put({"offset": b"1"})

    async def consume(self, one):
        """The queue: puts a row."""
        sources = self.held.sources(one)
        with self.held.entering(one.signal, sources), self.storage.transaction() as connection:
            if self.fail:
                raise self.fail
            connection.execute("INSERT INTO q VALUES (NULL, ?)", (one.items,))

    def enqueue(self, one):
        self.receive(one, to_queue(self, self.ledger, self.own))

    def settle(self, one, how, *reason):
        sources = self.held.sources(one)
        with self.held.leaving(), self.storage.transaction() as connection:
            connection.execute("DELETE FROM q WHERE id = (SELECT min(id) FROM q)")
            getattr(self.held, how)(one.signal, sources, *reason)
            if self.fail:
                raise self.fail

    def queued(self):
        return self.storage.connection.execute("SELECT coalesce(sum(items), 0) FROM q").fetchone()[0]

    def stop(self):
        self.kept.close()
        self.storage.close_storage()

    def die(self, folder):
        """What a process finds that starts after this one was killed: a copy of its files as they are."""
        shutil.copytree(self.storage.directory, folder)
        self.storage.close_storage()
        return Process(folder)


def test_a_restart_continues(tmp_path):
    first = Process(tmp_path)
    first.deliver(batch((pod("web"), 3), (pod("db"), 2)))
    with pytest.raises(Refused):
        first.deliver(batch((pod("web"), 4)), Refused("no", "http_400"))
    first.stop()
    second = Process(tmp_path)
    assert second.ledger.since == first.ledger.since
    second.deliver(batch((pod("web"), 5)))
    assert total(second.ledger) == {"received": 14, "delivered": 10, "refused": 4}
    lines = {line.source: shape(line) for line in report(second.ledger, sources=True).sources}
    assert lines == {
        "shop/web/app": {"received": 12, "delivered": 8, "refused": 4},
        "shop/db/app": {"received": 2, "delivered": 2},
    }
    assert [line.reasons for line in report(second.ledger).components if line.reasons] == [{"refused": {"http_400": 4}}]
    second.stop()


def test_a_reload_counts_nothing_twice(tmp_path):
    process = Process(tmp_path)
    process.deliver(batch((pod("web"), 3)))
    process.kept.close()
    process.kept = Kept(process.ledger, process.storage)
    process.kept.open()
    process.deliver(batch((pod("web"), 2)))
    process.stop()
    process = Process(tmp_path)
    assert total(process.ledger) == {"received": 5, "delivered": 5}
    process.stop()


def test_it_is_written_with_the_offsets(tmp_path):
    first = Process(tmp_path / "a")
    first.deliver(batch((pod("web"), 3)))
    meter = first.telemetry.meter(Kind.EXPORTER, "sink")
    first.receive(batch((pod("web"), 9)), to_exporter(Take(), meter, Signal.LOGS, first.ledger, first.own))
    # Killed before the offset of the nine was put: they are read again, and are not in the ledger either.
    second = first.die(tmp_path / "b")
    assert total(second.ledger) == {"received": 3, "delivered": 3}
    second.stop()


def test_what_nobody_writes_is_written_every_second(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_WRITTEN_EVERY", 0.01)
    first = Process(tmp_path / "a")
    source = ComponentLedger(first.ledger, Kind.RECEIVER, "feed", {Signal.LOGS})
    failing = [sqlite3.OperationalError("database or disk is full")]

    def fails_once(_):
        if failing:
            raise failing.pop()

    async def main():
        task = asyncio.create_task(first.kept.run())
        first.storage.attach(fails_once)
        source.filtered(Group(Resource.of(pod("x")), (), 5), "exclude")
        await asyncio.sleep(0.1)
        assert not failing
        task.cancel()

    asyncio.run(main())
    second = first.die(tmp_path / "b")
    assert total(second.ledger) == {"received": 5, "filtered": 5}
    second.stop()


def test_what_a_queue_holds_is_in_flight_over_a_crash(tmp_path):
    first = Process(tmp_path / "a")
    one, two, three = batch((pod("web"), 3)), batch((pod("db"), 2)), batch((pod("db"), 7))
    for some in (one, two, three):
        first.enqueue(some)
    first.settle(one, "delivered")
    first.settle(two, "refused", "http_400")
    assert total(first.ledger) == {"received": 12, "delivered": 3, "refused": 2, "in_flight": 7}
    second = first.die(tmp_path / "b")
    assert second.queued() == 7
    assert total(second.ledger) == {"received": 12, "delivered": 3, "refused": 2, "in_flight": 7}
    assert second.held.reconcile(Signal.LOGS, {"shop/db/app": 7}) == 0
    second.settle(three, "dropped", "expired")
    assert total(second.ledger) == {"received": 12, "delivered": 3, "refused": 2, "dropped": 7}
    second.stop()


def test_killed_between_the_queue_and_the_answer(tmp_path):
    first = Process(tmp_path / "a")

    class Killed:
        async def consume(self, one):
            await first.consume(one)
            in_between = report(first.ledger)
            assert in_between.balanced
            assert shape(in_between.totals[0]) == {"received": 3, "in_flight": 3}
            shutil.copytree(tmp_path / "a", tmp_path / "b")

    first.receive(batch((pod("web"), 3)), Killed())
    assert total(first.ledger) == {"received": 3, "in_flight": 3}
    first.stop()
    second = Process(tmp_path / "b")
    assert second.queued() == 3
    assert total(second.ledger) == {"received": 3, "in_flight": 3}  # and its sender sends them again
    second.enqueue(batch((pod("web"), 3)))
    assert total(second.ledger) == {"received": 6, "in_flight": 6}
    second.stop()


def test_busy_behind_the_queue_keeps_what_is_on_disk(tmp_path):
    process = Process(tmp_path)

    class Then:
        async def consume(self, one):
            await process.consume(one)
            raise Busy("a second way")

    one = batch((pod("web"), 3))
    with pytest.raises(Busy):
        process.receive(one, Then())
    assert process.queued() == 3
    assert total(process.ledger) == {"received": 3, "in_flight": 3}
    process.settle(one, "delivered")
    assert total(process.ledger) == {"received": 3, "delivered": 3}
    process.stop()


@pytest.mark.parametrize("then", ["again", "die"])
def test_a_disk_that_does_not_take_it(tmp_path, then):
    first = Process(tmp_path / "a")
    one = batch((pod("web"), 3))
    first.enqueue(one)
    first.fail = sqlite3.OperationalError("database or disk is full")
    with pytest.raises(OSError, match="full"):
        first.enqueue(batch((pod("db"), 4)))
    with pytest.raises(OSError, match="full"):
        first.settle(one, "delivered")
    assert total(first.ledger) == {"received": 3, "in_flight": 3}
    if then == "die":
        first = first.die(tmp_path / "b")
        assert total(first.ledger) == {"received": 3, "in_flight": 3}
    first.fail = None
    first.settle(one, "delivered")
    first = first.die(tmp_path / "c")
    assert total(first.ledger) == {"received": 3, "delivered": 3}
    first.stop()


def test_a_transaction_taken_back_after_the_hook(tmp_path):
    """The commit itself may fail: what the hook wrote is gone then, and is written by the next one."""
    first = Process(tmp_path / "a")
    first.deliver(batch((pod("web"), 3)))
    meter = first.telemetry.meter(Kind.EXPORTER, "sink")
    first.receive(batch((pod("db"), 4)), to_exporter(Take(), meter, Signal.LOGS, first.ledger, first.own))

    def fails(_):
        raise sqlite3.OperationalError("disk I/O error")

    detach = first.storage.attach(fails)
    for _ in range(2):
        with pytest.raises(OSError, match="I/O"):
            first.keys.put({"offset": b"2"})
    detach()
    first.keys.put({"other": b"1"})
    second = first.die(tmp_path / "b")
    assert total(second.ledger) == {"received": 7, "delivered": 7}
    second.stop()


def test_a_damaged_file_is_begun_anew_with_all_that_is_known(tmp_path):
    first = Process(tmp_path / "a")
    first.deliver(batch((pod("web"), 3)))
    first.storage.recover(_corrupt())
    first.keys.put({"offset": b"3"})
    second = first.die(tmp_path / "b")
    assert total(second.ledger) == {"received": 3, "delivered": 3}
    second.stop()


def _corrupt():
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def test_rows_that_make_no_sense(tmp_path, caplog):
    first = Process(tmp_path)
    first.deliver(batch((pod("web"), 3)))
    first.stop()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE ledger SET counts = 'nonsense'")
    connection.close()
    second = Process(tmp_path)
    assert "begins anew" in caplog.text
    assert total(second.ledger) == {}
    second.deliver(batch((pod("web"), 1)))
    second.stop()
    third = Process(tmp_path)
    assert total(third.ledger) == {"received": 1, "delivered": 1}
    third.stop()


def test_reconciled_with_what_is_really_there(tmp_path):
    process = Process(tmp_path)
    process.enqueue(batch((pod("web"), 3), (pod("db"), 2)))
    assert process.held.reconcile(Signal.LOGS, {"shop/web/app": 1, "shop/new/app": 4}) == 2 + 2 + 4
    assert total(process.ledger) == {"received": 9, "dropped": 4, "in_flight": 5}
    (sink,) = [line for line in report(process.ledger).components if line.component == "sink"]
    assert sink.reasons == {"dropped": {"damaged": 4}}
    process.stop()


def test_a_second_storage_does_not_bring_its_own_past(tmp_path):
    old = Process(tmp_path / "b")
    old.deliver(batch((pod("web"), 100)))
    old.stop()
    process = Process(tmp_path / "a")
    process.deliver(batch((pod("web"), 3)))
    process.stop()
    process = Process(tmp_path / "a")
    other = Storage()
    other.open_storage(str(tmp_path / "b"))
    kept = Kept(process.ledger, other)
    kept.open()
    assert total(process.ledger) == {"received": 3, "delivered": 3}
    kept.close()
    other.close_storage()
    process.stop()
    again = Process(tmp_path / "b")
    assert total(again.ledger) == {"received": 3, "delivered": 3}
    again.stop()


# --- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        (pod("web"), "shop/web/app"),
        ({"namespace": "shop", "pod": "web", "container": "app"}, "shop/web/app"),
        ({"k8s.namespace.name": "shop", "k8s.pod.name": "web"}, "shop/web"),
        ({"k8s.pod.name": "web", "service.name": "x"}, "web"),
        ({"k8s.namespace.name": "shop", "service.name": "cart"}, "cart"),
        ({"service": "cart"}, "cart"),
        ({"host.name": "node"}, ""),
        ({}, ""),
    ],
)
def test_names(attributes, name):
    assert name_of(Resource.of(attributes)) == name


def test_a_malformed_resource_has_no_name():
    assert name_of(Resource(b"\x0a\xff")) == ""


def test_names_have_a_bound():
    sources = Sources(set, most=2)
    assert [sources.of(Resource.of(pod(name))) for name in ("a", "b", "c", "a", "c")] == [
        "shop/a/app",
        "shop/b/app",
        "other",
        "shop/a/app",
        "other",
    ]
    assert sources.of(Resource.of({})) == ""


def test_sources_that_have_gone_quiet_make_room(tmp_path):
    process = Process(tmp_path)
    process.ledger.sources._most = 6
    process.enqueue(batch((pod("queued"), 2)))
    for name in ("a", "b", "c"):
        process.deliver(batch((pod(name), 1)))
    process.deliver(batch((pod("full"), 1)))  # notes how they stand
    process.deliver(batch((pod("c"), 1)))
    process.deliver(batch((pod("new"), 1)))  # a and b have not moved since, and make room
    found = {line.source: shape(line) for line in report(process.ledger, sources=True).sources}
    assert found == {
        "shop/queued/app": {"received": 2, "in_flight": 2},
        "shop/c/app": {"received": 2, "delivered": 2},
        "shop/new/app": {"received": 1, "delivered": 1},
        "other": {"received": 3, "delivered": 3},
    }
    assert total(process.ledger) == {"received": 8, "delivered": 6, "in_flight": 2}
    process.deliver(batch((pod("full"), 1)))
    process.stop()
    process = Process(tmp_path)
    assert {line.source: shape(line) for line in report(process.ledger, sources=True).sources} == {
        **found,
        "shop/full/app": {"received": 1, "delivered": 1},
    }
    process.stop()


def test_two_thousand_sources_are_drawn_up_quickly(tmp_path):
    process = Process(tmp_path)
    process.deliver(batch(*((pod(f"web-{number}"), 3) for number in range(2500))))
    found = report(process.ledger, sources=True)
    assert found.balanced
    assert len(found.sources) == 2001
    assert next(line for line in found.sources if line.source == "other").received == 1500
    process.stop()
    process = Process(tmp_path)
    assert len(report(process.ledger, sources=True).sources) == 2001
    process.stop()
