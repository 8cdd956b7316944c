"""Configuration files: whatever they hold, findings come out."""

from collections.abc import Iterator
from importlib.resources import files

from fuzz.targets import Target, table
from hawse.config.show import show
from hawse.pipeline.check import check
from hawse.registry import Registry

_ENVIRON = {"A": "a", "B": "[1, 2]", "C": "{x: ${env:A}}", "LOOP": "${env:LOOP}"}


def _run(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
    if "file:" in text or "plugins" in text:  # would read this machine's files, and import its packages
        return
    checked = check([f"yaml:{text}"], Registry, environ=_ENVIRON)
    assert (checked.graph is None) == bool(checked.errors)
    assert all(str(finding) and finding.code.startswith("HW") for finding in checked.findings)
    show(checked.root, checked.configuration, defaults=True)


def _seeds() -> Iterator[bytes]:
    for role in sorted(files("hawse.roles").iterdir(), key=lambda one: one.name):
        if role.name.endswith(".yaml"):
            yield role.read_bytes()
    yield b"""receivers: {otlp: {protocols: {http: {endpoint: "localhost:4318", max_request_body_size: 1MiB}}}}
exporters: {debug: {}, otlphttp/a: {endpoint: "http://h:1", headers: {a: "${env:A}"}, timeout: 5s}}
service: {pipelines: {logs: {receivers: [otlp], exporters: [debug, otlphttp/a]}}, telemetry: {metrics: {address: ":8888"}}}
"""
    yield b"a: &a {b: [1, 2.5, true, null, 0o17, .inf, 2026-11-24]}\nc: *a\nd: {<<: *a, e: ${env:C}}\n"


_WORDS = [
    b"receivers:", b"exporters:", b"service:", b"pipelines:", b"filelog:", b"otlphttp:", b"k8sattributes:", b"&a ", b"*a", b"<<: *a", b"${env:LOOP}",
    b"${env:A:-", b"${", b"}", b"$$", b"- ", b": ", b"\n", b"\n  ", b"\t", b"? ", b"|\n", b">-\n", b"'", b'"', b"[[[[[[[[", b"{a: {a: {a: ", b"!!binary ",
    b"!!set ", b"\xef\xbb\xbf", b"---\n", b"...\n", b"%YAML 9.9\n", b"0b1", b"9" * 40, b"1e999", b"{}", b"[]", b"~",
]  # fmt: skip

TARGETS = table(Target("configuration", _run, _seeds, _WORDS, 4096))
