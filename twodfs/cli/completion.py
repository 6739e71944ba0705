"""Print a script that completes command lines in bash, zsh or fish.

Commands, options, their choices, file names and, where a command wants an image that was built here, its name.
The shell in which you are completes at once:

    source <(PROGRAM completion bash)
    source <(PROGRAM completion zsh)
    PROGRAM completion fish | source

To have it in each new shell, write the script where the shell looks for it:

    PROGRAM completion bash > ~/.local/share/bash-completion/completions/PROGRAM
    PROGRAM completion zsh > "${fpath[1]}/_PROGRAM"
    PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish

Example:
    source <(twodfs completion bash)
"""

from __future__ import annotations

import textwrap
from argparse import Action, Namespace
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from twodfs.cli.parser import MANY, CommandParser, is_flag, one_of, takes_file

if TYPE_CHECKING:
    from twodfs.cli.program import Command, Group, Program

_WIDEST: Final = 70
"""Characters of an option's description."""

_Parsers = Mapping[str, CommandParser]
"""The parser of each command and group; under an empty name, the one for the words in front of a command."""


class Shell(StrEnum):
    """A shell that is told how to complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument("shell", **one_of(Shell), help="The shell that is to read the script.")


def run(arguments: Namespace) -> int:
    """Print the script."""
    program: Program = arguments.program
    names = dict.fromkeys(("", *program.table, *program.commands))
    parsers = {name: program.parser(name or None) for name in names}
    match arguments.shell:
        case Shell.BASH:
            lines = _bash(program, parsers)
        case Shell.ZSH:
            lines = _zsh(program, parsers)
        case _:
            lines = _fish(program, parsers)
    print("\n".join(lines))
    return 0


_BASH: Final = r"""
# How bash completes @PROGRAM@: source <(@PROGRAM@ completion bash)
_@NAME@() {
    local line=${COMP_LINE:0:COMP_POINT} command="" option="" ended="" kind="" place=0 at word
    local -a words
    # Not COMP_WORDS, which are cut at the colons of image names.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local last=$((${#words[@]} - 1))
    local current=${words[last]} value=${words[last]}
    for ((at = 1; at < last; at++)); do
        word=${words[at]}
        if [[ -z $ended && $word == -?* ]]; then
            [[ $word == -- ]] && ended=1
            case "$command $word" in
                @VALUED@) at=$((at + 1)) && option=$word ;;
            esac
        elif [[ -z $command ]]; then
            command=$word
        elif [[ @GROUPS@ == *" $command "* ]]; then
            command+=" $word"
        else
            place=$((place + 1))
        fi
    done
    if ((at == last)); then
        option=""
    fi
    if [[ -z $ended && -z $option && $current == --*=* ]]; then
        option=${current%%=*} value=${current#*=}
    elif [[ -z $ended && -z $option && $current == -* ]]; then
        option=-
    fi
    COMPREPLY=()
    case "$command $option" in
@OPTIONS@
    *" ")
        case "$command $place" in
@PLACES@
        esac
        ;;
    esac
    case $kind in
    "") ;;
    file)
        compopt -o filenames 2>/dev/null
        while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$value")
        ;;
    *)
        read -rd "" -a words <<<"$kind"  # compgen -W would run what stands in them
        for word in "${words[@]}"; do [[ $word == "$value"* ]] && COMPREPLY+=("$word"); done
        ;;
    esac
    # Bash puts an answer in place of the part behind the last colon alone.
    if [[ $value == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${value%:*}:"}")
    fi
}
complete -F _@NAME@ @PROGRAM@
"""


def _bash(program: Program, parsers: _Parsers) -> Iterator[str]:
    valued, options, places = [], [], []
    for command, parser in parsers.items():
        names: list[str] = []
        for one in _options(parser):
            names += one.option_strings
            if is_flag(one):
                continue
            patterns = [f'"{command} {name}"' for name in one.option_strings]
            valued += patterns
            options.append(f"    {'|'.join(patterns)}) {_bash_kind(program, parser, one)} ;;")
        options.append(f'    "{command} -") kind={_quoted(" ".join(names))} ;;')
        for at, one in enumerate(_places(parser)):
            pattern = f'"{command} "*' if one.nargs in MANY else f'"{command} {at}"'
            places.append(f"        {pattern}) {_bash_kind(program, parser, one)} ;;")
    places += [
        f'        "{group} 0") kind={_quoted(" ".join(table))} ;;'
        for group, table in {"": program.table, **_groups(program)}.items()
    ]
    yield _filled(
        _BASH,
        program,
        GROUPS=_quoted(f" {' '.join(_groups(program))} "),
        VALUED="|".join(valued),
        OPTIONS="\n".join(options),
        PLACES="\n".join(places),
    )


def _bash_kind(program: Program, parser: CommandParser, action: Action) -> str:
    if action.dest in parser.listed_by:
        listing = f"{program.name} {parser.listed_by[action.dest]} 2>/dev/null"
        return f'kind=$({listing} | while read -r word at; do echo "$word"; done)'
    if takes_file(action):
        return "kind=file"
    return f"kind={_quoted(' '.join(map(str, action.choices or ())))}"


_ZSH: Final = r"""
#compdef @PROGRAM@
# How zsh completes @PROGRAM@: source <(@PROGRAM@ completion zsh)
_@NAME@_list() {
    local -a listed=(${(f)"$(@PROGRAM@ $1 2>/dev/null)"})
    compadd -- ${listed%% *}
}
_@NAME@_any() { return 1 }  # a message in its place would keep zsh from completing an option there
@FUNCTIONS@
if [[ $funcstack[1] == _@NAME@ ]]; then
    _@NAME@ "$@"
else
    compdef _@NAME@ @PROGRAM@
fi
"""
_ZSH_TABLE: Final = r"""
_@TABLE@() {
    local curcontext=$curcontext state ret=1
    local -a line commands=(
@COMMANDS@
    )
    _arguments -C -s -S @FRONT@ '1: :->command' '*:: :->words' && ret=0
    case $state in
    command) _describe -t commands command commands && ret=0 ;;
    words)
        case $line[1] in
@LINES@
        esac
        ;;
    esac
    return ret
}
"""


def _zsh(program: Program, parsers: _Parsers) -> Iterator[str]:
    groups = _groups(program)
    functions = [_zsh_table(program, parsers, group, table) for group, table in groups.items()]
    functions.append(_zsh_table(program, parsers, "", program.table))
    yield _filled(_ZSH, program, FUNCTIONS="\n".join(functions))


def _zsh_table(
    program: Program, parsers: _Parsers, group: str, table: Mapping[str, Command] | Mapping[str, Command | Group]
) -> str:
    """Return the function that completes the words behind ``group``; behind the program where it is empty."""
    lines = []
    for name in table:
        if name in _groups(program):
            lines.append(f"        {name}) _{_zsh_name(program, name)} && ret=0 ;;")
        else:
            line = _zsh_line(program, parsers[f"{group} {name}".strip()])
            lines.append(f"        {name}) _arguments -s -S {line} && ret=0 ;;")
    commands = [f"        {_quoted(f'{name}:{_short(one.summary)}')}" for name, one in table.items()]
    return _filled(
        _ZSH_TABLE,
        program,
        TABLE=_zsh_name(program, group),
        COMMANDS="\n".join(commands),
        FRONT=_zsh_line(program, parsers[group]),
        LINES="\n".join(lines),
    )


def _zsh_name(program: Program, group: str) -> str:
    return f"{_name(program)}_{group}_group" if group else _name(program)


def _zsh_line(program: Program, parser: CommandParser) -> str:
    specs = []
    for one in _options(parser):
        text = _short(one.help or "").translate(str.maketrans("[]", "()")).replace(":", "\\:")
        for name in one.option_strings:
            if is_flag(one):
                specs.append(f"*{name}[{text}]")
            else:
                joined = "=" if name.startswith("--") else "+"
                specs.append(f"*{name}{joined}[{text}]:{_zsh_kind(program, parser, one)}")
    specs += [f"{'*' if one.nargs in MANY else ''}:{_zsh_kind(program, parser, one)}" for one in _places(parser)]
    return " ".join(map(_quoted, specs))


def _zsh_kind(program: Program, parser: CommandParser, action: Action) -> str:
    message = str(action.metavar).replace(":", "\\:")
    if action.dest in parser.listed_by:
        return f"{message}: _{_name(program)}_list {parser.listed_by[action.dest]}"
    if takes_file(action):
        return f"{message}:_files"
    return (
        f"{message}:({' '.join(map(str, action.choices))})" if action.choices else f"{message}: _{_name(program)}_any"
    )


def _fish(program: Program, parsers: _Parsers) -> Iterator[str]:
    yield f"# How fish completes {program.name}: {program.name} completion fish | source"
    begin = f"complete -c {program.name}"
    yield f"{begin} -f"
    in_front = f"__{_name(program)}_in_front"
    yield f"function {in_front}; not __fish_seen_subcommand_from {' '.join(program.table)}; end"
    for name, row in program.table.items():
        yield f"{begin} -n {in_front} -a {name} -d {_fish_quoted(_short(row.summary))}"
    for group, table in _groups(program).items():
        when = _quoted(f"{_fish_seen(group)}; and not {_fish_seen(' '.join(table))}")
        for name, command in table.items():
            yield f"{begin} -n {when} -a {name} -d {_fish_quoted(_short(command.summary))}"
    for name, parser in parsers.items():
        seen = "; and ".join(map(_fish_seen, name.split())) or in_front
        when = f"{begin} -n {_quoted(seen)}"
        for one in _options(parser):
            names = " ".join(f"-{'l' if one.startswith('--') else 's'} {one.lstrip('-')}" for one in one.option_strings)
            value = "" if is_flag(one) else f" -r{_fish_kind(program, parser, one)}"
            yield f"{when} {names}{value} -d {_fish_quoted(_short(one.help or ''))}"
        for one in _places(parser):
            yield f"{when}{_fish_kind(program, parser, one)}"


def _fish_seen(names: str) -> str:
    return f"__fish_seen_subcommand_from {names}"


def _fish_kind(program: Program, parser: CommandParser, action: Action) -> str:
    if action.dest in parser.listed_by:
        listing = f"({program.name} {parser.listed_by[action.dest]} 2>/dev/null | string replace -r ' .*' '')"
        return f" -f -a {_fish_quoted(listing)}"
    if takes_file(action):
        return " -F"
    return f" -f -a {_fish_quoted(' '.join(map(str, action.choices)))}" if action.choices else " -f"


def _groups(program: Program) -> dict[str, Mapping[str, Command]]:
    """Return the commands of each group of ``program``, by its name."""
    found: dict[str, dict[str, Command]] = {}
    for name, command in program.commands.items():
        group, space, word = name.rpartition(" ")
        if space:
            found.setdefault(group, {})[word] = command
    return dict(found)


def _options(parser: CommandParser) -> list[Action]:
    return [one for one in parser.declared if one.option_strings]


def _places(parser: CommandParser) -> list[Action]:
    return [one for one in parser.declared if not one.option_strings]


def _short(text: str) -> str:
    return textwrap.shorten(text.partition(". ")[0].removesuffix("."), _WIDEST, placeholder=" ...")


def _name(program: Program) -> str:
    return program.name.replace("-", "_")


def _quoted(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _filled(template: str, program: Program, **parts: str) -> str:
    for name, part in {"PROGRAM": program.name, "NAME": _name(program), **parts}.items():
        template = template.replace(f"@{name}@", part)
    return template.strip()
