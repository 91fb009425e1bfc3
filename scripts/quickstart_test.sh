#!/usr/bin/env bash
# Usage: quickstart_test.sh scripts/quickstart
# The quick start with fakes for everything that takes time: what it keeps, what it makes again, when it fails.
set -euo pipefail
work=${TEST_TMPDIR:?}/repo
mkdir -p "$work"/{scripts/setup,examples/shakespeare,bin} "$work"/bazel-bin/{tritterctl,inference}
cp -L "$1" "$(dirname "$1")/quickstart_report.py" "$work/scripts/"
echo 'name: shipped' > "$work/examples/shakespeare/run.yaml"
seq 2000 > "$work/examples/shakespeare/input.txt"
fake() { { echo '#!/usr/bin/env bash'; cat; } > "$work/$1"; chmod +x "$work/$1"; }
fake scripts/setup/setup <<< 'exit 0'
fake bin/bazel <<< "echo \"bazel \$1\" >> '$work/bazel.log'"
fake bazel-bin/tritterctl/tritterctl <<'EOS'
case $1 in
  curate) mkdir "$4" && touch "$4/manifest.json" && cp "$2" "${10}" ;;
  local) sed "s/BITS/${FAKE_BITS:-1.9}/" > "$6" <<< '{"last_evaluation": [{"source": "s", "weights": "averaged",
    "bits_per_byte": BITS}], "tokens_per_second": 1.0, "total_steps": 5, "artifacts": [{"path": "m.tpack"}]}' ;;
  generate) printf '<%s>' "${@: -2}" ;;
esac
EOS
fake bazel-bin/inference/tritter_inference <<'EOS'
trap 'exit 0' TERM
echo '{"address": "127.0.0.1:1"}' > "$8"
while :; do sleep 0.05; done
EOS
failures=0
# expect CODE TEXT [flags]: the quick start ends with the code and says the text.
expect() {
  local code=0 wanted=$1 text=$2 output
  shift 2
  output=$(PATH=$work/bin:$PATH "$work/scripts/quickstart" "$@" 2>&1) || code=$?
  if [ "$code" != "$wanted" ] || [[ $output != *"$text"* ]]; then
    printf 'exit code %s, expected %s with: %s\n%s\n' "$code" "$wanted" "$text" "$output"
    failures=1
  fi
}
run=$work/quickstart/run.yaml

expect 0 '1.90  this model'
expect 0 'the first time that takes minutes'
cmp "$run" "$work/examples/shakespeare/run.yaml" || failures=1
grep -q '^bazel shutdown' "$work/bazel.log" || { echo 'a Bazel server was left'; failures=1; }

# The shipped run must be good; a run of one's own is kept, and may be anything.
FAKE_BITS=2.5 expect 1 '2.50 bits per byte, expected at most 2.2'
echo 'name: mine' > "$run"
FAKE_BITS=2.5 expect 0 "your own quickstart/run.yaml is used"
[ "$(cat "$run")" = 'name: mine' ] || { echo 'run.yaml was overwritten'; failures=1; }

# Shards without their held-out text are made again.
rm "$work/quickstart/heldout.txt"
expect 0 'held-out bytes'

# A prompt that looks like a flag.
expect 0 '<--><-ROMEO>' --prompt -ROMEO

# A detour in the folder's name is not repeated.
expect 0 'files are in quickstart/:' --dir mine/../quickstart

# The server of an earlier build stays.
mkdir -p "$work/base/server" "$work/base/execroot/tritter/bazel-out"
ln -s "$work/base/execroot/tritter/bazel-out" "$work/bazel-out"
echo -n $$ > "$work/base/server/server.pid.txt"
rm "$work/bazel.log"
expect 0 'held-out bytes'
if grep -q shutdown "$work/bazel.log"; then echo 'a Bazel server that was there was ended'; failures=1; fi
exit $failures
