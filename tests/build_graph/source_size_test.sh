#!/usr/bin/env bash
# Source files: median at most 150 lines, p90 400, none above 800. Usage: source_size_test.sh FILE-OF-THE-CHECKOUT
set -euo pipefail
# The file is a link into the checkout: the sizes are those of all its files, also of packages made tomorrow.
root=$(dirname "$(readlink -f "$1")")
cd "$root"
sizes=$(mktemp) names=$(mktemp)
trap 'rm -f "$sizes" "$names"' EXIT
find . \( -name '.?*' -o -name 'bazel-*' -o -name third_party \) -prune -o -type f \
  \( -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.proto' -o -name '*.py' -o -name '*.bzl' -o -name '*.sh' -o -name BUILD \) \
  -print0 > "$names"
# Scripts have no extension: known by their first line.
find . \( -name '.?*' -a ! -name .ci -o -name 'bazel-*' -o -name third_party \) -prune -o -type f ! -name '*.*' -print0 |
  xargs -0 grep -lZ -m1 '^#!' >> "$names"
xargs -0 wc -l < "$names" | awk '$2 != "total"' | sort -n > "$sizes"
count=$(wc -l < "$sizes")
[ "$count" -gt 50 ] || { echo "only $count source files found below $root"; exit 1; }
at() { awk -v n=$(((count * $1 + 99) / 100)) 'NR == n { print $1 }' "$sizes"; }
failed=0
echo "$count files, median $(at 50) lines (at most 150), p90 $(at 90) (at most 400)"
if [ "$(at 50)" -gt 150 ] || [ "$(at 90)" -gt 400 ]; then
  echo 'the files have grown: split the longest'
  tail -n 20 "$sizes"
  failed=1
fi
too_long=$(awk '$1 > 800' "$sizes")
if [ -n "$too_long" ]; then
  printf 'longer than 800 lines, split them:\n%s\n' "$too_long"
  failed=1
fi
exit $failed
