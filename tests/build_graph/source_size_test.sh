#!/usr/bin/env bash
# No source file of more than 800 lines; says median and p90. Usage: source_size_test.sh FILE-OF-THE-CHECKOUT
set -euo pipefail
# The file is a link into the checkout: the sizes are those of all its files, also of packages made tomorrow.
root=$(dirname "$(readlink -f "$1")")
cd "$root"
sizes=$(mktemp)
trap 'rm -f "$sizes"' EXIT
find . \( -name '.?*' -o -name 'bazel-*' -o -name third_party \) -prune -o -type f \
  \( -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.proto' -o -name '*.py' -o -name '*.bzl' -o -name '*.sh' \) \
  -exec wc -l {} + | awk '$2 != "total"' | sort -n > "$sizes"
count=$(wc -l < "$sizes")
[ "$count" -gt 50 ] || { echo "only $count source files found below $root"; exit 1; }
at() { awk -v n=$(((count * $1 + 99) / 100)) 'NR == n { print $1 }' "$sizes"; }
echo "$count files, median $(at 50) lines (aim: at most 150), p90 $(at 90) (aim: at most 400)"
too_long=$(awk '$1 > 800' "$sizes")
if [ -n "$too_long" ]; then
  printf 'longer than 800 lines, split them:\n%s\n' "$too_long"
  exit 1
fi
