#!/usr/bin/env bash
# Runs the tests on every supported Python that is installed, in a virtual environment for each version.
#   scripts/test_versions.sh [FOLDER [ARGUMENTS OF pytest]]     FOLDER keeps the environments; default: a temporary folder
#   VERSIONS="3.12 3.13" scripts/test_versions.sh
# Exit status: 0 if the tests pass on all versions found, 1 if not, 2 if no version is found.
set -uo pipefail
cd "$(dirname "$0")/.."

read -ra versions <<< "${VERSIONS:-3.11 3.12 3.13}"
if [ $# -gt 0 ]; then
    mkdir -p "$1" && folder=$(cd "$1" && pwd) || exit 2
    shift
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi

# The interpreter of a version on the path, or one that pyenv keeps; one without venv does not count.
interpreter() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$candidate" -c "import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

status=0
results=()
for version in "${versions[@]}"; do
    if ! python=$(interpreter "$version"); then
        results+=("$version: not installed")
        continue
    fi
    environment="$folder/python$version"
    echo "== Python $version ($python), environment $environment"
    if [ ! -x "$environment/bin/python" ] && ! "$python" -m venv "$environment"; then
        results+=("$version: no virtual environment"); status=1; continue
    fi
    if ! "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test]'; then
        results+=("$version: installation failed"); status=1; continue
    fi
    export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
    if PATH="$environment/bin:$PATH" "$environment/bin/python" -m pytest -n "${TEST_PROCESSES:-2}" "$@"; then
        results+=("$version: passed")
    else
        results+=("$version: failed"); status=1
    fi
done

printf '\n%s\n' "Python versions:"
printf '  %s\n' "${results[@]}"
case "${results[*]}" in
    *passed* | *failed* | *"no virtual"*) exit "$status" ;;
    *) exit 2 ;;
esac
