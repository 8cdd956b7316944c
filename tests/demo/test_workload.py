"""The demo's node: what its files hold is what its tally says."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from hawse.demo.runtime import PIECE, ContainerLog
from hawse.demo.workload import Node, Tally

TIME = 1_792_000_000_120_000_000


def _text(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _records(data: bytes) -> list[tuple[str, bytes]]:
    """Stream and text of each record, by the simplest possible reading of both formats."""
    records, pending = [], {}
    for line in data.splitlines():
        if line.startswith(b'{"log"'):
            entry = json.loads(line)
            stream, piece, whole = entry["stream"], entry["log"].encode(), entry["log"].endswith("\n")
            piece = piece.removesuffix(b"\n")
        else:
            _, stream, tag, piece = line.split(b" ", 3)
            stream, whole = stream.decode(), tag == b"F"
        pending[stream] = pending.get(stream, b"") + piece
        if whole:
            records.append((stream, pending.pop(stream)))
    assert not pending
    return records


def test_the_tally_is_what_the_files_hold(tmp_path):
    node = Node(tmp_path, random.Random(7), rate=2)
    for _ in range(200):
        node.advance(0.1)
    node.close()
    lines, size = Counter(), Counter()
    # Rotated files of Docker lie beside the real file, so both trees count, links do not.
    for path in (path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()):
        found = _records(_text(path))
        if "docker" in path.parts:
            uid = next(pod.uid for pod in node.pods if pod.format == "docker")
        else:
            uid = path.relative_to(tmp_path / "pods").parts[0].rsplit("_", 1)[1]
        lines[uid] += len(found)
        size[uid] += sum(len(text) for _, text in found)
    assert lines == {pod.uid: pod.lines for pod in node.tally.pods}
    # An entry's lines are joined by newlines, which the files don't hold as text.
    assert size == {pod.uid: pod.bytes - (pod.lines - pod.records) for pod in node.tally.pods}
    entries = {pod.uid for pod in node.pods if any(container.first_line for container in pod.containers)}
    assert {pod.uid for pod in node.tally.pods if pod.records < pod.lines} == entries
    assert node.tally.rotations > 2
    assert node.tally.restarts == 2  # at 6 and 18 seconds
    assert {pod.collected for pod in node.tally.pods} == {True, False}


def test_every_link_leads_to_a_file(tmp_path):
    node = Node(tmp_path, random.Random(3))
    for _ in range(80):
        node.advance(0.1)
    node.close()
    links = list((tmp_path / "containers").iterdir())
    crashing = next(pod for pod in node.pods if pod.crashes)
    assert len(links) == sum(len(pod.containers) for pod in node.pods) + node.tally.restarts
    assert all(link.resolve(strict=True).is_file() for link in links)
    folder = tmp_path / "pods" / f"{crashing.namespace}_{crashing.name}_{crashing.uid}" / crashing.containers[0].name
    assert {path.name for path in folder.iterdir()} == {"0.log", "1.log"}


def test_a_tally_survives_its_file(tmp_path):
    node = Node(tmp_path, random.Random(1))
    node.advance(1.0)
    node.tally.save(tmp_path / "tally.json")
    assert Tally.load(tmp_path / "tally.json") == node.tally
    node.close()


def _log(root: Path, format_: str) -> ContainerLog:
    return ContainerLog(root, namespace="ns", pod="p", uid="u", container="c", format_=format_, id_="ab" * 32)


@pytest.mark.parametrize(
    ("format_", "line"),
    [
        ("containerd", b"2026-10-14T17:46:40.12Z stdout F hello\n"),
        ("cri-o", b"2026-10-14T19:46:40.12+02:00 stdout F hello\n"),
        ("docker", b'{"log":"hello\\n","stream":"stdout","time":"2026-10-14T17:46:40.12Z"}\n'),
    ],
)
def test_formats(tmp_path, format_, line):
    log = _log(tmp_path, format_)
    log.write(TIME, "stdout", "hello")
    log.close()
    assert (tmp_path / "pods" / "ns_p_u" / "c" / "0.log").read_bytes() == line


@pytest.mark.parametrize("format_", ["containerd", "cri-o", "docker"])
@pytest.mark.parametrize("text", ["", "é" * PIECE, "x" * PIECE, "x" * (PIECE + 1), "x" + "€" * 20_000])
def test_long_lines_are_written_in_pieces(tmp_path, format_, text):
    log = _log(tmp_path, format_)
    log.write(TIME, "stderr", text)
    log.close()
    data = (tmp_path / "pods" / "ns_p_u" / "c" / "0.log").read_bytes()
    assert _records(data) == [("stderr", text.encode())]
    assert data.count(b"\n") >= len(text.encode()) / PIECE


def _rotated_eight_times(root: Path, format_: str) -> None:
    log = _log(root, format_)
    for second in range(8):
        log.write(TIME + second * 10**9, "stdout", f"line {second}")
        log.rotate(TIME + second * 10**9)
    log.write(TIME, "stdout", "last")
    log.close()


def test_the_kubelet_keeps_five_files_and_compresses_all_rotated_but_the_newest(tmp_path):
    _rotated_eight_times(tmp_path, "containerd")
    folder = tmp_path / "pods" / "ns_p_u" / "c"
    stamps = [f"0.log.20261014-1746{second}" for second in (44, 45, 46, 47)]
    assert sorted(path.name for path in folder.iterdir()) == ["0.log", *(f"{s}.gz" for s in stamps[:-1]), stamps[-1]]
    assert _records(_text(folder / f"{stamps[0]}.gz")) == [("stdout", b"line 4")]
    assert _records(_text(folder / stamps[-1])) == [("stdout", b"line 7")]


def test_dockerd_keeps_five_files_and_numbers_them(tmp_path):
    _rotated_eight_times(tmp_path, "docker")
    name = f"{'ab' * 32}-json.log"
    folder = tmp_path / "docker" / "containers" / ("ab" * 32)
    assert {path.name for path in folder.iterdir()} == {name, *(f"{name}.{number}" for number in (1, 2, 3, 4))}
    assert _records(_text(folder / f"{name}.4")) == [("stdout", b"line 4")]
    assert _records(_text(tmp_path / "pods" / "ns_p_u" / "c" / "0.log")) == [("stdout", b"last")]


def test_the_logs_of_the_last_few_ends_stay(tmp_path):
    log = _log(tmp_path, "containerd")
    for number in range(8):
        log.write(TIME, "stdout", f"life {number}")
        log.restart(f"{number + 1:064x}")
    log.close()
    kept = {f"{number}.log" for number in range(3, 8)}
    assert {path.name for path in (tmp_path / "pods" / "ns_p_u" / "c").iterdir()} == kept
    assert {path.resolve(strict=True).name for path in (tmp_path / "containers").iterdir()} == kept
