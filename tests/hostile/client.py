"""A well-behaved client: `python client.py PORT FIRST SECONDS`. Sends numbered records, and again where it is told to.

Prints JSON: how many were taken, how long each took from first try to success (ms), how often it had to try again.
"""

import http.client
import json
import sys
import time

RATE = 100  # requests a second


def request(number):
    record = {"timeUnixNano": str(number + 1), "body": {"stringValue": f"good-{number:08d}"}}
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()


def main(port, first, seconds):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    began, number, took, retries = time.monotonic(), first, [], 0
    while time.monotonic() - began < seconds:
        start = time.perf_counter()
        while True:
            try:
                connection.request("POST", "/v1/logs", request(number), {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    break
                if answer.status not in {429, 503}:
                    sys.exit(f"answered {answer.status}")
                time.sleep(0.05)
            except (http.client.HTTPException, OSError):
                connection.close()
            retries += 1
        took.append((time.perf_counter() - start) * 1000)
        number += 1
        time.sleep(max(0, began + (number - first) / RATE - time.monotonic()))
    connection.close()
    took.sort()
    at = {f"p{share}_ms": round(took[min(len(took) - 1, len(took) * share // 100)], 2) for share in (50, 99)}
    print(json.dumps({"sent": number - first, **at, "max_ms": round(took[-1], 2), "retries": retries}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
