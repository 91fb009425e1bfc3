#!/usr/bin/env bash
# Usage: setup_test.sh scripts/setup/setup
# Set-up on a machine made of fakes: what it says when it cannot go on.
set -euo pipefail
work=${TEST_TMPDIR:?}
mkdir -p "$work/bin" "$work/repo/scripts"
cp -rL "$(dirname "$1")" "$work/repo/scripts/setup"
chmod -R u+w "$work/repo"
# The fake below stands for the system's Python.
sed -i 's|/usr/bin/python3|python3|' "$work/repo/scripts/setup/setup"
for tool in awk bash cat cut date df dirname env find grep head mkdir mktemp mv nproc readlink rm sed sha256sum sort tail tr wc; do
  ln -s "$(command -v "$tool")" "$work/bin/$tool"
done
fake() { { echo '#!/usr/bin/env bash'; cat; } > "$work/bin/$1"; chmod +x "$work/bin/$1"; }
failures=0
# expect CODE TEXT…: setup ends with the code and says every text.
expect() {
  local code=0 wanted=$1 text output
  shift
  output=$(PATH=$work/bin HOME=$work "$work/bin/bash" "$work/repo/scripts/setup/setup" 2>&1) || code=$?
  [ "$code" = "$wanted" ] || { echo "exit code $code, expected $wanted:"; echo "$output"; failures=1; }
  for text in "$@"; do
    case $output in *"$text"*) ;; *) echo "missing in the output: $text"; echo "$output"; failures=1 ;; esac
  done
}

# No root and no sudo.
fake apt-get </dev/null
fake id <<< 'echo 1000'
fake dpkg-query <<< 'case $* in *bazel-bootstrap*) exit 1 ;; esac; echo "install ok installed"'
expect 1 'need root to be installed: bazel-bootstrap' 'run scripts/setup/setup as root once' 'install sudo'

# The package sources cannot be reached: apt's own words are shown.
fake sudo <<< '"$@"'
fake apt-get <<< 'echo "Could not resolve deb.debian.org" >&2; exit 100'
expect 1 'Could not resolve deb.debian.org' 'is the network there?'

# All packages are there; pip fails in the middle, with a file left from an earlier run.
fake dpkg-query <<< 'echo "install ok installed"'
mkdir -p "$work/repo/.deps/wheels"
touch "$work"/repo/.deps/wheels/{a,b,c,d}.whl
fake python3 <<< 'echo "THESE PACKAGES DO NOT MATCH THE HASHES" >&2; exit 1'
expect 1 'DO NOT MATCH THE HASHES' 'pip ended with code 1'

# pip says nothing and fetches nothing.
fake python3 </dev/null
expect 1 'torch-2.' 'is not there'

# Everything works; the settings are those of the machine, and nothing happens the second time.
fake python3 <<'PYTHON'
case $* in
  *'pip download'*)
    while [ "$1" != -r ]; do shift; done
    sed -n 's/==\([^ ]*\) .*/ \1/p' "$2" | while read -r name version; do
      : > ".deps/wheels/${name//-/_}-$version-py3-none-any.whl"
    done ;;
  *unpack_wheels.py*) mkdir -p .deps/unpacked/torch ;;
esac
PYTHON
expect 0 'wrote .bazelrc.local' 'done in'
grep -q '^build --jobs=[1-9]' "$work/repo/.bazelrc.local" || { echo 'no jobs in .bazelrc.local'; failures=1; }
if grep -q '=.*#' "$work/repo/.bazelrc.local"; then echo 'a comment behind a setting'; failures=1; fi
expect 0 'everything is there'
exit $failures
