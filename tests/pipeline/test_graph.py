"""Configuration → graph, and what can be wrong with it."""

from hawse.batch import Signal
from hawse.component import Connects, Listens
from hawse.pipeline import render
from hawse.pipeline.needs import API_SERVER, DNS, needs

GOOD = """
receivers: {feed: , feed/b: }
processors: {pass: , pass/2: }
connectors: {joint: }
exporters: {sink: {storage: box}, sink/b: }
extensions: {box: }
service:
  extensions: [box]
  pipelines:
    logs: {receivers: [feed, feed/b], processors: [pass, pass/2], exporters: [sink, joint]}
    logs/b: {receivers: [joint], processors: [pass], exporters: [sink/b, sink]}
    traces: {receivers: [feed], exporters: [sink]}
"""


def simple(receivers="feed: ", exporters="sink: ", pipelines="logs: {receivers: [feed], exporters: [sink]}", more=""):
    return f"receivers: {{{receivers}}}\nexporters: {{{exporters}}}\nservice: {{pipelines: {{{pipelines}}}{more}}}\n"


def test_instances_are_shared_as_the_contract_says(tiny):
    graph = tiny.graph(GOOD)
    keys = [node.key for node in graph.nodes]
    assert sorted(keys) == sorted(
        [
            "extension:box",
            "receiver:feed",
            "receiver:feed/b",
            "connector:joint",
            "exporter:sink",
            "exporter:sink/b",
            "processor:logs/pass",
            "processor:logs/pass/2",
            "processor:logs/b/pass",
        ]  # fmt: skip
    )
    assert keys[0] == "extension:box"
    assert {keys[-1], keys[-2]} == {"receiver:feed", "receiver:feed/b"}
    for edge in graph.edges:
        assert keys.index(edge.target) < keys.index(edge.source), edge
    assert set(graph.outputs("receiver:feed")) == {Signal.LOGS, Signal.TRACES}
    assert graph.node("exporter:sink").pipelines == ("logs", "logs/b", "traces")
    levels = [{node.key for node in level} for level in graph.levels()]
    assert levels[0] == {"extension:box"}
    assert levels[1] == {"exporter:sink", "exporter:sink/b"}
    assert levels[-1] == {"receiver:feed", "receiver:feed/b"}


def test_references_that_lead_nowhere(tiny):
    text = simple(pipelines="logs: {receivers: [fed], processors: [sink], exporters: [sink/x]}")
    assert tiny.findings(text) == [
        'warning [HW121] 1:13 receivers.feed: the receiver "feed" is defined, but not used in any pipeline',
        'warning [HW121] 2:13 exporters.sink: the exporter "sink" is defined, but not used in any pipeline',
        'error [HW120] 3:42 service.pipelines.logs.receivers[0]: "fed" is not defined under receivers; did you mean "feed"?',
        'error [HW120] 3:61 service.pipelines.logs.processors[0]: "sink" is not defined under processors; '
        "it is defined as an exporter",
        'error [HW120] 3:80 service.pipelines.logs.exporters[0]: "sink/x" is not defined under exporters; '
        'did you mean "sink"?',
    ]


def test_a_broken_service_section_does_not_hide_its_references(tiny):
    codes = [
        line.split("[")[1][:5]
        for line in tiny.findings(simple(pipelines="logs: {receivers: [fed], exporters: [sink]}", more=", drain: 1"))
    ]
    assert codes == ["HW121", "HW120", "HW104"]


def test_a_broken_component_is_told_once(tiny):
    assert len(tiny.findings(simple(receivers="feed: {port: x}"))) == 1
    assert len(tiny.findings(simple(receivers="feed: {port: 13}"))) == 1
    findings = tiny.findings(simple(receivers="fed: ", pipelines="logs: {receivers: [fed], exporters: [sink]}"))
    assert findings == ['error [HW108] 1:13 receivers.fed: there is no receiver "fed"; did you mean "feed"?']
    (finding,) = tiny.findings(simple(receivers="feed: , pass: "))[:1]
    assert finding.endswith('there is no receiver "pass"; "pass" belongs into the section processors')


def test_signals(tiny):
    text = simple(receivers="logfeed: ", pipelines="metrics: {receivers: [logfeed], exporters: [sink]}")
    assert tiny.findings(text)[0].endswith('"logfeed" does not take metrics; it takes logs')
    assert 'did you mean "logs"?' in tiny.findings(simple(pipelines="log: {receivers: [feed], exporters: [sink]}"))[0]


def test_pipelines_that_are_empty_or_missing(tiny):
    assert "HW105" in tiny.findings(simple(pipelines=""))[-1]
    assert any(
        "receivers: must have at least 1" in line
        for line in tiny.findings(simple(pipelines="logs: {receivers: [], exporters: [sink]}"))
    )
    assert any(
        '"receivers" is missing' in line for line in tiny.findings(simple(pipelines="logs: {exporters: [sink]}"))
    )
    assert tiny.findings("receivers: {feed: }\n") == [
        'error [HW106] 1:1: the section "service" is missing; service.pipelines says what runs',
        'warning [HW121] 1:13 receivers.feed: the receiver "feed" is defined, but not used in any pipeline',
    ]


def test_what_is_listed_twice(tiny):
    text = simple(pipelines="logs: {receivers: [feed, feed], exporters: [sink]}")
    assert 'HW127] 3:48 service.pipelines.logs.receivers[1]: "feed" is listed twice' in tiny.findings(text)[0]


def test_extensions(tiny):
    base = "extensions: {box: }\n" + simple(exporters="sink: {storage: %s}")
    assert tiny.findings(base % "box") == [
        'warning [HW121] 1:14 extensions.box: the extension "box" is defined, but not used in service.extensions',
        'error [HW126] 3:29 exporters.sink.storage: the extension "box" is defined, but the service does not run it; '
        'add "box" to service.extensions',
    ]
    assert tiny.findings(base % "bx")[1].endswith('there is no extension "bx"; did you mean "box"?')
    text = "extensions: {box: }\n" + simple(more=", extensions: [bax, box, box]")
    assert [line.partition(": ")[2] for line in tiny.findings(text)] == [
        '"bax" is not defined under extensions; did you mean "box"?',
        '"box" is listed twice in service.extensions; remove one of them',
    ]


def test_connectors(tiny):
    joint = "connectors: {joint: , count: }\n"
    half = joint + simple(pipelines="logs: {receivers: [feed], exporters: [joint, sink]}")
    assert any('the connector "joint" is used under exporters only' in line for line in tiny.findings(half))
    odd = joint + simple(
        pipelines="logs: {receivers: [feed], exporters: [joint]}, traces: {receivers: [joint], exporters: [sink]}"
    )
    lines = [line for line in tiny.findings(odd) if "HW123" in line]
    assert len(lines) == 2
    assert 'makes nothing of "logs" that "traces" can take; it makes logs of logs' in lines[0]
    good = joint + simple(
        pipelines="logs: {receivers: [feed], exporters: [count]}, metrics: {receivers: [count], exporters: [sink]}"
    )
    assert [line for line in tiny.findings(good) if "error" in line] == []
    both = "connectors: {sink: }\n" + simple()
    assert any("HW108" in line for line in tiny.findings(both))


def test_a_connector_named_like_a_receiver(tiny):
    text = "connectors: {joint: }\nreceivers: {feed: }\nexporters: {sink: , joint: }\nservice: {pipelines: {logs: {receivers: [feed], exporters: [sink]}}}"
    assert any(
        'HW128] 1:14 connectors.joint: "joint" is both an exporter and a connector' in line
        for line in tiny.findings(text)
    )


def test_cycles(tiny):
    text = "connectors: {joint/a: , joint/b: }\n" + simple(
        pipelines="""
    logs/a: {receivers: [feed, joint/b], exporters: [joint/a]},
    logs/b: {receivers: [joint/a], exporters: [joint/b, sink]}"""
    )
    assert [line for line in tiny.findings(text) if "HW124" in line] == [
        "error [HW124] 5:5 service.pipelines.logs/a: pipelines feed each other in a circle: logs/a → logs/b → logs/a; "
        "take the connector out of one of them"
    ]


def test_needs(tiny):
    text = simple(
        receivers="feed: {port: 4318}, feed/b: {port: 4318, calls: true}",
        exporters="sink: {host: backend}, sink/ip: {host: 10.0.0.1}, sink/local: {host: localhost}",
        pipelines="logs: {receivers: [feed, feed/b], exporters: [sink, sink/ip, sink/local]}",
        more=', telemetry: {metrics: {address: "127.0.0.1:2020"}}',
    )
    found = {stated.need: stated.by for stated in needs(tiny.graph(text))}
    assert found[Listens(4318, "tcp", "a port")] == ("receivers.feed", "receivers.feed/b")
    assert found[Listens(2020, "tcp", "self-metrics", "127.0.0.1")] == ("service.telemetry.metrics",)
    assert found[Connects(API_SERVER, 443, "tcp", "Kubernetes API")] == ("service",)
    assert [need.protocol for need in found if getattr(need, "host", "") == DNS] == ["udp", "tcp"]
    assert Connects(DNS, 53, "udp", "resolve backend") in found
    quiet = {stated.need for stated in needs(tiny.graph(simple(exporters="sink: {host: 10.0.0.1}")))}
    assert quiet == {Connects("10.0.0.1", 4318, "tcp", "a peer")}


def test_drawings(tiny):
    graph = tiny.graph(GOOD)
    assert render.text(graph) == (
        "logs: feed, feed/b → pass → pass/2 → sink, joint\n"
        "logs/b: joint → pass → sink/b, sink\n"
        "traces: feed → sink\n"
        "extensions: box"
    )
    mermaid = render.mermaid(graph)
    assert mermaid.startswith("flowchart LR\n")
    assert mermaid.count("-->") == len(graph.edges)
    assert mermaid.count("-.->") == 1
    dot = render.dot(graph)
    assert '"receiver:feed" -> "processor:logs/pass" [label="logs"];' in dot
    assert dot.count("->") == len(graph.edges) + 1
    plain = render.plain(graph)
    assert plain["pipelines"]["traces"] == {
        "signal": "traces",
        "receivers": ["feed"],
        "processors": [],
        "exporters": ["sink"],
    }
    assert plain["uses"] == [{"source": "exporter:sink", "extension": "extension:box"}]
