#!/usr/bin/env python3
"""How big and how quick to start the operator is, on the playground's API server.

    make footprint

OPERATOR names another binary to measure. Prints its size, the time from its start to /readyz answering 200 (median of 7 starts, the first of
which issues the certificates), and the resident memory half a minute later with nothing to do. Fails where one of them is more than it must be.
"""

import http.client
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATOR = pathlib.Path(os.environ.get("OPERATOR", ROOT / "target/dist/valence"))
PLAYGROUND = ROOT / "target/release/playground"
ADDRESS = "127.233.7.1"
STARTS = 7
MOST_MEGABYTES = 15
MOST_MILLISECONDS = 300
MOST_RESIDENT_MEGABYTES = 20
MANIFESTS = ["deploy/crds/servicelevelobjectives.yaml", "deploy/crds/recommendations.yaml", "deploy/base/namespace.yaml",
             "deploy/base/webhook.yaml"]


def playground(folder):
    command = [PLAYGROUND, "up", "--directory", folder]
    for manifest in MANIFESTS:
        command += ["--apply", ROOT / manifest]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(pathlib.Path(folder) / "log").open("wb"))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [path for path in pathlib.Path(folder).glob("**/*") if "kubeconfig" in path.name]
        if found:
            time.sleep(3)  # The manifests are applied after the kubeconfig is written.
            return process, found[0]
        time.sleep(0.1)
    process.terminate()
    raise SystemExit("the playground did not start")


def operator(kubeconfig):
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": "valence-system",
                   "VALENCE_LISTEN_ADDRESS": ADDRESS, "RUST_LOG": "warn"}
    return subprocess.Popen([OPERATOR, "run"], env=environment, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def is_ready():
    connection = http.client.HTTPConnection(ADDRESS, 8080, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start(kubeconfig):
    begun = time.monotonic()
    process = operator(kubeconfig)
    while not is_ready():
        if process.poll() is not None or time.monotonic() - begun > 60:
            process.kill()
            raise SystemExit("the operator did not become ready")
        time.sleep(0.001)
    return process, time.monotonic() - begun


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


def resident_megabytes(process, key):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(key)).split()[1]) * 1024 / 1e6


def bound(what, measured, shown, unit, most, note=""):
    print(f"{what:<17} {shown:>8} {unit} (must be <= {most}{note})")
    return [] if measured <= most else [f"{what}: {measured} {unit}, must be <= {most}"]


def main():
    size = OPERATOR.stat().st_size / 1e6
    broken = bound("binary", size, f"{size:.2f}", "MB", MOST_MEGABYTES)
    with tempfile.TemporaryDirectory() as folder:
        cluster, kubeconfig = playground(folder)
        try:
            times = []
            for _ in range(STARTS):
                process, took = start(kubeconfig)
                times.append(took * 1000)
                stop(process)
            shown = ", ".join(f"{took:.0f}" for took in times)
            median = statistics.median(times)
            broken += bound("start to ready", median, f"{median:.0f}", "ms", MOST_MILLISECONDS, f"; {shown}")
            process, _ = start(kubeconfig)
            time.sleep(30)
            parts = f"{resident_megabytes(process, 'RssFile:'):.1f} of them the binary's and its libraries' own pages"
            resident = resident_megabytes(process, "VmRSS:")
            broken += bound("resident, idle", resident, f"{resident:.1f}", "MB", MOST_RESIDENT_MEGABYTES, f"; {parts}")
            stop(process)
        finally:
            stop(cluster)
    if broken:
        raise SystemExit("\n".join(broken))


if __name__ == "__main__":
    main()
