"""The API server that knows the pods of a data set: `python -m bench.cluster FOLDER KUBECONFIG`, until it is ended.

Folders named `<namespace>_<pod>_<uid>` are pods, as below a node's /var/log/pods.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from hawse.demo.apiserver import DemoApi


def pods(folder: Path) -> list[dict[str, Any]]:
    """The Pod objects, with the labels, annotations and owner that a Deployment's pod usually has."""
    return [_pod(*path.name.split("_")) for path in sorted(folder.rglob("*")) if path.name.count("_") == 2]


def _pod(namespace: str, pod: str, uid: str) -> dict[str, Any]:
    replicaset, _, _ = pod.rpartition("-")
    app, _, template_hash = replicaset.rpartition("-")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replicaset, "uid": uid, "controller": True}
    labels = {
        "app.kubernetes.io/name": app,
        "app.kubernetes.io/instance": "production",
        "app.kubernetes.io/version": "1.42.0",
        "pod-template-hash": template_hash,
        "team": "shop",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod,
            "namespace": namespace,
            "uid": uid,
            "labels": labels,
            "annotations": {"prometheus.io/scrape": "true", "sumologic.com/sourceCategoryPrefix": "bench/"},
            "ownerReferences": [owner],
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": app, "image": f"registry.example/{app}:1.42.0"}]},
        "status": {"phase": "Running", "podIP": "10.244.0.9", "hostIP": "10.0.0.9"},
    }


async def main(folder: Path, kubeconfig: Path) -> None:
    api = DemoApi()
    found = pods(folder)
    for namespace in {pod["metadata"]["namespace"] for pod in found}:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"tier": "prod"}}})
    for pod in found:
        api.put(pod)
    async with api:
        api.kubeconfig(kubeconfig)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
