"""optikit completion SHELL: a script that completes verbs, options, names and job ids with TAB."""

from __future__ import annotations

import argparse

HELP = "print a completion script for a shell: bash, zsh or fish"

_BASH = r"""# TAB completes optikit: eval "$(optikit completion bash)" in ~/.bashrc
_optikit_completion() {
    local line current="${COMP_WORDS[COMP_CWORD]}" program="${COMP_WORDS[0]/#\~/$HOME}"
    local -a found
    COMPREPLY=()
    while IFS= read -r line; do
        case "$line" in
            :files | :folders)
                compopt -o filenames 2>/dev/null
                [[ "$line" == :files ]] && line=-f || line=-d
                mapfile -t found < <(compgen "$line" -- "$current")
                COMPREPLY+=("${found[@]}")
                ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <("$program" completion bash --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _optikit_completion optikit
"""
_ZSH = r"""#compdef optikit
# TAB completes optikit: eval "$(optikit completion zsh)" in ~/.zshrc, after compinit
_optikit() {
    local line value told program=${~words[1]}
    local -a described
    local -i files=0 folders=0
    while IFS= read -r line; do
        case "$line" in
            :files) files=1 ;;
            :folders) folders=1 ;;
            *)
                value=${${line%%$'\t'*}//:/\\:} told=${line#*$'\t'}
                described+=("$value${told:+:$told}")
                ;;
        esac
    done < <("$program" completion zsh --words "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#described )) && _describe optikit described
    (( files )) && _files
    (( folders )) && _files -/
    return 0
}
if [[ "${funcstack[1]}" == _optikit ]]; then
    _optikit "$@"
else
    compdef _optikit optikit
fi
"""
_FISH = r"""# TAB completes optikit: optikit completion fish | source, in ~/.config/fish/config.fish
function __optikit_completion
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (command $words[1] completion fish --words $words[2..-1] "$current" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$current"
            case ':folders'
                __fish_complete_directories "$current"
            case '*'
                printf '%s\n' $line
        end
    end
end
complete -c optikit -f -a '(__optikit_completion)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""Each asks ``optikit completion SHELL --words ...`` at every TAB."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="whose script is printed")
    parser.add_argument("--words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Print a script, or what the last of some words may become: VALUE, a tab, a line of help."""
    if args.words is None:
        print(SCRIPTS[args.shell], end="")
        return 0
    from optikit.cli import parser
    from optikit.cli._candidates import candidates

    for value, told in candidates(parser(), args.words):
        print(value if value.startswith(":") else f"{value}\t{told}")
    return 0
