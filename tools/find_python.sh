#!/usr/bin/env bash
# find_python.sh 3.7 | 3.11+: prints a Python interpreter of that version (+: or newer).
# Prints nothing and returns 1 where there is none. A shim that only says no does not count.
set -u
version=${1%+}
if [ "$version" = "$1" ]; then relation='=='; else relation='>='; fi
test="import sys, venv; sys.exit(not sys.version_info[:2] $relation (${version/./, }))"
for candidate in "python$version" python3 python "$HOME"/.pyenv/versions/"$version"*/bin/python; do
  if "$candidate" -c "$test" >/dev/null 2>&1; then
    command -v "$candidate"
    exit 0
  fi
done
exit 1
