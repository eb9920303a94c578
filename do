#!/bin/sh
# Sets up what a command needs, when that is new or has changed, and runs it.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

usage() {
    cat <<'END'
./do install            set up the environment, and say how to use it
./do serve [FLAG...]    start the server (with its defaults: 127.0.0.1, port 7117)
./do client [FLAG...]   start a client
./do demo               a server and three clients in one go
./do test               run the tests side by side, without those marked slow
./do test --all         run all of them side by side; further ARGs go to pytest
./do test ARG...        run what the ARGs name, slow or not; they go to pytest
./do lint               ruff and mypy --strict
./do bench [ARG...]     run the benchmarks; ARGs go to pytest
./do docs               build the site
./do python [ARG...]    the environment's Python

Needs Python 3.11 or newer, and PyPI for the set-up. Works in the active virtual environment, else in .venv.
RANKMUX_EXTENSION=0 builds no extension, 1 builds it or fails; else it is built where there is a C compiler.
END
}

say() { printf './do: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Sets env and python: the active virtual environment, else .venv, made if need be.
enter_environment() {
    if [ -n "${VIRTUAL_ENV:-}" ]; then
        env=$VIRTUAL_ENV
        new_enough "$env/bin/python" ||
            die "the active virtual environment, $env, has no Python 3.11 or newer; leave it (deactivate) or use another"
    else
        env=$root/.venv
        new_enough "$env/bin/python" || make_environment
    fi
    python=$env/bin/python
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null 2>&1 ||
        die "$env has no pip, and $python -m ensurepip does not put it there (Debian, Ubuntu: apt install python3-venv)"
}

make_environment() {
    names='python3 python3.14 python3.13 python3.12 python3.11'
    incapable=
    for name in $names; do
        new_enough "$name" || continue
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            say "making $env with $(command -v "$name")"
            "$name" -m venv --clear "$env"
            return
        fi
        incapable=${incapable:-$name}
    done
    [ -z "$incapable" ] ||
        die "$incapable cannot make virtual environments: venv or ensurepip is missing (Debian, Ubuntu: apt install python3-venv)"
    die "no Python 3.11 or newer; looked for $names"
}

# What an installation depends on, and what it leaves in the tree: a change in any of it calls for a new one.
fingerprint() {
    {
        ls "$root"/rankmux/_*.so 2>/dev/null || :
        ls "$env"/lib/python*/site-packages/__editable__.rankmux-*.pth 2>/dev/null || : # gone after `pip install .`
        printf '%s\n' "$root" "${RANKMUX_EXTENSION:-auto}" "${CC:-}" "$(command -v "${CC:-cc}")"
        cat "$root/pyproject.toml" "$root/setup.py" "$root/rankmux/_framing.pyx"
        find "$root/rankmux" -name '*.pxi' -o -name '*.h' | sort | tr '\n' '\0' | xargs -0 cat
        grep '^__version__' "$root/rankmux/__init__.py"
    } | cksum
}

# Reads the output of pip, and says what it does. All of it is shown when it has failed.
report_steps() {
    output= installed=
    while IFS= read -r line; do
        output=$output$line$newline
        case $line in
        *'Installing build dependencies: started') say "1/4 fetching the tools that build it: setuptools and Cython" ;;
        *'Preparing editable metadata'*started) say "2/4 fetching the packages that it needs" ;;
        *'Building editable for rankmux'*started)
            if [ "${RANKMUX_EXTENSION:-auto}" = 0 ]; then
                say "3/4 building it, without the extension"
            else
                say "3/4 building it; compiling the extension takes half a minute"
            fi
            ;;
        'Installing collected packages'*) say "4/4 installing" ;;
        "$done_mark") installed=yes ;;
        esac
    done
    [ -n "$installed" ] || {
        printf '%s' "$output" >&2
        return 1
    }
}
newline='
'
done_mark='./do: pip has succeeded'

# ready EXTRAS [SUPERSET]: makes sure that rankmux[EXTRAS] is installed, editable; SUPERSET will do as well.
ready() {
    enter_environment
    stamp=$env/rankmux.stamp
    now=$(fingerprint)
    ! grep -qsxF -e "$now $1" -e "$now ${2:-$1}" "$stamp" || return 0
    say "installing this clone with the extras $1 into $env; packages come from PyPI"
    suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
    rm -f "$root"/rankmux/_*.c "$root"/rankmux/_*"$suffix" # an old one would outlive a failed build
    # Compat mode puts the clone itself on the path, where type checkers look, and where a folder of the same name
    # in the current one does not hide it.
    {
        "$python" -m pip install --disable-pip-version-check --no-color --progress-bar off \
            --config-settings editable_mode=compat -e "${root}[$1]" 2>&1 && echo "$done_mark"
    } | report_steps || die "pip has failed: see above"
    if [ "$("$python" -P -c 'import rankmux._twin; print(rankmux._twin.TWIN)')" = extension ]; then
        say "the compiled extension was built"
    elif [ "${RANKMUX_EXTENSION:-auto}" = 0 ]; then
        say "the pure Python twin runs, as RANKMUX_EXTENSION=0 asks"
    else
        say "the pure Python twin runs, which is slower: the extension needs a C compiler and Python.h (Debian, Ubuntu: apt install gcc python3-dev)"
    fi
    grep -qsF "$now " "$stamp" || : >"$stamp" # other extras, installed before, still count unless something changed
    printf '%s\n' "$(fingerprint) $1" >>"$stamp"
}

verb=${1:-help}
[ $# -eq 0 ] || shift
case $verb in
install | serve | client | demo) ready cli,admin,top dev ;;
test | lint | bench | python) ready dev ;;
docs) ready docs ;;
help | -h | --help)
    usage
    exit
    ;;
*)
    usage >&2
    die "no command '$verb'"
    ;;
esac

if [ "$verb" = install ]; then
    if [ -n "${VIRTUAL_ENV:-}" ]; then
        say "ready: rankmux-server, rankmux-client and rankmux-top are in $env/bin, the active environment"
    else
        say "ready: '. $env/bin/activate' puts rankmux-server, rankmux-client and rankmux-top on your path"
    fi
    exit
fi

case $verb in # these stay where they were called, so that paths among the flags mean what they say
serve) exec "$env/bin/rankmux-server" "$@" ;;
client) exec "$env/bin/rankmux-client" "$@" ;;
demo) exec "$python" -m rankmux demo "$@" ;;
python) exec "$python" "$@" ;;
esac

# Runs pytest on all cores. The tests mostly wait: two processes more than there are cores keep these busy. A file
# stays together, for what its tests share takes long to make.
side_by_side() {
    export PYTHONDONTWRITEBYTECODE= # hundreds of programs start: without bytecode, each would compile the package
    cores=$("$python" -c 'import os; print(getattr(os, "process_cpu_count", os.cpu_count)())')
    exec "$python" -m pytest -n $((cores + 2)) --dist loadfile --benchmark-disable "$@"
}

cd "$root"
case $verb in
test)
    case ${1:-} in
    '')
        say "leaving out the slow tests, and most random examples; ./do test --all has them too"
        export HYPOTHESIS_PROFILE="${HYPOTHESIS_PROFILE:-quick}"
        side_by_side -m 'not slow'
        ;;
    --all)
        shift
        side_by_side "$@"
        ;;
    *) exec "$python" -m pytest "$@" ;;
    esac
    ;;
bench) exec "$python" -m pytest --benchmark-only "$@" ;;
docs) exec "$env/bin/zensical" build --clean --strict "$@" ;;
lint)
    "$python" -m ruff check .
    "$python" -m ruff format --check .
    "$python" -m mypy --strict
    ;;
esac
