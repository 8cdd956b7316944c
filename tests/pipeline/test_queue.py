"""Sending queues on disk, in one process; tests/pipeline/test_queue_processes.py has them over deaths."""

import asyncio
import json
import logging
import os
import sqlite3
import time
from contextlib import asynccontextmanager, suppress

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp_records
from hawse.component import Busy, Exporter, Kind, Refused, TooLarge
from hawse.net.budget import Budget
from hawse.net.retry import RetryConfig
from hawse.pipeline import edges
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.ledger.passage import outside
from hawse.pipeline.sending import Sending
from hawse.pipeline.telemetry import Telemetry
from hawse.state.settings import DeadLetters, QueueConfig
from hawse.state.storage import Storage
from hawse.values import ByteSize, ComponentID, Duration, ExtensionID
from hawse.wire import encode_value, field

QUICK = RetryConfig(initial_interval=Duration(0.01), max_interval=Duration(0.02))


def group(pod, *bodies):
    records = b"".join(field(2, field(5, encode_value(body))) for body in bodies)
    return Group(Resource.of({"k8s.pod.name": pod}), (memoryview(bytearray(field(2, records))),), len(bodies))


def logs(*groups):
    return Batch(Signal.LOGS, groups)


def texts(batch):
    return [str(record.body) for one in batch.groups for record in otlp_records.log_records(one)]


class Backend(Exporter):
    """Takes what `judge` does not raise for; `gate` may be shut."""

    def __init__(self):
        self.taken = []
        self.attempts = []
        self.judge = lambda batch: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.now = self.most = 0

    async def consume(self, batch):
        self.attempts.append(texts(batch))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            self.judge(batch)
        finally:
            self.now -= 1
        self.taken += texts(batch)


class Context:
    id = ComponentID("backend")

    def __init__(self, storage, telemetry, ledger):
        self.storage = storage
        self.budget = Budget(256 << 20)
        self.meter = telemetry.meter(Kind.EXPORTER, "backend")
        self.log = logging.LoggerAdapter(logging.getLogger("hawse.test"), {})
        self.ledger = ComponentLedger(ledger, Kind.EXPORTER, "backend", {Signal.LOGS})

    def shared(self, kind):
        assert kind is Budget
        return self.budget

    def extension(self, id_, kind):
        assert isinstance(self.storage, kind)
        return self.storage


class Config:
    def __init__(self, queue, retry=QUICK):
        self.sending_queue = queue
        self.retry_on_failure = retry


class Queue:
    """A queue in a folder, with its backend, from start to stop."""

    def __init__(self, folder, storage, **settings):
        self.folder = folder
        self.backend = Backend()
        self.telemetry = Telemetry()
        self.books = self.telemetry.ledger if hasattr(self.telemetry, "ledger") else Ledger()
        self.storage = storage
        config = QueueConfig(**{"storage": ExtensionID("file_storage"), **settings})
        self.sending = Sending(self.backend, Config(config), Context(storage, self.telemetry, self.books), self.books)
        own = ComponentLedger(self.books, Kind.EXPORTER, "backend", {Signal.LOGS})
        meter = self.telemetry.meter(Kind.RECEIVER, "feed")
        entry = edges.to_queue(self.sending, self.books, own)
        log = logging.LoggerAdapter(logging.getLogger("hawse.test"), {})
        self.entry = edges.from_receiver(entry, meter, Signal.LOGS, log, self.books, "feed")

    async def put(self, *bodies, pod="a"):
        await self.entry.consume(logs(group(pod, *bodies)))

    @property
    def line(self):
        return self.sending._queue._line

    def rows(self):
        return [id_ for (id_,) in self.storage.connection.execute('SELECT id FROM "queue:backend"')]

    def value(self, name, **labels):
        return self.telemetry.value(name, **labels)

    def outcomes(self):
        """Items by outcome and reason, without zeros."""
        found = {}
        for row in self.books.rows.values():
            for number, items in row.items():
                account = self.books.accounts[number]
                key = (str(account.outcome), account.reason) if account.reason else str(account.outcome)
                found[key] = found.get(key, 0) + items
        return {key: items for key, items in found.items() if items}

    async def empty(self):
        async with asyncio.timeout(5):
            while self.line.requests or self.rows():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def queue(folder, **settings):
    storage = Storage()
    storage.open_storage(str(folder))
    made = Queue(folder, storage, **settings)
    made.books = made.books.books
    await made.sending.start()
    try:
        yield made
    finally:
        made.backend.gate.set()
        await made.sending.stop()
        await asyncio.sleep(0)
        assert made.sending._context.budget.used == 0
        storage.close_storage()


def run(test):
    asyncio.run(test(), debug=False)


def test_a_batch_is_taken_when_it_is_on_disk_and_forgotten_when_it_has_arrived(tmp_path):
    async def test():
        async with queue(tmp_path) as made:
            made.backend.gate.clear()
            await made.put("one", "two")
            assert len(made.rows()) == 1
            assert made.outcomes() == {"received": 2, "queued": 2}
            assert made.value("exporter_queue_size") == 1
            assert made.backend.taken == []
            made.backend.gate.set()
            await made.empty()
            assert made.backend.taken == ["one", "two"]
            assert made.outcomes() == {"received": 2, "delivered": 2}
            assert made.value("exporter_sent_log_records") == 2
            assert made.value("exporter_queue_size") == 0

    run(test)


def test_what_is_left_at_the_end_is_sent_by_the_next_process_in_order(tmp_path):
    async def first():
        async with queue(tmp_path, num_consumers=1) as made:
            made.backend.judge = lambda batch: (_ for _ in ()).throw(Busy("not now"))
            for number in range(50):
                await made.put(str(number))

    async def second():
        async with queue(tmp_path, num_consumers=1) as made:
            await made.empty()
            assert made.backend.taken == [str(number) for number in range(50)]

    run(first)
    run(second)


def test_many_consumers_send_at_the_same_time(tmp_path):
    async def test():
        async with queue(tmp_path, num_consumers=4) as made:
            made.backend.gate.clear()
            for number in range(20):
                await made.put(str(number))
            await asyncio.sleep(0.05)
            assert made.backend.now == 4
            made.backend.gate.set()
            await made.empty()
            assert sorted(made.backend.taken, key=int) == [str(number) for number in range(20)]

    run(test)


@pytest.mark.parametrize(
    ("settings", "fit"),
    [
        ({"queue_size": ByteSize(3)}, 3),
        ({"queue_size": ByteSize(10), "sizer": "items"}, 5),
        ({"queue_size": ByteSize(1), "sizer": "bytes"}, 1),  # one fits into an empty queue, whatever its size
    ],
)
def test_a_full_queue_takes_nothing_more_until_there_is_room(tmp_path, settings, fit):
    async def test():
        async with queue(tmp_path, **settings) as made:
            made.backend.gate.clear()
            for number in range(fit):
                await made.put(f"{number}a", f"{number}b")
            with pytest.raises(Busy, match="the sending queue is full"):
                await made.put("c", "d")
            assert made.value("exporter_enqueue_failed_log_records") == 2
            made.backend.gate.set()
            await made.empty()
            await made.put("c", "d")
            await made.empty()
            assert len(made.backend.taken) == 2 * fit + 2
            assert made.outcomes() == {"received": 2 * fit + 2, "delivered": 2 * fit + 2}

    run(test)


def test_senders_may_wait_for_room(tmp_path):
    async def test():
        async with queue(tmp_path, queue_size=ByteSize(2), block_on_overflow=True, num_consumers=1) as made:
            made.backend.gate.clear()
            puts = [asyncio.create_task(made.put(str(number))) for number in range(10)]
            await asyncio.sleep(0.05)
            assert sum(put.done() for put in puts) == 2
            puts[3].cancel()
            made.backend.gate.set()
            await asyncio.gather(*puts, return_exceptions=True)
            await made.empty()
            assert made.backend.taken == [str(number) for number in range(10) if number != 3]

    run(test)


def test_the_oldest_is_dropped_only_where_that_is_asked_for_and_is_counted(tmp_path):
    async def test():
        settings = {"queue_size": ByteSize(5), "overflow": "drop_oldest", "num_consumers": 1}
        async with queue(tmp_path, **settings) as made:
            made.backend.gate.clear()
            for number in range(20):
                await made.put(str(number))
            made.backend.gate.set()
            await made.empty()
            assert made.backend.taken == ["0", "16", "17", "18", "19"]  # 0 was under way
            assert made.outcomes() == {"received": 20, "delivered": 5, ("dropped", "queue_full"): 15}
            assert made.value("hawse_exporter_queue_dropped_items", reason="queue_full") == 15

    run(test)


def test_age_is_a_bound_like_size(tmp_path):
    async def full():
        async with queue(tmp_path / "block", max_age=Duration(0.1)) as made:
            made.backend.gate.clear()
            await made.put("old")
            await asyncio.sleep(0.15)
            with pytest.raises(Busy, match="max_age"):
                await made.put("new")
            made.backend.gate.set()
            await made.empty()
            await made.put("new")
            await made.empty()
            assert made.backend.taken == ["old", "new"]

    async def dropping():
        settings = {"max_age": Duration(0.1), "overflow": "drop_oldest", "num_consumers": 1}
        async with queue(tmp_path / "drop", **settings) as made:
            made.backend.gate.clear()
            for body in ("under way", "old", "old too"):
                await made.put(body)
            await asyncio.sleep(0.15)
            made.backend.gate.set()
            await made.empty()
            await made.put("new")
            await made.empty()
            assert made.backend.taken == ["under way", "new"]
            assert made.outcomes() == {"received": 4, "delivered": 2, ("dropped", "expired"): 2}

    run(full)
    run(dropping)


def test_a_clock_that_is_set_does_not_age_anything(tmp_path, monkeypatch):
    async def test():
        async with queue(tmp_path, max_age=Duration(60)) as made:
            made.backend.gate.clear()
            real = time.time
            await made.put("one")
            for step in (3600, -3600):
                monkeypatch.setattr(time, "time", lambda step=step: real() + step)
                await made.put(f"{step}")
                assert 0 <= made.line.age() < 5
            monkeypatch.undo()

    run(test)


def test_sources_keep_their_order_where_asked(tmp_path):
    async def test():
        async with queue(tmp_path, order_by_source=True, num_consumers=8) as made:
            made.backend.gate.clear()
            for number in range(30):
                await made.put(str(number), pod=f"pod-{number % 3}")
            await made.entry.consume(logs(group("pod-0", "30"), group("pod-1", "31")))
            await made.put("32", pod="pod-1")
            await made.put("34", pod="pod-2")
            await asyncio.sleep(0.05)
            assert made.backend.now == 3  # one for each source
            made.backend.gate.set()
            await made.empty()
            for pod in range(3):
                mine = [int(body) for body in made.backend.taken if int(body) % 3 == pod]
                assert mine == sorted(mine)
            assert len(made.backend.taken) == 34

    run(test)


def test_without_order_a_slow_batch_holds_up_nobody(tmp_path):
    async def test():
        async with queue(tmp_path, num_consumers=2) as made:
            slow = asyncio.Event()
            consume = made.backend.consume

            async def some_slow(batch):
                if texts(batch) == ["slow"]:
                    await slow.wait()
                await consume(batch)

            made.backend.consume = some_slow
            await made.put("slow")
            for number in range(10):
                await made.put(str(number))
            while len(made.backend.taken) < 10:
                await asyncio.sleep(0.01)
            slow.set()
            await made.empty()
            assert made.backend.taken[-1] == "slow"

    run(test)


def test_a_thousand_batches_and_more_pass_the_window(tmp_path):
    async def test():
        async with queue(tmp_path, queue_size=ByteSize(5000), num_consumers=1) as made:
            made.backend.gate.clear()
            await asyncio.gather(*(made.put(str(number)) for number in range(2500)))
            assert len(made.rows()) == 2500
            made.backend.gate.set()
            await made.empty()
            assert made.backend.taken == [str(number) for number in range(2500)]

    run(test)


def test_waiting_batches_share_a_transaction(tmp_path):
    async def test():
        async with queue(tmp_path) as made:
            made.backend.gate.clear()
            count = 0

            def hook(_):
                nonlocal count
                count += 1

            made.storage.attach(hook)
            await asyncio.gather(*(made.put(str(number)) for number in range(200)))
            assert count == 1

    run(test)


def test_batches_that_come_turn_by_turn_share_it_too_and_one_alone_does_not_wait_for_more(tmp_path):
    async def test():
        async with queue(tmp_path) as made:
            made.backend.gate.clear()
            count = 0

            def hook(_):
                nonlocal count
                count += 1

            made.storage.attach(hook)
            tasks = []
            for number in range(8):
                tasks.append(asyncio.create_task(made.put(str(number))))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            await asyncio.gather(*tasks)
            assert count <= 2  # one, unless the machine is slow
            turns = 0
            alone = asyncio.create_task(made.put("alone"))
            while not alone.done():
                turns += 1
                await asyncio.sleep(0)
            assert turns < 15

    run(test)


def test_little_memory_is_needed_however_much_waits(tmp_path):
    async def test():
        async with queue(tmp_path, queue_size=ByteSize(1000)) as made:
            budget = made.sending._context.budget
            budget.limit = 2 << 20
            made.line._most_payloads = budget.limit // 8
            made.backend.gate.clear()
            for _ in range(100):
                await made.put(os.urandom(150_000).hex())
            assert made.line.bytes > 14 << 20
            assert budget.used < 1 << 20
            made.backend.gate.set()
            await made.empty()
            assert len(made.backend.taken) == 100

    run(test)


def test_a_sender_that_hangs_up_leaves_its_batch_to_be_sent(tmp_path):
    async def test():
        async with queue(tmp_path) as made:
            put = asyncio.create_task(made.put("one"))
            while not made.line.requests:
                await asyncio.sleep(0)
            made.sending._queue._commits.flush()
            put.cancel()
            with suppress(asyncio.CancelledError):
                await put
            await made.empty()
            assert made.backend.taken == ["one"]
            commits = made.sending._queue._commits
            schedule, commits._schedule = commits._schedule, lambda wait: None
            put = asyncio.create_task(made.put("two"))
            while not made.line.requests:
                await asyncio.sleep(0)
            commits._schedule = schedule
            put.cancel()  # before it is on disk
            with suppress(asyncio.CancelledError):
                await put
            await made.put("three")
            await made.empty()
            assert made.backend.taken == ["one", "three"]

    run(test)


def test_answers_may_wait_for_the_destination(tmp_path):
    async def test():
        async with queue(tmp_path, wait_for_result=True) as made:
            made.backend.gate.clear()
            put = asyncio.create_task(made.put("one"))
            await asyncio.sleep(0.05)
            assert len(made.rows()) == 1
            assert not put.done()
            made.backend.gate.set()
            await put
            assert made.backend.taken == ["one"]

    run(test)


def test_busy_is_tried_without_end_whatever_the_exporters_retries(tmp_path):
    async def test():
        async with queue(tmp_path) as made:
            answers = [Busy("not now")] * 20

            def judge(_):
                if answers:
                    raise answers.pop()

            made.backend.judge = judge
            await made.put("one")
            await made.empty()
            assert made.backend.taken == ["one"]
            assert len(made.backend.attempts) == 21

    run(test)


# --- what is never taken


def letters(folder):
    path = folder / "dead-letter-backend.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def bodies(letter):
    return [
        record["body"]["stringValue"]
        for resource in letter["data"]["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]


def test_refused_groups_are_found_and_kept_with_the_reason_and_the_rest_arrives(tmp_path):
    def judge(batch):
        if any("bad" in text for text in texts(batch)):
            raise Refused("it said: no", "http_400")

    async def test():
        async with queue(tmp_path) as made:
            made.backend.judge = judge
            groups = [group(f"pod-{number}", f"good {number}") for number in range(20)]
            groups[7] = group("pod-7", "bad 7", "good with it")
            groups[13] = group("pod-13", "bad 13")
            await made.entry.consume(logs(*groups))
            await made.empty()
            assert sorted(made.backend.taken) == sorted(f"good {n}" for n in range(20) if n not in {7, 13})
            found = letters(tmp_path)
            assert sorted(map(bodies, found)) == [["bad 13"], ["bad 7", "good with it"]]
            assert {letter["reason"] for letter in found} == {"it said: no"}
            assert found[0]["exporter"] == "backend"
            assert found[0]["signal"] == "logs"
            assert made.outcomes() == {"received": 21, "delivered": 18, ("refused", "http_400"): 3}
            assert made.value("exporter_sent_log_records") == 18
            assert made.value("exporter_send_failed_log_records") == 3

    run(test)


def test_a_destination_that_refuses_everything_is_not_searched_for_ever(tmp_path):
    def judge(batch):
        raise Refused("never", "http_400")

    async def test():
        async with queue(tmp_path) as made:
            made.backend.judge = judge
            for start in range(0, 2000, 200):
                await made.entry.consume(logs(*(group(f"pod-{n}", str(n)) for n in range(start, start + 200))))
            await made.empty()
            assert len(made.backend.attempts) < 400  # not 4,000
            assert sorted((body for letter in letters(tmp_path) for body in bodies(letter)), key=int) == [
                str(number) for number in range(2000)
            ]
            assert made.outcomes() == {"received": 2000, ("refused", "http_400"): 2000}

    run(test)


def test_too_large_is_split_down_to_single_records(tmp_path):
    def judge(batch):
        if batch.items > 3 or any(len(text) > 100 for text in texts(batch)):
            raise TooLarge("too large", "http_413")

    async def test():
        async with queue(tmp_path) as made:
            made.backend.judge = judge
            await made.entry.consume(logs(group("a", *map(str, range(40))), group("b", "x", "y" * 200, "z")))
            await made.empty()
            assert sorted(made.backend.taken) == sorted([*map(str, range(40)), "x", "z"])
            assert [bodies(letter) for letter in letters(tmp_path)] == [["y" * 200]]
            assert made.outcomes() == {"received": 43, "delivered": 42, ("refused", "http_413"): 1}

    run(test)


def test_an_exporters_bug_costs_what_it_stumbles_over_only(tmp_path):
    def judge(batch):
        if "bad" in texts(batch):
            raise ZeroDivisionError("oops")

    async def test():
        async with queue(tmp_path) as made:
            made.backend.judge = judge
            await made.entry.consume(logs(group("a", "good"), group("b", "bad")))
            await made.empty()
            assert made.backend.taken == ["good"]
            (letter,) = letters(tmp_path)
            assert bodies(letter) == ["bad"]
            assert "ZeroDivisionError: oops" in letter["reason"]

    run(test)


def test_dead_letters_are_bounded(tmp_path):
    async def test():
        async with queue(tmp_path, dead_letters=DeadLetters(max_size=ByteSize(20_000))) as made:
            made.backend.judge = lambda batch: (_ for _ in ()).throw(Refused("never"))
            for number in range(200):
                await made.put(f"{number} " + "x" * 300)
            await made.put("y" * 30_000)
            await made.empty()
            files = sorted(path for path in tmp_path.iterdir() if "dead-letter" in path.name)
            assert [path.name for path in files] == ["dead-letter-backend.jsonl", "dead-letter-backend.jsonl.1"]
            assert 10_000 < sum(path.stat().st_size for path in files) <= 20_000
            last = letters(tmp_path)[-1]
            assert last["data"] is None
            assert last["reason"] == "never"
            assert made.outcomes() == {"received": 201, ("refused", "refused"): 201}

    run(test)


def test_dead_letters_may_be_off(tmp_path):
    async def test():
        async with queue(tmp_path, dead_letters=DeadLetters(max_size=ByteSize(0))) as made:
            made.backend.judge = lambda batch: (_ for _ in ()).throw(Refused("never"))
            await made.put("x")
            await made.empty()
            assert made.outcomes() == {"received": 1, ("refused", "refused"): 1}

    run(test)
    assert not list(tmp_path.glob("dead-letter*"))


# --- disks


def test_a_full_disk_is_busy_and_says_what_to_do_and_recovers(tmp_path, monkeypatch):
    async def test():
        async with queue(tmp_path) as made:
            full = True

            def hook(_):
                if full:
                    raise sqlite3.OperationalError("database or disk is full")

            await made.put("before")
            await made.empty()
            made.backend.gate.clear()
            await made.put("under way")
            made.storage.attach(hook)
            with pytest.raises(Busy, match="disk is full; free space there"):
                await made.put("lost?")
            made.backend.gate.set()
            while made.backend.taken != ["before", "under way"]:
                await asyncio.sleep(0.01)
            assert len(made.rows()) == 1  # its deletion waits for room on the disk
            assert made.line.requests == 0
            full = False
            await made.put("lost?")
            await made.empty()
            assert made.backend.taken == ["before", "under way", "lost?"]
            assert made.outcomes() == {"received": 3, "delivered": 3}

    run(test)


def test_the_last_space_on_a_disk_is_left_for_deletions(tmp_path, monkeypatch):
    async def test():
        async with queue(tmp_path) as made:
            monkeypatch.setattr("hawse.pipeline.commits._RESERVE", 1 << 60)
            with pytest.raises(Busy, match=r"KiB left; free space there"):
                await made.put("one")
            assert made.rows() == []
            monkeypatch.undo()
            await made.put("one")
            await made.empty()
            assert made.backend.taken == ["one"]

    run(test)


def leave(folder, count):
    """A queue in a folder with so many batches in it, and nobody to send them."""

    async def test():
        async with queue(folder) as made:
            made.backend.judge = lambda batch: (_ for _ in ()).throw(Busy("not now"))
            for number in range(count):
                await made.put(str(number))

    run(test)


def test_a_damaged_payload_is_dropped_and_the_others_are_sent(tmp_path, caplog):
    leave(tmp_path, 5)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        position = connection.execute('SELECT position FROM "queue:backend" WHERE id = 3').fetchone()[0]
    connection.close()
    (file,) = (tmp_path / "queue-backend").iterdir()
    with file.open("r+b") as data:
        data.seek(position + 3)
        data.write(b"????")

    async def second():
        async with queue(tmp_path, num_consumers=1) as made:
            await made.empty()
            assert made.backend.taken == ["0", "1", "3", "4"]
            assert made.value("hawse_exporter_queue_dropped_items", reason="damaged") == 1

    run(second)
    assert f"1 items are lost: {file} is damaged" in caplog.text


@pytest.mark.parametrize("damage", ["header", "middle", "gone"])
def test_a_damaged_state_file_costs_no_batch(tmp_path, caplog, damage):
    leave(tmp_path, 300)
    file = tmp_path / "state.db"
    if damage == "gone":
        file.write_bytes(b"")
    else:
        with file.open("r+b") as data:
            data.seek(0 if damage == "header" else file.stat().st_size // 2)
            data.write(b"\xa5" * 8192)

    async def second():
        async with queue(tmp_path, num_consumers=1) as made:
            await made.empty()
            assert sorted(set(made.backend.taken), key=int) == [str(number) for number in range(300)]
            await made.put("new")
            await made.empty()
            assert made.backend.taken[-1] == "new"

    run(second)
    if damage != "gone":
        assert "is damaged" in caplog.text
        assert "set aside as" in caplog.text
        assert len(list(tmp_path.glob("state.db.corrupt-*"))) >= 1


def test_a_state_file_damaged_while_it_is_in_use_is_replaced(tmp_path, caplog):
    async def test():
        async with queue(tmp_path, num_consumers=2) as made:
            made.backend.gate.clear()
            for number in range(20):
                await made.put(str(number))
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            made.storage.recover(error)
            await asyncio.sleep(0.05)
            await made.put("20")
            assert len(made.rows()) == 21
            made.backend.gate.set()
            await made.empty()
            assert sorted(made.backend.taken, key=int) == [str(number) for number in range(21)]
            assert made.value("exporter_queue_size") == 0

    run(test)
    assert "set aside as" in caplog.text


def test_disk_space_is_used_again_and_given_back(tmp_path):
    async def test():
        async with queue(tmp_path, queue_size=ByteSize(1000)) as made:
            for _ in range(4):
                made.backend.gate.clear()
                for _ in range(100):
                    await made.put(os.urandom(150_000).hex())  # zstd makes 150 kB of it
                made.backend.gate.set()
                await made.empty()
            assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 24 << 20

    run(test)
    assert list((tmp_path / "queue-backend").iterdir()) == []


def test_a_stop_does_not_wait_for_a_destination_that_is_away(tmp_path):
    async def test():
        loop = asyncio.get_running_loop()
        async with queue(tmp_path, queue_size=ByteSize(2), block_on_overflow=True) as made:
            made.backend.judge = lambda batch: (_ for _ in ()).throw(Busy("away", 3600))
            await made.put("one")
            await made.put("two")
            waiting = asyncio.create_task(made.put("three"))
            await asyncio.sleep(0.05)
            began = loop.time()
        assert loop.time() - began < 1
        with pytest.raises(Busy, match="stops"):
            await waiting

    run(test)


def test_a_context_outside_of_any_passage_is_no_obstacle(tmp_path):
    async def test():
        async with queue(tmp_path) as made:
            with suppress(Busy):
                await asyncio.create_task(made.put("one"), context=outside())
            await made.empty()
            assert made.backend.taken == ["one"]

    run(test)
