"""Options that mean the same in every command."""

import os
from collections.abc import Callable
from importlib.resources import files
from typing import Any, TypeVar

import click

from hawse.pipeline.check import Checked, check

F = TypeVar("F", bound=Callable[..., Any])


class Sources:
    """Where the user says the configuration is."""

    def __init__(self, configs: tuple[str, ...], role: str | None, overrides: tuple[str, ...]) -> None:
        self.names = [*([role_file(role)] if role else []), *configs]
        self.overrides = overrides
        if not self.names and (default := os.environ.get("HAWSE_CONFIG")):
            self.names = [default]
        if not self.names:
            raise click.UsageError(f"no configuration given; use --config FILE, or --role {' or '.join(roles())}")

    def check(self) -> Checked:
        """Load and check it, with the components that there are."""
        from hawse.registry import Registry

        return check(self.names, Registry, overrides=self.overrides)

    def __str__(self) -> str:
        return ", ".join(self.names)


def roles() -> list[str]:
    """Names of the bundled configurations."""
    found = files("hawse.roles").iterdir()
    return sorted(one.name.removesuffix(".yaml") for one in found if one.name.endswith(".yaml"))


def role_file(name: str) -> str:
    """The file of a bundled configuration; raises a usage error for one that there is not."""
    if name not in roles():
        from hawse.config.nearest import did_you_mean

        fix = did_you_mean(name, roles(), what="roles")
        raise click.BadParameter(f'there is no role "{name}"; {fix}', param_hint="--role")
    return str(files("hawse.roles") / f"{name}.yaml")


def configuration(function: F) -> F:
    """Give a command --config, --role and --set; it takes them as `configs`, `role`, `overrides`."""
    for option in (
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set one key (a.b.c=value) over all files. Repeatable.",
        ),
        click.option("--role", metavar="NAME", help="A bundled configuration; --config files go over it."),
        click.option(
            "-c",
            "--config",
            "configs",
            multiple=True,
            metavar="FILE",
            help="Configuration file; also yaml:TEXT and env:NAME. Repeatable: maps merge, later ones win.",
        ),
    ):
        function = option(function)
    return function


def output(*forms: str) -> Callable[[F], F]:
    """Give a command -o/--output with these forms, of which the first is the default."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="Form of the result.",
    )
