"""``completion``: print the script that a shell needs to complete commands, options and values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete, split_arg_string

from ..options import COMPLETE, OneOf, make_command
from ..settings import Settings
from ..terminal import OK, tell_json

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} word cut='' response type value
    # Bash breaks words at colons, as in openai:gpt-4o, and replaces what is behind the last one only.
    word=${line##*[[:space:]]}
    [[ $word == -*=* ]] && word=${word#*=}
    [[ $word == *:* && $word != *[\\'\\"]* && $COMP_WORDBREAKS == *:* ]] && cut=${word%%"${word##*:}"}

    response=$(env COMP_LINE="$line" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    while IFS=',' read -r type value; do
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("${value#"$cut"}")
        fi
    done <<< "$response"
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completes by the line; a script of an earlier version gives its words."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is typed, and that."""
        line = os.environ.get("COMP_LINE")
        if line is None:
            return super().get_completion_args()
        words = split_arg_string(line)
        typed = words.pop() if words and not re.search(r"(?<!\\)\s$", line) else ""
        return words[1:], typed


class Zsh(ZshComplete):
    """Completes the value of ``--option=value``, too; zsh replaces the whole word."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return the words for what is typed."""
        return _with_option(incomplete, super().get_completions(args, incomplete))


class Fish(FishComplete):
    """Completes the value of ``--option=value``, too; fish replaces the whole word. A value may have commas."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return the words for what is typed."""
        return _with_option(incomplete, super().get_completions(args, incomplete))


def _with_option(typed: str, items: list[CompletionItem]) -> list[CompletionItem]:
    option, equals, _ = typed.partition("=")
    if not (equals and option.startswith("-")):
        return items
    return [CompletionItem(f"{option}={item.value}", item.type, item.help) for item in items]


SHELLS: Mapping[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


@make_command(
    "completion",
    examples=(
        "llmdispatcher completion bash >> ~/.bashrc",
        "llmdispatcher completion zsh >> ~/.zshrc",
        "llmdispatcher completion fish > ~/.config/fish/completions/llmdispatcher.fish",
    ),
)
@click.argument("shell", type=OneOf(list(SHELLS)), metavar="SHELL", help="bash, zsh or fish.")
def command(settings: Settings, shell: str) -> int:
    """Print the script that makes a shell complete commands, options and their values: models, vendors, aliases and so on."""
    script = SHELLS[shell](click.get_current_context().find_root().command, {}, "llmdispatcher", COMPLETE).source()
    if settings.json:
        tell_json({"shell": shell, "script": script})
    else:
        print(script)
    return OK
