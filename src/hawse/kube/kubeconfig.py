"""kubeconfig files: read, merged and resolved as kubectl does it.

Format: v1 Config (kubernetes.io/docs/reference/config-api/kubeconfig.v1). Of several files (`KUBECONFIG=a:b`) the
first that sets a value wins, and paths inside a file are relative to that file. Nothing here opens a connection.
"""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from hawse.diagnostics import Finding, HawseError, Severity, Where

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Cluster(msgspec.Struct, rename="kebab"):
    """`clusters[].cluster`. `*_data` is base64."""

    server: str = ""
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    proxy_url: str | None = None
    disable_compression: bool | None = None


class EnvVar(msgspec.Struct):
    """`users[].user.exec.env[]`."""

    name: str
    value: str = ""


class Exec(msgspec.Struct, rename="camel"):
    """`users[].user.exec`: a program that prints an ExecCredential."""

    command: str
    api_version: str = ""
    args: list[str] | None = None
    env: list[EnvVar] | None = None
    install_hint: str | None = None
    provide_cluster_info: bool = False
    interactive_mode: str | None = None


class User(msgspec.Struct, rename="kebab"):
    """`users[].user`."""

    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    token: str | None = None
    token_file: str | None = msgspec.field(name="tokenFile", default=None)
    username: str | None = None
    password: str | None = None
    exec: Exec | None = None
    auth_provider: Any = None
    as_: str | None = msgspec.field(name="as", default=None)
    as_uid: str | None = None
    as_groups: list[str] | None = None


class Context(msgspec.Struct):
    """`contexts[].context`."""

    cluster: str = ""
    user: str = ""
    namespace: str | None = None


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: Cluster = msgspec.field(default_factory=Cluster)


class _NamedUser(msgspec.Struct):
    name: str
    user: User = msgspec.field(default_factory=User)


class _NamedContext(msgspec.Struct):
    name: str
    context: Context = msgspec.field(default_factory=Context)


class _File(msgspec.Struct):
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None
    current_context: str | None = msgspec.field(name="current-context", default=None)


class Kubeconfig(msgspec.Struct):
    """Several files merged. `files` are those that were there, in order; paths inside are absolute."""

    files: list[str]
    current_context: str = ""
    clusters: dict[str, Cluster] = {}
    users: dict[str, User] = {}
    contexts: dict[str, Context] = {}
    origins: dict[str, str] = {}  # "users/<name>" → the file that it came from, for messages and relative commands


class Resolved(msgspec.Struct):
    """One context with what it refers to. `file` is for messages: where the user was defined."""

    context_name: str
    context: Context
    cluster: Cluster
    user: User
    file: str


def locate(path: str = "", env: Mapping[str, str] = os.environ) -> list[str]:
    """The files to read: `path` if given, else KUBECONFIG (separated by ":"), else ~/.kube/config."""
    if path:
        return [str(Path(path).expanduser())]
    listed = [part for part in env.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [str(Path(env.get("HOME") or "~").expanduser() / ".kube" / "config")]


def load(path: str = "", env: Mapping[str, str] = os.environ) -> Kubeconfig:
    """Read and merge. Raises HawseError where there is no file, or one of them can't be read or understood."""
    wanted = locate(path, env)
    merged = Kubeconfig([])
    for name in wanted:
        try:
            text = Path(name).read_bytes()
        except FileNotFoundError:
            continue  # as kubectl: one of several may be missing
        except OSError as error:
            raise _error("HW502", name, f"cannot be read: {error.strerror}", "check its mode and owner") from None
        _merge(merged, name, _decode(name, text))
    if not merged.files:
        raise HawseError.of(
            "HW501",
            f"there is no kubeconfig: {', '.join(wanted)} not found",
            fix="set kube_config_path or KUBECONFIG to the file, or use auth_type: serviceAccount inside a cluster",
        )
    return merged


def _error(
    code: str, file: str, message: str, fix: str, *, line: int = 0, column: int = 0, path: str = ""
) -> HawseError:
    return HawseError([Finding(code, Severity.ERROR, Where(file, line, column, path), message, fix)])


def _decode(name: str, text: bytes) -> _File:
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - the loader is the safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        what = f"is no YAML: {error.problem or error.context}"
        raise _error("HW502", name, what, "mend the file, or export it again", line=line, column=column) from None
    except Exception as error:  # PyYAML's constructors raise whatever an odd date, number or tag makes Python raise
        raise _error("HW502", name, f"is no YAML: {error}", "mend the file, or export it again") from None
    if data is None:
        return _File()
    try:
        return msgspec.convert(data, _File)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        what = f"is no kubeconfig: {message}"
        raise _error("HW502", name, what, "see `kubectl config view`", path=where.strip("`")) from None


def _merge(into: Kubeconfig, name: str, file: _File) -> None:
    into.files.append(name)
    into.current_context = into.current_context or file.current_context or ""
    folder = Path(name).absolute().parent
    for cluster in file.clusters or ():
        if cluster.name not in into.clusters:
            cluster.cluster.certificate_authority = _absolute(folder, cluster.cluster.certificate_authority)
            into.clusters[cluster.name] = cluster.cluster
            into.origins[f"clusters/{cluster.name}"] = name
    for user in file.users or ():
        if user.name not in into.users:
            _absolute_user(folder, user.user)
            into.users[user.name] = user.user
            into.origins[f"users/{user.name}"] = name
    for context in file.contexts or ():
        if context.name not in into.contexts:
            into.contexts[context.name] = context.context
            into.origins[f"contexts/{context.name}"] = name


def _absolute(folder: Path, path: str | None) -> str | None:
    return str(folder / Path(path).expanduser()) if path else None


def _absolute_user(folder: Path, user: User) -> None:
    user.client_certificate = _absolute(folder, user.client_certificate)
    user.client_key = _absolute(folder, user.client_key)
    user.token_file = _absolute(folder, user.token_file)
    if user.exec and "/" in user.exec.command:
        user.exec.command = str(folder / user.exec.command)


V = TypeVar("V")


def resolve(config: Kubeconfig, context: str = "") -> Resolved:
    """The named context, or the current one, with its cluster and user. Raises HawseError naming what is missing."""
    files = ", ".join(config.files)
    name = context or config.current_context
    if not name:
        known = f"set current-context, or name one of {_names(config.contexts)}"
        raise _error("HW503", files, "has no current-context, and none is configured", known)
    chosen = _find(config.contexts, name, "context", files)
    where = config.origins[f"contexts/{name}"]
    cluster = _find(config.clusters, chosen.cluster, "cluster", files, f"context {name!r} in {where} refers to it")
    user = User()
    if chosen.user:
        user = _find(config.users, chosen.user, "user", files, f"context {name!r} in {where} refers to it")
    _check(cluster, config.origins[f"clusters/{chosen.cluster}"], chosen.cluster)
    file = config.origins.get(f"users/{chosen.user}", where)
    _check_user(user, file, chosen.user)
    return Resolved(name, chosen, cluster, user, file)


def _find(there: Mapping[str, V], name: str, kind: str, files: str, why: str = "") -> V:
    found = there.get(name)
    if found is not None:
        return found
    near = get_close_matches(name, there, 1)
    fix = f"did you mean {near[0]!r}?" if near else f"there are {_names(there)}"
    raise _error("HW503", files, f"has no {kind} {name!r}" + (f" ({why})" if why else ""), fix)


def _names(there: Iterable[str]) -> str:
    names = sorted(there)
    shown = ", ".join(repr(name) for name in names[:8])
    return (shown + (", …" if len(names) > 8 else "")) or "none"


def _check(cluster: Cluster, file: str, name: str) -> None:
    path = f"clusters[{name}].cluster"
    if not cluster.server:
        raise _error("HW502", file, "names no server", "set server: https://HOST:6443", path=path)
    if not cluster.server.startswith(("https://", "http://")):
        message = f"server {cluster.server!r} is no URL"
        raise _error("HW502", file, message, "start it with https:// or http://", path=path)
    if cluster.proxy_url:
        raise _error("HW505", file, "proxy-url is not supported", "remove it, or reach the server directly", path=path)


def _check_user(user: User, file: str, name: str) -> None:
    path = f"users[{name}].user"
    if user.auth_provider is not None:
        message = "auth-provider is not supported (Kubernetes removed it in 1.26)"
        raise _error("HW505", file, message, "use the provider's exec plugin", path=path)
    certificate = user.client_certificate_data or user.client_certificate
    key = user.client_key_data or user.client_key
    if bool(certificate) != bool(key):
        missing = "client-key" if certificate else "client-certificate"
        raise _error("HW502", file, f"a client certificate needs {missing}", f"add {missing}(-data)", path=path)
    if len(user.as_groups or ()) > 1:
        raise _error("HW505", file, "more than one as-groups is not supported", "leave one group", path=path)
    if user.exec and user.exec.interactive_mode == "Always":
        message = f"exec plugin {user.exec.command!r} wants a terminal (interactiveMode: Always)"
        raise _error("HW505", file, message, "use credentials that need nobody to type", path=path)
