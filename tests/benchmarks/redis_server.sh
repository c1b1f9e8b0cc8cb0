#!/bin/sh
# Debian's redis-server as a peer: on a unix socket alone, with nothing on disk,
# which is its fastest form.
#
#   redis_server.sh --listen unix:PATH --data_dir IGNORED
set -eu
[ "$1" = --listen ]
path=${2#unix:}
command -v redis-server >/dev/null || {
  echo "redis-server is not installed (deploy/apt-packages.txt, bench)" >&2
  exit 1
}
# The process goes on as Redis: its CPU time is measured by this number.
echo "listening on unix:$path"
exec redis-server --port 0 --unixsocket "$path" --save '' --appendonly no \
  --daemonize no >&2
