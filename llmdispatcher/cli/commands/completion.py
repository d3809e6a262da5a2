"""``completion``: print the script that a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ..options import COMPLETE, make_command
from ..settings import Settings
from ..terminal import OK


@make_command(
    "completion",
    examples=(
        "llmdispatcher completion bash >> ~/.bashrc",
        "llmdispatcher completion zsh >> ~/.zshrc",
        "llmdispatcher completion fish > ~/.config/fish/completions/llmdispatcher.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), help="The shell.")
def command(settings: Settings, shell: str) -> int:
    """Print the script that makes a shell complete commands, options and their values."""
    kind = get_completion_class(shell)
    assert kind is not None
    print(kind(click.get_current_context().find_root().command, {}, "llmdispatcher", COMPLETE).source())
    return OK
