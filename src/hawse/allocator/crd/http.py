"""How a target is asked: credentials, TLS, proxy. Everything here that reaches beyond the monitor is held against
its rights: files of the collector, Secrets, and hosts that are sent something.
"""

from typing import Any

from hawse.allocator.crd import Document, Rights
from hawse.allocator.crd.fields import Authorization, BasicAuth, Http, KeySelector, OAuth2, SecretOrConfigMap, TLSConfig
from hawse.allocator.safety import Refusal, host_of_url


def http(spec: Http, rights: Rights, namespace: str) -> Document:
    """The keys of Prometheus' HTTP client. Raises Refusal."""
    made: Document = {
        "scheme": spec.scheme and spec.scheme.lower(),
        "basic_auth": spec.basic_auth and _basic(spec.basic_auth, rights, namespace),
        "authorization": _authorization(spec, rights, namespace),
        "oauth2": spec.oauth2 and _oauth2(spec.oauth2, rights, namespace),
        "tls_config": spec.tls_config and tls(spec.tls_config, rights, namespace),
        **proxy(spec, rights, namespace),
        # A redirect leads wherever the target says: to other namespaces, or to the cloud's metadata.
        "follow_redirects": spec.follow_redirects is not False and rights.guard.allow.redirects,
    }
    return _without_none(made)


def notes(spec: Http, rights: Rights) -> tuple[str, ...]:
    """What `http` changed of what was written."""
    if spec.follow_redirects and not rights.guard.allow.redirects:
        return ("followRedirects has no effect (allow.redirects is off)",)
    return ()


def _basic(spec: BasicAuth, rights: Rights, namespace: str) -> Document:
    return {
        "username": _secret(spec.username, rights, namespace),
        "password": _secret(spec.password, rights, namespace),
    }


def _authorization(spec: Http, rights: Rights, namespace: str) -> Document | None:
    given: Authorization | None = spec.authorization
    if given is not None:
        made: Document = {"type": (given.type or "Bearer").strip()}
        if given.credentials is not None:
            made["credentials"] = _secret(given.credentials, rights, namespace)
        if given.credentials_file:
            made["credentials_file"] = _file("authorization.credentialsFile", given.credentials_file, rights)
        return made
    if spec.bearer_token_file:
        return {"credentials_file": _file("bearerTokenFile", spec.bearer_token_file, rights)}
    if spec.bearer_token_secret is not None and spec.bearer_token_secret.name:
        return {"credentials": _secret(spec.bearer_token_secret, rights, namespace)}
    return None


def _oauth2(spec: OAuth2, rights: Rights, namespace: str) -> Document:
    if why := rights.guard.why_not_host(spec.token_url, namespace):
        raise Refusal(f"oauth2.tokenUrl: {why}")
    return _without_none(
        {
            "client_id": _either(spec.client_id, rights, namespace),
            "client_secret": _secret(spec.client_secret, rights, namespace),
            "token_url": spec.token_url,
            "scopes": list(spec.scopes) if spec.scopes else None,
            "endpoint_params": dict(spec.endpoint_params) if spec.endpoint_params else None,
            "tls_config": spec.tls_config and tls(spec.tls_config, rights, namespace),
            **proxy(spec, rights, namespace),
        }
    )


def tls(spec: TLSConfig, rights: Rights, namespace: str) -> Document:
    """`tls_config`. Raises Refusal."""
    made: Document = {
        "ca": spec.ca and _either(spec.ca, rights, namespace),
        "cert": spec.cert and _either(spec.cert, rights, namespace),
        "key": spec.key_secret and _secret(spec.key_secret, rights, namespace),
        "server_name": spec.server_name,
        "insecure_skip_verify": spec.insecure_skip_verify,
        "min_version": spec.min_version,
        "max_version": spec.max_version,
    }
    for key, name in (("ca_file", "caFile"), ("cert_file", "certFile"), ("key_file", "keyFile")):
        if path := getattr(spec, key):
            made[key] = _file(f"tlsConfig.{name}", path, rights)
    return _without_none(made)


def proxy(spec: Http | OAuth2, rights: Rights, namespace: str) -> Document:
    """`proxy_url` and its companions: a proxy sees all that is sent, so it must be one of the monitor's own."""
    headers = getattr(spec, "proxy_connect_header", None) or {}
    if spec.proxy_url and (why := rights.guard.why_not_host(spec.proxy_url, namespace)):
        raise Refusal(f"proxyUrl: {why}")
    return {
        "proxy_url": spec.proxy_url or None,
        "no_proxy": spec.no_proxy or None,
        "proxy_from_environment": spec.proxy_from_environment,
        "proxy_connect_header": {
            name: [_secret(one, rights, namespace) for one in values] for name, values in headers.items()
        }
        or None,
    }


def host_is_fine(field: str, url: str, rights: Rights, namespace: str) -> None:
    """Raise Refusal where a monitor may not name this host."""
    if not host_of_url(url):
        raise Refusal(f"{field} is missing, or no host and port")
    if why := rights.guard.why_not_host(url, namespace):
        raise Refusal(f"{field}: {why}")


def _file(field: str, path: str, rights: Rights) -> str:
    if not rights.guard.allow.file_references:
        raise Refusal(
            f"{field} names a file of the collector, {path}, which could be its service account token "
            "(allow.file_references is off; refer to a Secret instead)"
        )
    return path


def _secret(selector: KeySelector | None, rights: Rights, namespace: str) -> str:
    if selector is None or not selector.name:
        return ""
    try:
        return rights.secret(namespace, selector.name, selector.key)
    except Refusal:
        if selector.optional:
            return ""
        raise


def _either(selector: SecretOrConfigMap | None, rights: Rights, namespace: str) -> str:
    if selector is not None and selector.config_map is not None:
        return rights.config_map(namespace, selector.config_map.name, selector.config_map.key)
    return _secret(selector.secret if selector else None, rights, namespace)


def _without_none(made: dict[str, Any]) -> Document:
    return {key: value for key, value in made.items() if value is not None}
