"""An `argparse` parser whose errors are the command's usage and one line, with the name that was probably meant."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from sctir_kaggle.kinds import nearest

DASHES = "-–—−"
"""What an option may begin with where an editor has replaced its hyphens."""


class Parser(argparse.ArgumentParser):
    """See the module. Its commands, added with `add_subparsers`, are parsers of this class too."""

    _typed: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse`; what was typed is kept for `error`."""
        self._typed = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print usage and error, and end the process with exit code 2."""
        usage = " ".join(self.format_usage().split())
        line = f"{self.prog}: {message}{self._swallowed(message)}; see {self.prog} --help"
        print(f"{usage}\n{' '.join(line.splitlines())}", file=sys.stderr)
        raise SystemExit(2)

    def unknown(self, arguments: list[str], others: Mapping[str, argparse.ArgumentParser]) -> NoReturn:
        """Refuse the arguments that `parse_known_args` left over; `others` are all commands by name.

        The default `elsewhere` of a command says, by option, what it has instead of an option of other commands.
        """
        first = next((word for word in arguments if word[:1] in DASHES), "").partition("=")[0]
        if first:
            instead: Mapping[str, str] = self.get_default("elsewhere") or {}
            meant = f"; {instead[first]}" if first in instead else _elsewhere(first, others)
            meant = meant or suggestion(first, self._option_string_actions)
        else:
            takes_file = "--problems" in self._option_string_actions
            meant = f"; for a file of problems say --problems {shlex.quote(arguments[0])}" if takes_file else ""
        self.error(f"unrecognized arguments: {' '.join(arguments)}{meant}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is no choice, as `argparse` does, with the choice that is most like it."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        kind = "command" if isinstance(action, argparse._SubParsersAction) else "choice"
        meant = nearest(str(value), known) or f"; choose one of {', '.join(known)}"
        if kind == "command":
            self.error(f"there is no command {str(value)!r}{meant}")
        raise argparse.ArgumentError(action, f"there is no {kind} {str(value)!r}{meant}")

    def _swallowed(self, message: str) -> str:
        """A hint where an argument is missing because an option of several words stood before it and took it."""
        if not message.startswith("the following arguments are required"):
            return ""
        greedy = [option for option, words in self._options_typed() if action_takes_several(option) and len(words) > 1]
        return (
            f" ({greedy[-1].option_strings[-1]} takes every word that follows it: put them before it)" if greedy else ""
        )

    def _options_typed(self) -> Iterator[tuple[argparse.Action, list[str]]]:
        """The options that were typed, each with the words up to the next one."""
        found: list[tuple[argparse.Action, list[str]]] = []
        for word in self._typed:
            if (action := self._option_string_actions.get(word)) is not None:
                found.append((action, []))
            elif found:
                found[-1][1].append(word)
        return iter(found)


def action_takes_several(action: argparse.Action) -> bool:
    """Whether the option takes all words up to the next option."""
    return action.nargs in ("+", "*")


def _elsewhere(option: str, others: Mapping[str, argparse.ArgumentParser]) -> str:
    """The end of an error message that names the commands with this very option; empty where none has it."""
    names = [name for name, parser in others.items() if option in parser._option_string_actions]
    return f"; {option} is an option of sctir {', '.join(names)}" if names else ""


def suggestion(typed: str, options: Iterable[str]) -> str:
    """The end of an error message with the option that was probably meant: other case, other dashes, a letter too many.

    >>> suggestion("—max_tokns", ["-n", "--max-tokens"]), suggestion("-N", ["-n", "--max-tokens"])
    ('; did you mean --max-tokens?', '; did you mean -n?')
    """
    by_name = {option.lstrip("-").lower(): option for option in options}
    name = typed.lstrip(DASHES).replace("_", "-").lower()
    if len(name) == 1:
        return f"; did you mean {by_name[name]}?" if name in by_name else ""
    names = [each for each in by_name if len(each) > 1]
    return nearest(name, names, shown=by_name.__getitem__)
