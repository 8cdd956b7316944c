#!/usr/bin/env python3
"""Installs the real programs that tests and demos run beside Hawse: Debian's Prometheus, exporters, clients.

`scripts/peers.py [NAME…]` prints a line for each program that is there afterwards: its name, the version of its
package, and its path, separated by tabs. What can't be had is named on standard error with the reason, and the exit
code is 1; tests are then skipped by that name (REQUIRE_PEERS=1: they fail).

Packages come from this system's own apt, by name, in the version of this system's release, and are unpacked
(`dpkg-deb -x`) below ${XDG_CACHE_HOME:-~/.cache}/hawse/peers/RELEASE-ARCHITECTURE: nothing is installed, no root is
needed, and what is there already costs no call to apt. Where apt has no package lists, they are fetched into the same
folder. Clients written in Python, whose requirements contradict ours and each other's, get a virtual environment of
their own there, of which the path is the interpreter; those of Node.js a node_modules, which is the path (for
NODE_PATH). What is too entangled to be unpacked (Node.js, nghttp, curl) must be installed already. Needs nothing but
Python; it is run before anything else is set up.
"""

import argparse
import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Program → where its package has it. Nearly all are named like their packages.
PROGRAMS = {
    "prometheus": "usr/bin/prometheus",
    "promtool": "usr/bin/promtool",
    "prometheus-node-exporter": "usr/bin/prometheus-node-exporter",
    "prometheus-blackbox-exporter": "usr/bin/prometheus-blackbox-exporter",
    "prometheus-process-exporter": "usr/bin/prometheus-process-exporter",
    "prometheus-pushgateway": "usr/bin/prometheus-pushgateway",
    "prometheus-redis-exporter": "usr/bin/prometheus-redis-exporter",
}
PACKAGES = {"promtool": ("prometheus", "promtool")}  # first in the one, since Debian 13 in the other
# Python packages, in the version that they are known to work in, and what they need beside: without it, pip picks
# versions that clash on protobuf, and old packages miss what new setuptools no longer bring.
_OLD = ("protobuf==3.20.3", "setuptools<81")
CLIENTS = {
    "opentelemetry-exporter-prometheus-remote-write": ("0.66b1",),  # wants protobuf < 7
    "jaeger-client": ("4.8.0", "setuptools<81", "six"),
    "opentelemetry-exporter-jaeger": ("1.21.0", "opentelemetry-sdk==1.21.0", "deprecated", *_OLD),
    "opentelemetry-exporter-zipkin": ("1.45.1", "opentelemetry-sdk==1.45.1", *_OLD),
    "py-zipkin": ("1.2.8", "protobuf==3.20.3"),
    "opencensus-ext-ocagent": ("0.7.1", *_OLD),
}
# The same from npm. Named by us: most names there have a slash.
NODE_CLIENTS = {
    "npm-jaeger-client": ("3.19.0", "jaeger-client@3.19.0"),
    "npm-opentelemetry-jaeger": ("2.11.0", "@opentelemetry/exporter-jaeger@2.11.0", "@opentelemetry/api@1.9.0"),
    "npm-opentelemetry-otlp": (
        "0.223.1",
        *(f"@opentelemetry/exporter-trace-otlp-{one}@0.223.1" for one in ("http", "proto", "grpc")),
        "@opentelemetry/api@1.9.0",
    ),
    "npm-opentelemetry-zipkin": ("2.12.1", "@opentelemetry/exporter-zipkin@2.12.1", "@opentelemetry/api@1.9.0"),
    "npm-zipkin": ("0.22.0", "zipkin@0.22.0", "zipkin-transport-http@0.22.0"),
}
INSTALLED = {"node": "nodejs", "nghttp": "nghttp2-client", "h2load": "nghttp2-client", "curl": "curl"}  # → package
NAMES = (*PROGRAMS, *CLIENTS, *NODE_CLIENTS, *INSTALLED)
_VERSION = ".version"  # in a package's folder, written last
_REFUSED = "refused-{}"  # so that a machine without a registry is not asked by every test run
_ASK_AGAIN = 600.0  # seconds
_TIMEOUT = 180  # for one call to apt


class Program(NamedTuple):
    """A program that is there."""

    name: str
    version: str
    path: Path


class Unavailable(Exception):
    """Why a program is not to be had here."""


class Cache:
    """The folder of one release and architecture. Used by one process at a time (`locked`)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _folder()
        self._own_lists: bool | None = None  # whether apt's own have turned out to be of no use

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self, name: str) -> Program | None:
        """The program, if it was unpacked before."""
        version = self.folder / name / _VERSION
        path = self.folder / name / PROGRAMS.get(name, "node_modules" if name in NODE_CLIENTS else "bin/python")
        if not version.exists() or not path.exists():
            return None
        made_of = version.read_text().split()
        wanted = CLIENTS.get(name) or NODE_CLIENTS.get(name)
        return None if wanted and made_of != [*wanted] else Program(name, made_of[0], path)

    def get(self, name: str) -> Program:
        """The program, fetched if need be. Raises Unavailable."""
        if name in INSTALLED:
            return _installed(name)
        if found := self.find(name):
            return found
        refused = self.folder / _REFUSED.format(name)
        if refused.exists() and time.time() - refused.stat().st_mtime < _ASK_AGAIN:
            raise Unavailable(refused.read_text())
        try:
            self._install(name)
        except Unavailable as why:
            refused.write_text(str(why))
            raise
        refused.unlink(missing_ok=True)
        found = self.find(name)
        assert found
        return found

    def _install(self, name: str) -> None:
        (self._fetch if name in PROGRAMS else self._make)(name)

    def _fetch(self, name: str) -> None:
        for program in ("apt-get", "dpkg-deb"):
            if shutil.which(program) is None:
                raise Unavailable(f"no {program} here")
        packages = PACKAGES.get(name, (name,))
        if not any(self._fetched(name, package) for package in packages):
            raise Unavailable(f"no {PROGRAMS[name]} in the package {' or '.join(packages)}")

    def _fetched(self, name: str, package: str) -> bool:
        """Whether the package has the program; then it is unpacked."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=f"{name}.") as work:
            file = self._download(package, Path(work))
            root = Path(work) / "root"
            _run("dpkg-deb", "-x", str(file), str(root))
            if not (root / PROGRAMS[name]).is_file():
                return False
            (root / _VERSION).write_text(_run("dpkg-deb", "-f", str(file), "Version").strip())
            shutil.rmtree(self.folder / name, ignore_errors=True)
            root.rename(self.folder / name)
            return True

    def _make(self, name: str) -> None:
        """Made where it stays: an environment can't be moved."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        wanted = CLIENTS.get(name) or NODE_CLIENTS[name]
        try:
            (_python if name in CLIENTS else _node)(place, name, wanted)
        except Unavailable:
            shutil.rmtree(place, ignore_errors=True)
            raise
        (place / _VERSION).write_text("\n".join(wanted))

    def _download(self, name: str, work: Path) -> Path:
        """Without lists of its own first; apt's are as old as its last update, so a miss has them fetched."""
        if self._own_lists is None:
            with contextlib.suppress(Unavailable):
                return self._apt_download(name, work)
            self._update()
        return self._apt_download(name, work)

    def _update(self) -> None:
        for part in ("lists/partial", "archives/partial"):
            (self.folder / "apt" / part).mkdir(parents=True, exist_ok=True)
        self._own_lists = True
        with contextlib.suppress(Unavailable):  # some list may have come nevertheless: the download will tell
            _run("apt-get", *self._options(), "update", cwd=self.folder)

    def _apt_download(self, name: str, work: Path) -> Path:
        _run("apt-get", *self._options(), "download", name, cwd=work)
        found = list(work.glob("*.deb"))
        if not found:
            raise Unavailable(f"apt-get download {name}: no package came")
        return found[0]

    def _options(self) -> list[str]:
        own = ["Acquire::Retries=1", "Acquire::http::Timeout=15", "Acquire::https::Timeout=15", "Dpkg::Use-Pty=0"]
        if os.geteuid() == 0:
            own.append("APT::Sandbox::User=root")  # else apt complains that its own user can't write here
        if self._own_lists:
            folder = self.folder / "apt"
            own += [f"Dir::State::Lists={folder}/lists", f"Dir::Cache={folder}", "Debug::NoLocking=true"]
        return ["-q", *(part for option in own for part in ("-o", option))]


def _python(place: Path, name: str, wanted: tuple[str, ...]) -> None:
    version, *beside = wanted
    _run(sys.executable, "-m", "venv", str(place))
    pip = (str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    _run(*pip, f"{name}=={version}", *beside)


def _node(place: Path, _: str, wanted: tuple[str, ...]) -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Unavailable(f"no {program} here")
    place.mkdir(parents=True)
    # --ignore-scripts: what a package wants to run at installation is none of our business.
    flags = ("--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts", "--loglevel=error")
    _run("npm", "install", "--prefix", str(place), *flags, *wanted[1:], cwd=place)


def _installed(name: str) -> Program:
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"not installed; Debian's package {INSTALLED[name]} has it")
    said = _run(path, "--version").split()
    version = next((word for word in said if any(letter.isdigit() for letter in word) and "." in word), "unknown")
    return Program(name, version, Path(path))


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    name = release.get("VERSION_CODENAME") or release.get("ID") or "unknown"
    return cache / "hawse" / "peers" / f"{name}-{platform.machine()}"


def _run(*argv: str, cwd: Path | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{argv[0]}: {error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = [line for line in lines if line.startswith(("E:", "ERROR:"))] or lines
        raise Unavailable(f"{argv[0]}: {said[0] if said else f'exit code {done.returncode}'}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all if none is given: {', '.join(NAMES)}")
    names = parser.parse_args().names or list(NAMES)
    for name in names:
        if name not in NAMES:
            parser.error(f"{name} is not known here; known: {', '.join(NAMES)}")
    cache, missing = Cache(), 0
    with cache.locked():
        for name in names:
            try:
                found = cache.get(name)
            except Unavailable as why:
                print(f"skipped: {name}: {why}", file=sys.stderr)
                missing += 1
            else:
                print(*found, sep="\t", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
