"""Fields that several of the kinds share. Go leaves out or writes `null` for what is not set, so all may be None."""

from collections.abc import Mapping

import msgspec

from hawse.allocator.select import LabelSelector, Requirement


class Fields(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A part of a specification. Fields that Hawse has no use for are skipped."""


class KeySelector(Fields, frozen=True):
    """A key of a Secret or ConfigMap in the monitor's namespace."""

    name: str = ""
    key: str = ""
    optional: bool | None = None


class SecretOrConfigMap(Fields, frozen=True):
    """One of the two."""

    secret: KeySelector | None = None
    config_map: KeySelector | None = None


class BasicAuth(Fields, frozen=True):
    """`basicAuth`."""

    username: KeySelector | None = None
    password: KeySelector | None = None


class Authorization(Fields, frozen=True):
    """`authorization`."""

    type: str | None = None
    credentials: KeySelector | None = None
    credentials_file: str | None = None


class TLSConfig(Fields, frozen=True):
    """`tlsConfig`."""

    ca: SecretOrConfigMap | None = None
    cert: SecretOrConfigMap | None = None
    key_secret: KeySelector | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    insecure_skip_verify: bool | None = None
    min_version: str | None = None
    max_version: str | None = None


class OAuth2(Fields, frozen=True):
    """`oauth2`."""

    client_id: SecretOrConfigMap | None = None
    client_secret: KeySelector | None = None
    token_url: str = ""
    scopes: tuple[str, ...] | None = None
    endpoint_params: Mapping[str, str] | None = None
    tls_config: TLSConfig | None = None
    proxy_url: str | None = None
    no_proxy: str | None = None
    proxy_from_environment: bool | None = None


class RelabelRule(Fields, frozen=True):
    """`relabelings[]` and `metricRelabelings[]`."""

    source_labels: tuple[str, ...] | None = None
    separator: str | None = None
    target_label: str | None = None
    regex: str | None = None
    modulus: int | None = None
    replacement: str | None = None
    action: str | None = None


class Http(Fields, frozen=True):
    """How a target is asked."""

    scheme: str | None = None
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    oauth2: OAuth2 | None = None
    tls_config: TLSConfig | None = None
    bearer_token_secret: KeySelector | None = None
    bearer_token_file: str | None = None
    proxy_url: str | None = None
    no_proxy: str | None = None
    proxy_from_environment: bool | None = None
    proxy_connect_header: Mapping[str, tuple[KeySelector, ...]] | None = None
    follow_redirects: bool | None = None


class Endpoint(Http, frozen=True):
    """`endpoints[]` of a ServiceMonitor and `podMetricsEndpoints[]` of a PodMonitor."""

    port: str | None = None
    port_number: int | None = None
    target_port: int | str | None = None
    path: str | None = None
    params: Mapping[str, tuple[str, ...]] | None = None
    interval: str | None = None
    scrape_timeout: str | None = None
    honor_labels: bool | None = None
    honor_timestamps: bool | None = None
    track_timestamps_staleness: bool | None = None
    filter_running: bool | None = None
    relabelings: tuple[RelabelRule, ...] | None = None
    metric_relabelings: tuple[RelabelRule, ...] | None = None


class AttachMetadata(Fields, frozen=True):
    """`attachMetadata`."""

    node: bool | None = None


class ScrapeLimits(Fields, frozen=True):
    """What all four kinds have beside their targets."""

    sample_limit: int | None = None
    target_limit: int | None = None
    label_limit: int | None = None
    label_name_length_limit: int | None = None
    label_value_length_limit: int | None = None
    body_size_limit: str | None = None
    native_histogram_bucket_limit: int | None = None
    native_histogram_min_bucket_factor: str | float | None = None
    scrape_classic_histograms: bool | None = None
    convert_classic_histograms_to_nhcb: bool | None = msgspec.field(name="convertClassicHistogramsToNHCB", default=None)
    scrape_protocols: tuple[str, ...] | None = None
    fallback_scrape_protocol: str | None = None
    scrape_class: str | None = None


class Selector(Fields, frozen=True):
    """metav1.LabelSelector, as tenants write it."""

    match_labels: Mapping[str, str] | None = None
    match_expressions: tuple["Expression", ...] | None = None

    def checked(self) -> LabelSelector:
        """The same, ready for use. Raises ValueError where a requirement makes no sense."""
        expressions = []
        for one in self.match_expressions or ():
            requirement = Requirement(one.key, one.operator, one.values or ())  # type: ignore[arg-type]
            for problem in requirement.problems():
                raise ValueError(f"selector.matchExpressions: {one.key}: {problem.message}")
            if one.operator not in {"In", "NotIn", "Exists", "DoesNotExist"}:
                raise ValueError(f"selector.matchExpressions: {one.key}: {one.operator!r} is no operator")
            expressions.append(requirement)
        return LabelSelector(match_labels=dict(self.match_labels or {}), match_expressions=tuple(expressions))


class Expression(Fields, frozen=True):
    """An entry of matchExpressions."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None
