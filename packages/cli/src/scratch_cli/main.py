"""The command `scratch`: finds its sub-commands without importing them, and turns errors into one line and a code.

Exit codes: 0 done, 1 failed, 2 usage or config, 3 bad data, 4 missing or broken plugin, 5 corrupt checkpoint,
130 and 143 stopped by a signal. Any exception with an int attribute
`exit_code` is shown as one line and ends with that code; so packages need not import anything from here.
"""

from __future__ import annotations

import errno
import os
import pkgutil
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from scratch_cli.app import App, from_environment, screen_options
from scratch_cli.errors import UsageError

if TYPE_CHECKING:
    from scratch_cli.registry import Registry

OWN_COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("scratch_cli.commands.run:run", "Train a model: pick the parts, get a run directory and a report."),
    "generate": ("scratch_cli.commands.generate:generate", "Continue a prompt with the model of a run."),
    "eval": ("scratch_cli.commands.evaluate:evaluate", "Judge the model of a run on held-out data."),
    "rollouts": ("scratch_cli.commands.rollouts:rollouts", "Show what a run sampled, and what it got for it."),
    "ablate": ("scratch_cli.commands.ablate:ablate", "Compare options over several seeds, with intervals."),
    "plugins": ("scratch_cli.commands.plugins:plugins", "List the installed parts, and what is broken."),
    "describe": ("scratch_cli.commands.describe:describe", "Show a part's options, ready to paste."),
    "doctor": ("scratch_cli.commands.doctor:doctor", "Look at the environment, and prove what packages claim."),
    "check": ("scratch_cli.commands.check:check", "Run the contract kit on the parts of a package."),
}
"""Name -> where it lives, and its line in `scratch --help`."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and summary, and imports one only to call it."""

    def summaries(self, ctx: click.Context) -> dict[str, str]:
        """Every command that can be called, with its summary. An ambiguous name stands with its distribution."""
        summaries = {name: summary for name, (_, summary) in OWN_COMMANDS.items()}
        offered = _registry(ctx).offers("command")
        names = [command.name for command in offered]
        for command in offered:
            alone = command.name not in OWN_COMMANDS and names.count(command.name) == 1
            summaries[command.name if alone else command.qualified] = command.summary
        return summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        own = list(OWN_COMMANDS)
        return own + sorted(set(self.summaries(ctx)) - set(own))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in OWN_COMMANDS:
            command: Any = pkgutil.resolve_name(OWN_COMMANDS[cmd_name][0])
        else:
            command = _registry(ctx).find_offer("command", cmd_name).load()
        if not isinstance(command, click.Command):
            raise UsageError(f"command {cmd_name!r} is {type(command).__name__}, must be a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name.startswith("-") or name in OWN_COMMANDS:
            return super().resolve_command(ctx, args)
        try:
            return name, self.get_command(ctx, name), args[1:]
        except UsageError as error:
            from scratch_cli.registry import nearest

            known = self.list_commands(ctx)
            if "@" in name or any(entry.partition("@")[0] == name for entry in known):
                raise
            raise UsageError(
                f"there is no command {name!r}{nearest(name, known)}; there are {', '.join(known)}"
                f"{_registry(ctx).broken()}"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        summaries = self.summaries(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(name, summaries[name]) for name in self.list_commands(ctx)])
        broken = len(_registry(ctx).failures)
        if broken:
            formatter.write_paragraph()
            formatter.write_text(f"{broken} broken plugin{'s' * (broken > 1)}; see: scratch plugins")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        commands = [
            CompletionItem(name, help=summary)
            for name, summary in self.summaries(ctx).items()
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


def _registry(ctx: click.Context) -> Registry:
    return ctx.ensure_object(App).registry


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import importlib.metadata

        click.echo(f"scratch {importlib.metadata.version('scratch-cli')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: scratch run --tokenizer bpe --model gpt --trainer grpo",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
@screen_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A box of interchangeable language-model parts: tokenizers, models, samplers, trainers, adapters and tasks."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None, *, registry: Registry | None = None) -> int:
    """Run `scratch` with these arguments (those of the process, if None) and return the exit code.

    registry: the parts to offer; None looks at what is installed.
    """
    app = from_environment(registry)
    warnings.formatwarning = _warning
    try:
        code = cli.main(args=args, prog_name="scratch", obj=app, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        return _usage(error, app)
    except (KeyboardInterrupt, click.Abort) as error:
        click.echo("stopped", err=True)
        # click has wrapped what `run` raises for a signal, which knows its number: SIGTERM ends with 143.
        return int(getattr(error.__cause__, "exit_code", 130))
    except OSError as error:
        if error.errno == errno.EPIPE:
            return _reader_is_gone()
        return _failed(error, app)
    except Exception as error:
        return _failed(error, app)


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning for the user as one line; where a developer is meant, the place in the code too."""
    place = "" if issubclass(category, UserWarning) else f"{filename}:{lineno}: {category.__name__}: "
    return f"warning: {place}{_one_line(str(message))}\n"


def _usage(error: click.ClickException, app: App) -> int:
    """click's own complaint about the command line, in our one line."""
    if app.traceback:
        _print_traceback(error)
    context = getattr(error, "ctx", None)
    hint = f" (see: {context.command_path} --help)" if context is not None else ""
    click.echo(f"error: {_one_line(error.format_message())}{hint}", err=True)
    return error.exit_code


def _failed(error: Exception, app: App) -> int:
    """One line for an expected error; for any other one also how to see more."""
    if app.traceback:
        _print_traceback(error)
    code = getattr(error, "exit_code", None)
    if isinstance(code, int) and not isinstance(code, bool):
        click.echo(f"error: {_one_line(str(error)) or type(error).__name__}", err=True)
        return code
    hint = "" if app.traceback else "; to see where: the same command with --traceback"
    click.echo(f"error: unexpected {type(error).__name__}: {_one_line(str(error)) or 'no message'}{hint}", err=True)
    return 1


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _print_traceback(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error, file=sys.stderr)


def _reader_is_gone() -> int:
    """`scratch ... | head`: end quietly, with click's code for it, also when the interpreter flushes on its way out."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # standard output is no file, or closed
        pass
    return 1
