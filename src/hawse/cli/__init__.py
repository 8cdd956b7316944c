"""The command line.

A command is one file of this package: it has a click command called `command`, and a line in `COMMANDS`. Files are
imported when their command runs, so `hawse --help` costs next to nothing.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from hawse import __version__
from hawse.cli.output import colour, print_findings
from hawse.diagnostics import HawseError

# Name → what `hawse --help` says of it. The module is hawse.cli.<name>.
COMMANDS = {
    "run": "Run the pipelines of a configuration.",
    "up": "Run backend, enrichment and collector on this machine, and show what arrives.",
    "backend": "Run the embedded backend.",
    "validate": "Check a configuration, and say all that is wrong with it.",
    "config": "Show the configuration that results from all sources.",
    "graph": "Draw the pipelines of a configuration.",
    "needs": "List what a configuration needs: ports, peers, files, API access.",
    "targets": "Ask a target allocator what is scraped by whom, and why something is not.",
    "ledger": "Show where every record went that a process received.",
    "components": "List the components, or tell the settings of one.",
    "schema": "Print the JSON Schema of configuration files, for editors.",
}

CLEAN, FINDINGS, USAGE, COULD_NOT = 0, 1, 2, 3


def epilog(*examples: str) -> str:
    """What every command's help ends with. (To click, a backspace says: keep the lines as they are.)"""
    shown = "\n".join(f"  {example}" for example in examples)
    return f"""\b
Examples:
{shown}

Exit codes: 0 clean, 1 findings, 2 wrong usage, 3 could not check or run.

\b
Environment:
  HAWSE_CONFIG  configuration file where neither --config nor --role is given
  HAWSE_DEBUG   1: tracebacks of internal errors
  NO_COLOR      no colours, whatever the terminal"""


class Lazy(click.Group):
    """A group that imports a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, in the order of a user's day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"hawse.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command for a wrong one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from hawse.config.nearest import did_you_mean

            fix = did_you_mean(args[0], COMMANDS, what="commands")
            raise click.UsageError(f'there is no command "{args[0]}"; {fix}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=epilog("hawse up", "hawse run --config config.yaml"),
)
@click.version_option(__version__, "--version", message="hawse %(version)s")
def hawse() -> None:
    """Take logs, metrics, traces and events out of locked-down Kubernetes clusters."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; the entry point of the program. Never raises for a user's error."""
    try:
        code = hawse.main(args=arguments, prog_name="hawse", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as problem:
        problem.show()
        return USAGE
    except HawseError as problem:
        print_findings(problem.findings)
        return COULD_NOT
    except (click.Abort, KeyboardInterrupt):
        return 130  # as shells say of a program that SIGINT ended
    except BrokenPipeError:
        # `hawse graph | head`: the reader has enough. Python would complain at exit, when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLEAN
    except Exception as problem:
        if os.environ.get("HAWSE_DEBUG") == "1":
            raise
        text = f"internal error: {type(problem).__name__}: {problem}"
        click.echo(f"{text}; set HAWSE_DEBUG=1 for the traceback, and report it", err=True, color=colour(sys.stderr))
        return COULD_NOT
    return code if isinstance(code, int) else CLEAN
