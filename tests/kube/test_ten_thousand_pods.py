"""Ten thousand pods, the whole process: memory stays within the promise, and the list comes in pages."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "kube_metadata.py"


def test_ten_thousand_pods_and_all_their_attributes_fit_into_120_mb():
    made = subprocess.run([sys.executable, str(BENCH), "10000"], capture_output=True, text=True, timeout=100)
    assert made.returncode == 0, made.stderr
    figures = json.loads(made.stdout)
    assert figures["pods"] == 10_000 and figures["attributes"] == 17
    assert figures["peak_rss_mb"] <= 110  # what a role imports beside this takes up to 10 MB
    assert figures["rss_listed_mb"] - figures["rss_before_mb"] <= 50
