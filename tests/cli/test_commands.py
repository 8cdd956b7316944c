"""The command line, as a user sees it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
import yaml

from hawse import cli

GOOD = """
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:0"}}}}
exporters: {otlphttp: {endpoint: "http://127.0.0.1:1", headers: {Authorization: hunter2}}}
service:
  pipelines: {logs: {receivers: [otlp], exporters: [otlphttp]}}
"""
BAD = GOOD.replace("protocols", "protocls").replace("exporters: [otlphttp]", "exporters: [otlphtp]")


@pytest.fixture
def hawse(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("HAWSE_CONFIG", raising=False)
    monkeypatch.delenv("HAWSE_DEBUG", raising=False)

    def run(*arguments, config=None):
        if config is not None:
            (tmp_path / "config.yaml").write_text(config)
            arguments = (*arguments, "--config", str(tmp_path / "config.yaml"))
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out.replace(f"{tmp_path}/", ""), err.replace(f"{tmp_path}/", "")

    return run


def test_validate_is_quiet_on_success(hawse):
    assert hawse("validate", config=GOOD) == (0, "config.yaml: valid (1 pipeline, 2 components)\n", "")


def test_validate_tells_everything_and_no_usage(hawse):
    code, out, err = hawse("validate", config=BAD)
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert (
        'error [HW104] config.yaml:2:20 receivers.otlp.protocls: unknown key "protocls"; did you mean "protocols"?'
        in lines
    )
    assert any('"otlphtp" is not defined under exporters; did you mean "otlphttp"?' in line for line in lines)
    assert re.fullmatch(r"config.yaml: 2 errors, 1 warning", lines[-1])
    assert "Usage" not in err
    assert "\x1b" not in err


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_validate_as_data(hawse, form, read):
    code, out, err = hawse("validate", "-o", form, config=BAD)
    result = read(out)
    assert (code, err, result["valid"]) == (1, "", False)
    assert {"code": "HW104", "severity": "error"}.items() <= result["findings"][0].items()
    assert result["findings"][0]["where"]["line"] == 2
    code, out, _ = hawse("validate", "-o", form, config=GOOD)
    assert (code, read(out)) == (0, {"valid": True, "findings": []})


def test_fail_on(hawse):
    unused = GOOD.replace("exporters: {", "exporters: {debug: , ")
    assert hawse("validate", config=unused)[0] == 0
    assert hawse("validate", "--fail-on", "warning", config=unused)[0] == 1


def test_what_could_not_be_checked_is_no_verdict(hawse):
    code, out, err = hawse("validate", "--config", "/none.yaml")
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        "error [HW101] /none.yaml: cannot read the configuration: No such file or directory; check the path and its rights",
        "/none.yaml: 1 error",
    ]
    plugin = GOOD + "  plugins: [nothing]\n"
    code, _, err = hawse("validate", config=plugin)
    assert code == 3
    assert "plugin 'nothing' is not installed" in err


def test_the_environment_is_checked_when_asked(hawse, tmp_path):
    text = (
        """
receivers: {filelog: {include: [/nowhere/at/all/*.log]}}
exporters: {file: {path: "%s/out"}, otlphttp: {endpoint: "http://no-such-host.invalid:1"}}
service: {pipelines: {logs: {receivers: [filelog], exporters: [file, otlphttp]}}}
"""
        % tmp_path
    )
    assert hawse("validate", config=text)[0] == 0
    code, _, err = hawse("validate", "--with-environment", config=text)
    assert code == 1
    assert 'HW141] config.yaml:2:13 receivers.filelog: "/nowhere/at/all" does not exist' in err
    assert '"no-such-host.invalid" does not resolve' in err
    assert "HW142" not in err


def test_wrong_usage(hawse):
    for arguments, part in (
        (["validate"], "no configuration given; use --config FILE, or --role"),
        (["valdate"], 'there is no command "valdate"; did you mean "validate"?'),
        (["graph", "--role", "log-collector"], 'there is no role "log-collector"; did you mean "logs-collector"?'),
        (["components", "filelg"], 'there is no component "filelg"; did you mean "filelog"'),
        (["graph", "-o", "png"], "'png' is not one of"),
        (["needs", "--confg", "x"], "No such option"),
    ):
        code, out, err = hawse(*arguments)
        assert (code, out) == (2, ""), arguments
        assert part in err


@pytest.mark.parametrize("command", ["graph", "needs", "run"])
def test_findings_of_other_commands(hawse, command):
    code, out, err = hawse(command, config=BAD)
    assert code in {1, 3}
    assert out == ""
    assert "did you mean" in err
    assert "Traceback" not in err


def test_the_configuration_can_come_from_the_environment(hawse, monkeypatch, tmp_path):
    (tmp_path / "c.yaml").write_text(GOOD)
    monkeypatch.setenv("HAWSE_CONFIG", str(tmp_path / "c.yaml"))
    assert hawse("validate")[0] == 0


def test_overrides_and_inline_sources(hawse):
    code, out, _ = hawse(
        "config",
        "show",
        "-o",
        "json",
        "--set",
        "exporters.otlphttp.timeout=5s",
        "-c",
        "yaml:exporters::debug: ",
        config=GOOD,
    )
    assert code == 0
    assert json.loads(out)["exporters"] == {
        "debug": {},
        "otlphttp": {"endpoint": "http://127.0.0.1:1", "headers": {"Authorization": "[REDACTED]"}, "timeout": "5s"},
    }


def test_config_show(hawse):
    code, out, err = hawse("config", "show", config=BAD)
    assert code == 1
    assert "did you mean" in err
    shown = yaml.safe_load(out)
    assert shown["receivers"]["otlp"]["protocls"]
    assert "hunter2" not in out
    code, out, err = hawse("config", "show", "--defaults", config=GOOD)
    shown = yaml.safe_load(out)
    assert (code, err) == (0, "")
    assert shown["exporters"]["otlphttp"]["retry_on_failure"]["enabled"] is True
    assert shown["service"]["drain_timeout"] == "25s"
    # What is shown is itself a configuration, and the same one.
    assert hawse("validate", config=out.replace("[REDACTED]", "x"))[0] == 0


def test_graph(hawse):
    assert hawse("graph", config=GOOD)[1] == "logs: otlp → otlphttp\n"
    assert hawse("graph", "-o", "dot", config=GOOD)[1].startswith("digraph")
    assert hawse("graph", "-o", "mermaid", config=GOOD)[1].startswith("flowchart LR")
    assert json.loads(hawse("graph", "-o", "json", config=GOOD)[1])["pipelines"]["logs"]["receivers"] == ["otlp"]
    assert yaml.safe_load(hawse("graph", "-o", "yaml", config=GOOD)[1])["edges"][0]["signal"] == "logs"


def test_needs(hawse):
    code, out, _ = hawse("needs", "--role", "logs-collector", "-o", "json")
    assert code == 0
    found = json.loads(out)
    assert {"listens", "connects", "reads", "writes"} == {need["type"] for need in found}
    assert all(need["by"] for need in found)
    assert "calls" not in hawse("needs", "--role", "logs-collector")[1]
    assert "list,watch pods (cluster)" in hawse("needs", "--role", "logs-enrichment")[1]


def test_components(hawse):
    out = hawse("components")[1]
    assert re.search(r"^receiver +filelog +logs +\w+ +\w+", out, re.M)
    listed = json.loads(hawse("components", "-o", "json")[1])
    assert {"kind": "exporter", "type": "otlphttp"}.items() <= next(
        one for one in listed if one["type"] == "otlphttp"
    ).items()
    assert re.search(r"^  retry_on_failure\.max_interval +a duration +30s", hawse("components", "otlphttp")[1], re.M)
    both = json.loads(hawse("components", "sumologic", "-o", "json")[1])
    assert {one["kind"] for one in both} == {"processor", "exporter"}
    assert all(one["schema"]["additionalProperties"] is False for one in both)


def test_schema(hawse):
    made = json.loads(hawse("schema")[1])
    assert set(made["properties"]) == {"receivers", "processors", "exporters", "connectors", "extensions", "service"}


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS), ["config", "show"]])
def test_help(hawse, command):
    code, out, err = hawse(*command, "--help")
    assert (code, err) == (0, "")
    assert "Examples:" in out
    assert out.split("Examples:")[1].count("hawse") >= 2
    assert "Exit codes:" in out
    assert "NO_COLOR" in out


def test_an_internal_error_is_one_line(hawse, monkeypatch):
    def fail(*_, **__):
        raise KeyError("oops")

    monkeypatch.setattr("hawse.cli.options.check", fail)
    code, out, err = hawse("validate", config=GOOD)
    assert (code, out) == (3, "")
    assert err == "internal error: KeyError: 'oops'; set HAWSE_DEBUG=1 for the traceback, and report it\n"
    monkeypatch.setenv("HAWSE_DEBUG", "1")
    with pytest.raises(KeyError):
        hawse("validate", config=GOOD)


def python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **options)


def test_help_imports_next_to_nothing():
    code = "import sys; from hawse.cli import main; main(['--help']); print([m for m in sys.modules if m.split('.')[0] in ('numpy', 'rich', 'yaml', 'google', 'asyncio', 'sqlite3')])"
    assert python("-c", code).stdout.splitlines()[-1] == "[]"


def test_a_reader_that_leaves_is_no_error(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m hawse schema | head -1", shell=True, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.fixture
def process(tmp_path):
    started = []

    def start(text, *arguments):
        config = tmp_path / "config.yaml"
        config.write_text(text)
        log = (tmp_path / "log").open("w+")
        made = subprocess.Popen(
            [sys.executable, "-m", "hawse", "run", "--config", str(config), *arguments], stdout=log, stderr=log
        )
        started.append((made, log))
        made.text = lambda: (tmp_path / "log").read_text()
        return made

    yield start
    for made, log in started:
        made.kill()
        made.wait()
        log.close()


def wait_for(check, process, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if check():
            return
        time.sleep(0.05)
    raise AssertionError(f"it did not come to that; it said: {process.text()}")


def free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def test_run(process, tmp_path):
    port, out = free_port(), tmp_path / "out.json"
    text = f"""
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{file: {{path: "{out}"}}}}
service:
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
  telemetry: {{metrics: {{address: "127.0.0.1:{port}"}}, logs: {{encoding: json}}}}
"""
    made = process(text)
    wait_for(lambda: "everything is ready" in made.text(), made)
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}'
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/logs", body, {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200
    assert "hello" in out.read_text()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    assert 'otelcol_receiver_accepted_log_records_total{receiver="otlp"} 1' in metrics
    assert 'otelcol_exporter_sent_log_records_total{exporter="file"} 1' in metrics
    made.send_signal(signal.SIGTERM)
    assert made.wait(20) == 0, made.text()
    lines = [json.loads(line) for line in made.text().splitlines()]
    assert lines[-1]["msg"] == "stopped, everything drained"


def test_run_on_a_port_in_use(process):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = process(GOOD.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        assert made.wait(20) == 3
    assert re.search(rf"error \[HW\d+\] \S+config.yaml:2:\d+ receivers.otlp.*127.0.0.1:{port}", made.text()), (
        made.text()
    )
    assert "Traceback" not in made.text()


def test_run_with_a_bad_configuration(process):
    made = process(BAD)
    assert made.wait(20) == 1
    assert "not started" in made.text()


def test_run_reloads_when_the_file_changes(process, tmp_path):
    made = process(GOOD)
    wait_for(lambda: "everything is ready" in made.text(), made)
    (tmp_path / "config.yaml").write_text(BAD)
    wait_for(lambda: "running on with the old one" in made.text(), made)
    os.rename(_written(tmp_path / "new", GOOD.replace("logs:", "logs/new:")), tmp_path / "config.yaml")
    wait_for(lambda: "pipelines: logs/new" in made.text(), made)
    made.send_signal(signal.SIGINT)
    assert made.wait(20) == 0


def _written(path, text):
    path.write_text(text)
    return path
