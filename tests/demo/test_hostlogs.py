"""The machine's own logs, as `hawse up` finds them."""

import os

from hawse.demo.hostlogs import HostLogs


def _pod(root, size=10):
    folder = root / "pods" / "ns_pod_uid" / "app"
    folder.mkdir(parents=True)
    with (folder / "0.log").open("wb") as file:
        file.truncate(size)
    return folder / "0.log"


def test_links_are_preferred(tmp_path):
    file = _pod(tmp_path)
    (tmp_path / "containers").mkdir()
    os.symlink(file, tmp_path / "containers" / "pod_ns_app-1.log")
    found = HostLogs(tmp_path)
    assert str(found) == found.pattern == f"{tmp_path}/containers/*.log"
    assert (found.size, found.start_at) == (10, "beginning")


def test_pods_without_links(tmp_path):
    _pod(tmp_path)
    (tmp_path / "containers").mkdir()
    os.symlink(tmp_path / "gone", tmp_path / "containers" / "pod_ns_app-1.log")
    assert HostLogs(tmp_path).pattern == f"{tmp_path}/pods/*/*/*.log"


def test_nothing(tmp_path):
    assert (HostLogs(tmp_path).pattern, HostLogs(tmp_path).size) == ("", 0)


def test_a_big_past_is_left_alone(tmp_path):
    _pod(tmp_path, 3 * 10**9)  # sparse
    found = HostLogs(tmp_path)
    assert found.start_at == "end"
    assert "3.0 GB" in str(found)
