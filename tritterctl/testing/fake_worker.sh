#!/bin/sh
# A worker for tests of `tritterctl local`: says that it is ready, then does nothing until it is ended.
while [ $# -gt 0 ]; do
  [ "$1" = --ready-file ] && ready=$2
  shift
done
echo "{\"address\": \"none\", \"pid\": $$}" > "$ready.tmp"
mv "$ready.tmp" "$ready"
exec sleep 600
