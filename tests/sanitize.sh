#!/usr/bin/env bash
# The extension under AddressSanitizer and UBSan: built into a copy of the tree, met by the tests of what it does.
# bash tests/sanitize.sh [ARG...]; ARGs go to pytest. PYTHON names the interpreter, whose environment has what tests need.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
cc=${CC:-gcc}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

(cd "$root" && tar -cf - --exclude='*.so' --exclude=__pycache__ rankmux tests conftest.py pyproject.toml setup.py \
    README.md LICENSE MANIFEST.in) | tar -xf - -C "$copy"
cd "$copy"
flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1"
CC=$cc CFLAGS=$flags LDFLAGS=-fsanitize=address,undefined RANKMUX_EXTENSION=1 \
    "$python" setup.py -q build_ext --inplace >build.log 2>&1 || { cat build.log; exit 1; }

# The interpreter itself is not instrumented, so the runtimes come first; it leaks on purpose at its end, so leaks are not
# asked for. PYTHONMALLOC=malloc: each object is a block of its own, and reading past it is seen.
export LD_PRELOAD="$($cc -print-file-name=libasan.so):$($cc -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:log_path=$copy/report
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$copy/report
export PYTHONMALLOC=malloc RANKMUX_EXTENSION=1 HYPOTHESIS_PROFILE=${HYPOTHESIS_PROFILE:-dev}
for module in rankmux/_*.so; do
    grep -q __asan_report "$module" # it is what it should be
done
status=0 # -k: nothing of the pure twin was compiled
"$python" -m pytest -q -p no:cacheprovider tests/core/room tests/server/kernel tests/core/test_greeting.py tests/fuzz \
    -k "not pure" "$@" || status=$?
if ls report* >/dev/null 2>&1; then
    cat report*
    status=1
fi
exit "$status"
