"""`rankmux-client completion SHELL`: a completion script of all programs, generated from their parsers."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator, Sequence

from ..shared.parsers import subcommand_parser
from ..shared.wording import printed
from .pages import PROGRAM, PROGRAMS, Kind, Page, Parameter, pages

__all__ = ["SHELLS", "main", "parser"]

_EXAMPLES = """\
  . <(rankmux-client completion bash)                         # in ~/.bashrc
  rankmux-client completion zsh > ~/.zfunc/_rankmux-client    # with fpath+=~/.zfunc in front of compinit
  rankmux-client completion fish > ~/.config/fish/conf.d/rankmux.fish
"""


def parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = subcommand_parser(
        "completion",
        "Prints a completion script of rankmux-client, rankmux-server and rankmux-top for a shell.",
        _EXAMPLES,
        "  0  printed\n  1  standard output cannot be written\n  2  usage\n",
    )
    parser.add_argument("shell", choices=tuple(SHELLS), metavar="SHELL", help="bash, zsh or fish")
    return parser


def _bash(all_pages: list[Page]) -> Iterator[str]:
    subcommands = [page.subcommand for page in all_pages if page.subcommand]
    program, function = all_pages[0].program, _function(all_pages[0].program)
    yield f"# bash completion for {program}"
    yield f"{function}() {{"
    yield "    local IFS=$'\\n' current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} page= words= i"
    yield "    COMPREPLY=()"
    if subcommands:
        yield f"    case $COMP_CWORD:${{COMP_WORDS[1]}} in 1:*) ;; *:{'|*:'.join(subcommands)})"
        yield "        page=${COMP_WORDS[1]} ;;"
        yield "    esac"
    yield "    for ((i = 1; i < COMP_CWORD; i++)); do"
    yield '        if [ "${COMP_WORDS[i]}" = -- ]; then  # the rest is a command line of a program'
    yield '            if ((i == COMP_CWORD - 1)); then COMPREPLY=($(compgen -c -- "$current"))'
    yield '            else COMPREPLY=($(compgen -f -- "$current")); fi'
    yield "            return"
    yield "        fi"
    yield "    done"
    yield "    case $page:$before in"
    for page in all_pages:
        for flag in page.flags:
            if flag.kind is not Kind.NONE:
                names = "|".join(f"{page.subcommand}:{name}" for name in flag.flags)
                yield f"    {names}) {_bash_action(flag)}; return ;;"
    yield "    esac"
    yield "    case $page in"
    for page in all_pages:
        offered = [name for flag in page.flags for name in flag.flags]
        offered += [word for positional in page.positionals for word in positional.words]
        if not page.subcommand:
            offered += subcommands
        yield f"    {page.subcommand or chr(39) * 2}) words={shlex.quote(chr(10).join(offered))} ;;"
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$current"))'
    yield "}"
    yield f"complete -o filenames -F {function} {program}"


def _function(program: str) -> str:
    """The name of a function for the completion of `program`."""
    return "_" + program.replace("-", "_")


def _bash_action(flag: Parameter) -> str:
    match flag.kind:
        case Kind.WORD:
            return f'COMPREPLY=($(compgen -W {shlex.quote(chr(10).join(flag.words))} -- "$current"))'
        case Kind.FILE:
            return 'COMPREPLY=($(compgen -f -- "$current"))'
        case Kind.COMMAND:
            return 'COMPREPLY=($(compgen -c -- "$current"))'
        case _:
            return ":"


def _zsh(all_pages: list[Page]) -> Iterator[str]:
    subcommands = [page for page in all_pages if page.subcommand]
    program, function = all_pages[0].program, _function(all_pages[0].program)
    if program == PROGRAM:  # it is the file's name, and stands for all of them
        yield f"#compdef {' '.join(PROGRAMS)}"
    yield f"{function}() {{"
    yield "    local -a subcommands=("
    for page in subcommands:
        yield f"        {shlex.quote(f'{page.subcommand}:{page.brief}')}"
    yield "    )"
    yield "    case $CURRENT:$words[2] in"
    yield "    2:*) ;;"
    for page in subcommands:
        yield f"    *:{page.subcommand})"
        yield "        shift words"
        yield "        (( CURRENT-- ))"
        yield from _zsh_arguments(page)
        yield "        return ;;"
    yield "    esac"
    if subcommands:
        yield "    (( CURRENT == 2 )) && _describe -t subcommands subcommand subcommands"
    yield from _zsh_arguments(all_pages[0])
    yield "}"
    if program == PROGRAMS[-1]:
        yield f'if [ "$funcstack[1]" = _{PROGRAM} ]; then _${{service//-/_}} "$@"'
        yield f"else {'; '.join(f'compdef {_function(name)} {name}' for name in PROGRAMS)}; fi"


def _zsh_arguments(page: Page) -> Iterator[str]:
    yield "        _arguments -s -S \\"
    for flag in page.flags:
        for name in flag.flags:
            others = " ".join(flag.flags)
            front = "*" if flag.repeated else f"({others})"
            value = "" if flag.kind is Kind.NONE else f":{flag.metavar.replace(':', '')}:{_zsh_action(flag)}"
            yield f"            {shlex.quote(f'{front}{name}[{_zsh_text(flag.brief)}]{value}')} \\"
    for positional in page.positionals:
        if positional.kind is Kind.COMMAND:
            yield f"            {shlex.quote(f'*::{positional.metavar}:_normal')} \\"
        else:
            front = "*" if positional.repeated else ""
            yield f"            {shlex.quote(f'{front}:{positional.metavar}:{_zsh_action(positional)}')} \\"
    yield "            && return"


def _zsh_text(text: str) -> str:
    return "".join(f"\\{c}" if c in "[]\\:" else c for c in text)


def _zsh_action(parameter: Parameter) -> str:
    match parameter.kind:
        case Kind.WORD:
            return f"({' '.join(parameter.words)})"
        case Kind.FILE:
            return "_files"
        case Kind.COMMAND:
            return "_command_names -e"
        case _:
            return " "


def _fish(all_pages: list[Page]) -> Iterator[str]:
    subcommands = [page for page in all_pages if page.subcommand]
    names = " ".join(page.subcommand for page in subcommands)
    program = all_pages[0].program
    yield f"# fish completion for {program}"
    yield f"complete -c {program} -f"
    for page in subcommands:
        yield (
            f"complete -c {program} -n 'not __fish_seen_subcommand_from {names}' -a {page.subcommand}"
            f" -d {_fish_text(page.brief)}"
        )
    for page in all_pages:
        condition = "true"
        if page.subcommand:
            condition = f"__fish_seen_subcommand_from {page.subcommand}"
        elif names:
            condition = f"not __fish_seen_subcommand_from {names}"
        front = f"complete -c {program} -n '{condition}'"
        for flag in page.flags:
            spelled = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.flags
            )
            yield f"{front} {spelled}{_fish_action(flag)} -d {_fish_text(flag.brief)}"
        for positional in page.positionals:
            if positional.kind is Kind.WORD:
                yield f"{front} -a {_fish_text(' '.join(positional.words))}"
            elif positional.kind is Kind.COMMAND:
                valued = " ".join(
                    name for flag in page.flags if flag.kind is not Kind.NONE for name in flag.flags
                )
                # skip two words, and our flags with their values; the dash ends the options of fish
                yield f"{front} -a '(__fish_complete_subcommand --fcs-skip=2 - {valued})'"


def _fish_action(flag: Parameter) -> str:
    match flag.kind:
        case Kind.NONE:
            return ""
        case Kind.WORD:
            return f" -x -a {_fish_text(' '.join(flag.words))}"
        case Kind.FILE:
            return " -r -F"
        case Kind.COMMAND:
            return " -x -a '(__fish_complete_command)'"
        case _:
            return " -x"


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[list[Page]], Iterator[str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""The generator of each shell's script."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the completion script; the exit code."""
    arguments = parser().parse_args(argv)
    scripts = (SHELLS[arguments.shell](pages(program)) for program in PROGRAMS)
    return printed("".join(f"{line}\n" for script in scripts for line in script))
