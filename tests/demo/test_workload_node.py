"""The demo's cluster as a process."""

import asyncio
import json
import sys
from pathlib import Path

from hawse.demo.supervise import Child
from hawse.demo.workload import Tally
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig


async def _until(path: Path):
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.01)


async def _session(root: Path):
    child = Child("node", [sys.executable, "-m", "hawse.demo.node", str(root), "--rate", "1"], {}, root / "node.log")
    await child.start()
    try:
        await _until(root / "kubeconfig")
        server = next(line for line in (root / "kubeconfig").read_text().splitlines() if "server:" in line).split()[-1]
        client = HttpClient(ClientConfig(endpoint=server))
        child.tell("start")
        async with asyncio.timeout(20):
            pods = []
            while len(pods) < 7:  # one of them comes late
                pods = json.loads((await client.request("GET", "/api/v1/pods")).body)["items"]
                await asyncio.sleep(0.05)
        child.tell("stop")
        await _until(root / "stopped")
        answer = await client.request("GET", "/api/v1/namespaces")  # still there, for what is on its way
        await client.close()
        return pods, json.loads(answer.body)["items"], child.tail()
    finally:
        assert await child.stop(10)


def test_it_serves_its_pods_and_says_what_it_wrote(tmp_path):
    pods, namespaces, said = asyncio.run(_session(tmp_path))
    tally = Tally.load(tmp_path / "tally.json")
    assert {pod["metadata"]["uid"] for pod in pods} == {pod.uid for pod in tally.pods}
    used = {pod["metadata"]["namespace"] for pod in pods} | {"monitoring"}
    assert used == {found["metadata"]["name"] for found in namespaces}
    in_files = sum(
        path.read_bytes().count(b"\n") - path.read_bytes().count(b" P ")
        for path in (tmp_path / "log" / "pods").rglob("*.log")
        if not path.is_symlink()
    )
    docker = next(pod for pod in tally.pods if pod.pod.startswith("node-agent"))
    assert in_files == sum(pod.lines for pod in tally.pods) - docker.lines > 50
    assert said == "    (none)"
