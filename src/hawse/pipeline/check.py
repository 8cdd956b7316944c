"""Sources → everything that can be said of a configuration without touching network or machine."""

import os
from collections.abc import Callable, Iterable, Mapping

from hawse.config.configuration import Configuration, Factories, decode, plugins
from hawse.config.load import load
from hawse.config.tree import Node, placed
from hawse.diagnostics import Finding, HawseError, Severity
from hawse.pipeline.checks import check as check_graph
from hawse.pipeline.graph import Graph, build

MakeFactories = Callable[[tuple[str, ...]], Factories]


class Checked:
    """The outcome of a check.

    `findings` are in the order of the documents. `graph` is None where there is an error among them. `root` is the
    merged document, as far as it could be read, `files` all files that were read for it.
    """

    def __init__(
        self,
        root: Node,
        configuration: Configuration,
        graph: Graph | None,
        findings: Iterable[Finding],
        files: Iterable[str],
    ) -> None:
        self.root = root
        self.configuration = configuration
        self.graph = graph
        self.findings = tuple(findings)
        self.files = tuple(dict.fromkeys(files))

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep the configuration from running."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def unreadable(self) -> bool:
        """Whether a source could not be read at all: then the findings are no verdict on the configuration."""
        return any(finding.code in {"HW010", "HW101"} for finding in self.findings)

    def required(self) -> Graph:
        """The graph; raises HawseError with all errors where there is none."""
        if self.graph is None:
            raise HawseError(self.errors)
        return self.graph


def check(
    sources: Iterable[str],
    make_factories: MakeFactories,
    *,
    overrides: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Checked:
    """Load, decode and check a configuration; never raises for what the user wrote.

    `sources` and `overrides` are those of `hawse.config.load.load`; `make_factories` is `hawse.registry.Registry`.
    """
    loaded = load(sources, overrides, os.environ if environ is None else environ)
    findings = loaded.findings
    try:
        factories = make_factories(plugins(loaded.root))
    except HawseError as missing:
        findings += missing.findings
        factories = make_factories(())
    # Of a document that could not be read in full nothing else can be said: all that is missing would be "wrong".
    broken = any(finding.code in {"HW101", "HW102"} for finding in findings)
    found: list[Finding] = []
    configuration = decode(loaded.root, factories, found)
    found += check_graph(configuration)
    findings += [] if broken else found
    findings = _sorted(placed(loaded.root, findings), loaded.files)
    failed = any(finding.severity is Severity.ERROR for finding in findings)
    graph = None if failed else build(configuration)
    return Checked(loaded.root, configuration, graph, findings, loaded.files)


def _sorted(findings: Iterable[Finding], files: list[str]) -> list[Finding]:
    """In the order of the documents; what has no place comes first."""
    unique = dict.fromkeys(findings)
    rank = {file: number for number, file in enumerate(files, 1)}
    return sorted(unique, key=lambda found: (rank.get(found.where.file, 0), found.where.line, found.where.column))
