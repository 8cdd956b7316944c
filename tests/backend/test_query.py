import json
import random
import re
from collections import Counter

import pytest

from hawse.backend.answers import Question, answer
from hawse.backend.columns import Extra, Lot
from hawse.backend.reader import Reader
from hawse.backend.store import ItemGroup, Limits, Store
from hawse.batch import Signal

SECOND = 10**9
T0 = 1_700_000_000 * SECOND


class Ask:
    def __init__(self, path):
        self.reader = Reader(str(path))

    def __call__(self, name, query=None, status=200, **more):
        asked = {**(query or {}), **more}
        found = answer(
            self.reader, Question(name, {k: v if isinstance(v, list) else [str(v)] for k, v in asked.items()}, 20.0)
        )
        assert found.status == status, found.body
        return json.loads(found.body)


@pytest.fixture
def made(tmp_path):
    """A store with random records in many chunks, and what is in it."""
    dice = random.Random(5)
    store = Store(tmp_path / "s.db", Limits())
    truth = []
    for _ in range(60):
        lots = []
        for _ in range(dice.randrange(1, 6)):
            resource = {"k8s.pod.name": f"pod-{dice.randrange(12)}", "log.iostream": dice.choice(["stdout", "stderr"])}
            if dice.random() < 0.3:
                resource["zone"] = dice.choice("ab")
            found = []
            for _ in range(dice.randrange(1, 40)):
                body = dice.choice(["GET /a", "GET /b", "error: é\n\0", '{"level":"warn","n":{"m":3}}', ""])
                body += str(dice.randrange(50)) if not body.startswith("{") else ""
                extra = Extra(attributes={"zone": "c", "n": dice.randrange(3)}) if dice.random() < 0.3 else None
                found.append((T0 + dice.randrange(1000) * SECOND, body, extra))
            lots.append(
                Lot(
                    resource,
                    [t for t, *_ in found],
                    [0] * len(found),
                    [b.encode() for _, b, _ in found],
                    [e for *_, e in found],
                )
            )
            for when, body, extra in found:
                fields = {**(extra.attributes if extra else {}), **resource}
                truth.append((when, len(truth) + 1, body, {k: str(v) for k, v in fields.items()}))
        store.append(lots, [], T0)
    store.close()
    ask = Ask(tmp_path / "s.db")
    yield ask, truth
    ask.reader.close()


CASES = [
    {},
    {"k8s.pod.name": "pod-1"},
    {"k8s.pod.name": "pod-1.*", "log.iostream": "stderr"},
    {"k8s.pod.name!": "pod-[0-5]"},
    {"zone": ""},
    {"zone!": ""},
    {"zone": "[ac]"},
    {"n": "1"},
    {"body": "GET"},
    {"body": "GET /a7"},
    {"body": r"\D4$"},
    {"body": "é\n\0"},
    {"body!": "GET", "zone": "b"},
    {"body": ""},
    {"nowhere": ".*"},
]


def wanted(truth, case, start=0, end=2**63):
    def holds(body, fields):
        for name, regex in case.items():
            value = body if name.startswith("body") else fields.get(name.removesuffix("!"))
            hit = value is not None and bool(
                not regex or (re.search(regex, value) if name.startswith("body") else re.fullmatch(regex, value))
            )
            if hit is name.endswith("!"):
                return False
        return True

    return [row for row in truth if start <= row[0] < end and holds(row[2], row[3])]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_counts_equal_what_is_there(made, case):
    ask, truth = made
    assert ask("count", case)["count"] == len(wanted(truth, case))
    start, end = T0 + 200 * SECOND, T0 + 613 * SECOND
    between = wanted(truth, case, start, end)
    assert ask("count", case, from_ts=start // 10**6, to_ts=end // 10**6)["count"] == len(between)
    by = ask("count", {**case, "by": "k8s.pod.name,zone"})
    counted = Counter((row[3]["k8s.pod.name"], row[3].get("zone")) for row in wanted(truth, case))
    assert {tuple(g["values"].values()): g["count"] for g in by["groups"]} == counted


@pytest.mark.parametrize("case", CASES[:-1], ids=repr)
def test_pages_of_a_search_are_all_of_it_newest_first(made, case):
    ask, truth = made
    found, cursor = [], ""
    while cursor is not None:
        page = ask("search", case, limit=97, **({"cursor": cursor} if cursor else {}))
        found += [(int(r["time_unix_nano"]), r["id"], r["body"]) for r in page["records"]]
        cursor = page["next"]
    assert found == sorted((row[:3] for row in wanted(truth, case)), reverse=True)


def test_rates_add_up_and_are_in_their_buckets(made):
    ask, truth = made
    found = ask("rates", {"by": "log.iostream", "step": "10s", "body": "GET"})
    start, step = int(found["from_unix_nano"]), int(found["step_seconds"] * SECOND)
    counted = Counter()
    for series in found["series"]:
        for at, items in enumerate(series["counts"]):
            counted[series["values"]["log.iostream"], start + at * step] += items
    expected = Counter((row[3]["log.iostream"], row[0] - row[0] % step) for row in wanted(truth, {"body": "GET"}))
    assert +counted == expected
    arrived = ask("rates", {"by": "", "clock": "received"})
    assert [series["count"] for series in arrived["series"]] == [len(truth)]


def test_the_source_is_a_field(made):
    ask, truth = made
    expected = sum(row[3]["k8s.pod.name"] == "pod-3" for row in truth)
    assert ask("count", {"source": "pod-3"})["count"] == expected > 0
    assert ask("count", {"source!": "pod-3"})["count"] == len(truth) - expected
    by = {group["values"]["source"]: group["count"] for group in ask("count", by="source")["groups"]}
    assert by["pod-3"] == expected


def test_dump_tail_and_record_agree(made):
    ask, truth = made
    records, after = [], 0
    while after >= 0:
        found = answer(ask.reader, Question("dump", {"after": [str(after)]}, 20.0))
        records += map(json.loads, found.body.splitlines())
        after = found.next
    assert [(int(r["time_unix_nano"]), r["id"], r["body"]) for r in records] == [row[:3] for row in truth]
    assert ask("record", id=17) == records[16]
    assert ask("tail", limit=5)["records"] == records[-5:][::-1]
    later = ask("tail", after=records[-4]["id"])
    assert (later["records"], later["skipped"], later["last"]) == (records[-3:][::-1], False, len(truth))
    assert ask("tail", after=1, limit=3)["skipped"]
    assert "no record 999999" in ask("record", id=999999, status=404)["error"]


def test_values_and_fields(made):
    ask, truth = made
    found = ask("values", field="zone")
    counted = Counter(row[3].get("zone") for row in truth)
    assert found["without"] == counted.pop(None)
    assert {v["value"]: v["count"] for v in found["values"]} == counted
    names = {f["name"]: f["records"] for f in ask("fields")["fields"]}
    assert names["k8s.pod.name"] == len(truth)
    assert "n" in names


def test_keys_of_a_json_body_are_fields(made):
    ask, truth = made
    warned = [row for row in truth if row[2].startswith("{")]
    for query in ({"level": "warn"}, {"body.level": "w.*"}, {"body.n.m": "3"}):
        assert ask("count", query)["count"] == len(warned) > 0
    assert ask("count", {"attributes.level": "warn"})["count"] == 0
    assert ask("count", {"resource.attributes.zone": "c"})["count"] == 0
    assert ask("count", {"attributes.zone": "c"})["count"] == sum("n" in row[3] for row in truth)


@pytest.mark.parametrize(
    ("name", "query", "said"),
    [
        ("count", {"body": "("}, "body: '(' is no regular expression: missing )"),
        ("search", {"k8s.pod.name": "[z-a]"}, "k8s.pod.name: '[z-a]' is no regular expression: bad character range"),
        ("search", {"limit": "0"}, "limit: '0' is no number from 1 to 5000"),
        ("search", {"limit": "²"}, "limit: '²' is no number"),
        ("search", {"cursor": "x"}, "cursor: 'x' is none"),
        ("count", {"from": "yesterday"}, "from: 'yesterday' is no time; write RFC 3339"),
        ("count", {"from": "-5 parsecs"}, "from: '5 parsecs' is no duration"),
        ("count", {"from": "2026-02-30T00:00:00Z"}, "from: '2026-02-30T00:00:00Z': day"),
        ("count", {"to_ts": "-1"}, "to_ts: '-1' is no time"),
        ("rates", {"step": "1ns"}, "step: 1ns gives more than"),
        ("rates", {"clock": "sundial"}, "clock: 'sundial' is none"),
        ("values", {}, "field: say which one"),
        ("record", {"id": "one"}, "id: 'one' is no number"),
    ],
)
def test_mistakes_are_told(made, name, query, said):
    ask, _ = made
    assert said in ask(name, query, status=400)["error"]


def test_times_may_be_written_in_several_ways(tmp_path):
    store = Store(tmp_path / "s.db", Limits())
    when = 1_769_853_600_123_456_789  # 2026-01-31T10:00:00.123456789Z
    store.append([Lot({}, [when], [0], [b"x"])], [], when)
    store.close()
    ask = Ask(tmp_path / "s.db")
    try:
        for start, there in [
            ("2026-01-31T10:00:00.123456789Z", 1),
            ("2026-01-31T10:00:00.12345679Z", 0),
            ("2026-01-31T12:00:00+02:00", 1),
            (str(when), 1),
            (str(when + 1), 0),
        ]:
            assert ask("count", {"from": start})["count"] == there
            assert ask("count", {"to": start})["count"] == (
                0 if start in {str(when), "2026-01-31T12:00:00+02:00"} or there else 1
            )
        assert ask("count", {"from_ts": "0", "to_ts": str(2**64 - 1)})["count"] == 1
        assert ask("search")["records"][0]["time"] == "2026-01-31T10:00:00.123456789Z"
    finally:
        ask.reader.close()


def test_a_body_can_be_cut_and_is_whole_otherwise(tmp_path):
    store = Store(tmp_path / "s.db", Limits())
    store.append([Lot({}, [1, 2], [0, 0], ["é".encode() * 10, b"\xff\x00ab"])], [], 1)
    store.close()
    ask = Ask(tmp_path / "s.db")
    try:
        two, one = ask("search", body_limit=3)["records"]
        assert (one["body"], one["body_bytes"]) == ("é", 20)
        assert two["body_bytes"] == 4
        two, one = ask("search")["records"]
        assert one["body"] == "é" * 10
        assert "body_base64" not in one
        assert (two["body"], two["body_base64"]) == ("\ufffd\0ab", "/wBhYg==")
    finally:
        ask.reader.close()


def test_groups_of_other_signals(tmp_path):
    store = Store(tmp_path / "s.db", Limits())
    for n in range(3):
        store.append(
            [],
            [ItemGroup(Signal.METRICS if n % 2 else Signal.TRACES, {"service.name": f"s{n}"}, n + 1, b"raw", "text/x")],
            5 + n,
        )
    store.close()
    ask = Ask(tmp_path / "s.db")
    try:
        page = ask("groups", limit=2)
        assert [(g["signal"], g["source"], g["items"]) for g in page["groups"]] == [
            ("traces", "s2", 3),
            ("metrics", "s1", 2),
        ]
        assert [g["source"] for g in ask("groups", limit=2, cursor=page["next"])["groups"]] == ["s0"]
        assert [g["source"] for g in ask("groups", signal="metrics")["groups"]] == ["s1"]
    finally:
        ask.reader.close()
