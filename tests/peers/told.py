"""What clients are told to send, and what of it must be there in OTLP.

A story is JSON, so that programs in any language can read it: a service, and spans that name their parents and links by
their number in the list or, where those are elsewhere, by their IDs. A program prints the IDs that its client gave them.
Times are nanoseconds, all multiples of 1/64 s: exact in seconds as a float, in milliseconds and in microseconds.
"""

import secrets

_TICK = 15_625_000  # nanoseconds
_START = 1_764_000_000 * 64  # ticks

KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
STATUS = {"ok": 1, "error": 2}


def story(finer=0, crowd=0):
    """One story; its IDs from elsewhere are new each time.

    `finer`: nanoseconds to add to all times; `crowd`: how many spans more, more than fit into a message.
    """

    def at(tick):
        return (_START + tick) * _TICK + finer

    elsewhere = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)}
    linked = {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)}
    return {
        "service": "shop-é",
        "resource": {"deployment.environment": "test", "shop.number": 4711, "shop.open": True},
        "scope": ["cart", "1.2"],
        "spans": [
            {
                "name": "GET /cart/{id} \N{SHOPPING TROLLEY}",
                "kind": "server",
                "start": at(0),
                "end": at(320),
                "attributes": {
                    "http.route": "/cart/{id}",
                    "shop.note": "Grüße, 你好",
                    "shop.empty": "",
                    "shop.items": 3,
                    "shop.balance": -(2**53) + 1,  # JavaScript has no more
                    "shop.total": 12.625,
                    "shop.first": False,
                    "shop.paid": True,
                },
                "events": [
                    {"name": "cache miss", "time": at(1), "attributes": {"key": "cart-17", "size": 17, "cold": True}},
                    {"name": "retry", "time": at(64), "attributes": {"after": 0.5}},
                ],
            },
            {
                "name": "charge",
                "kind": "client",
                "parent": 0,
                "start": at(2),
                "end": at(300),
                "attributes": {"peer.service": "bank"},
                "links": [{**linked, "trace_state": "vendor=c3", "attributes": {"why": "batch", "number": 2}}],
                "status": ["error", "card refused"],
            },
            {"name": "", "kind": "internal", "parent": 1, "start": at(3), "end": at(3), "status": ["ok", ""]},
            {
                "name": "announce",
                "kind": "producer",
                "parent": {**elsewhere, "trace_state": "vendor=a1,other=b2"},
                "start": at(4),
                "end": at(5),
            },
            {"name": "hear", "kind": "consumer", "start": at(6), "end": at(7), "links": [{"of": 3}]},
            *(_one_of_many(number, at(8)) for number in range(crowd)),
        ],
    }


def _one_of_many(number, time):
    return {
        "name": f"step {number}",
        "kind": "client",
        "parent": 0,
        "start": time,
        "end": time,
        "attributes": {"number": number, "text": secrets.token_hex(500)},
    }


def in_otlp(told, ids):
    """What is in OTLP of a story, as `arrived.spans` gives it, where nothing is lost on the way. `ids`: a pair a span."""
    return [_span(told, number, ids) for number in range(len(told["spans"]))]


def differences(came, expected):
    """What is not as expected, as short lines; none where the two lists of spans are equal."""
    found = [] if len(came) == len(expected) else [f"{len(came)} spans, not {len(expected)}"]
    for number, (one, other) in enumerate(zip(came, expected, strict=False)):
        for key in {**one, **other}:
            here, there = one.get(key), other.get(key)
            if isinstance(here, dict) and isinstance(there, dict):
                names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
                found += [f"{number}: {key}: {name}: {here.get(name)!r}, not {there.get(name)!r}" for name in names]
            elif here != there:
                found.append(f"{number}: {key}: {here!r}, not {there!r}")
    return found


def _span(told, number, ids):
    span = told["spans"][number]
    parent = span.get("parent")
    from_elsewhere = parent if isinstance(parent, dict) else {}
    if isinstance(parent, int):
        parent = {"trace_id": ids[parent][0], "span_id": ids[parent][1]}
    if parent is not None:
        assert ids[number][0] == parent["trace_id"]
    code, message = span.get("status") or (None, "")
    return {
        "trace_id": ids[number][0],
        "span_id": ids[number][1],
        "parent": parent["span_id"] if parent else "",
        "trace_state": from_elsewhere.get("trace_state", ""),
        "name": span["name"],
        "kind": KINDS[span["kind"]],
        "start": span["start"],
        "end": span["end"],
        "attributes": typed(span.get("attributes", {})),
        "events": [
            {"time": event["time"], "name": event["name"], "attributes": typed(event["attributes"])}
            for event in span.get("events", [])
        ],
        "links": [_link(told, link, ids) for link in span.get("links", [])],
        "status": (STATUS.get(code, 0), message),
        "resource": typed({"service.name": told["service"], **told["resource"]}),
        "scope": tuple(told["scope"]),
    }


def _link(told, link, ids):
    linked = told["spans"][link["of"]].get("parent") if "of" in link else link
    state = linked.get("trace_state", "") if isinstance(linked, dict) else ""  # children have their parent's
    trace_id, span_id = ids[link["of"]] if "of" in link else (link["trace_id"], link["span_id"])
    return {
        "trace_id": trace_id,
        "span_id": span_id,
        "trace_state": state,
        "attributes": typed(link.get("attributes", {})),
    }


def typed(attributes):
    """So that 1, 1.0 and True are different: values as pairs of a type's name and the value."""
    return {key: _typed(value) for key, value in attributes.items()}


def _typed(value):
    if isinstance(value, list | tuple):
        return ("array", tuple(_typed(one) for one in value))
    return (type(value).__name__, value)


def numbers_are_floats(attributes):
    """Some clients in JavaScript have no integers."""
    return {
        key: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in attributes.items()
    }
