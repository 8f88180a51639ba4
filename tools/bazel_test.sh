#!/usr/bin/env bash
# bazel_test.sh [BAZEL TEST OPTION...]: builds and tests with Bazel, offline: `bazel build //...` and
# `bazel test //...` without the tests tagged slow (`--test_tag_filters=` runs them too).
# `python3` on PATH must have the project's dependencies: `make bazel` sees to it.
# Where there is no Bazel, installs Debian's; says so where it can't.
#
# Debian's Bazel (4.2) ships without the rule repositories that its own tools refer to. Stubs of
# them that forward to the native rules are made on the fly; newer Bazel does not need them.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT

install_bazel() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "Installing Debian's bazel-bootstrap"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y bazel-bootstrap; } \
    >"$scratch/apt.log" 2>&1
}

# stub REPOSITORY DIRECTORY RULE...: a repository whose DIRECTORY/defs.bzl names native rules.
stub() {
  local at=$scratch/$1/$2 rule
  mkdir -p "$at"
  echo "workspace(name = \"$1\")" >"$scratch/$1/WORKSPACE"
  touch "$scratch/$1/BUILD" "$at/BUILD"
  for rule in "${@:3}"; do
    echo "$rule = native.$rule"
  done >"$at/defs.bzl"
}

make_stubs() {
  stub rules_cc cc cc_binary cc_library cc_test cc_toolchain cc_toolchain_suite
  stub rules_java java java_import java_runtime java_toolchain
  stub remote_coverage_tools coverage
  for group in coverage_report_generator lcov_merger; do
    echo "filegroup(name = \"$group\", visibility = [\"//visibility:public\"])"
  done >"$scratch/remote_coverage_tools/BUILD"
}

# bazel_run COMMAND OPTION...
bazel_run() {
  bazel --batch --output_user_root="$scratch/output" "$1" "${options[@]}" "${@:2}" //...
}

if ! command -v bazel >/dev/null && ! install_bazel; then
  echo 'SKIPPED: Bazel did NOT run: it is not installed and could not be (Debian: bazel-bootstrap)'
  exit 0
fi

options=(--symlink_prefix=/ --color=no --curses=no --noshow_progress)
case $(bazel --version) in  # Debian's calls itself no_version
  'bazel no_version' | 'bazel 4.'*)
    make_stubs
    for repository in rules_cc rules_java remote_coverage_tools; do
      options+=("--override_repository=$repository=$scratch/$repository")
    done ;;
esac

bazel_run build
bazel_run test --test_tag_filters=-slow --build_tests_only --test_output=errors \
  --test_env=PYTHONSAFEPATH=1 --test_env=TF_CPP_MIN_LOG_LEVEL=2 "$@"
