#!/bin/sh
# Installs nginx and HAProxy from Debian's packages if they are missing, and this folder's npm packages.
set -eu
cd "$(dirname "$0")"

missing=""
command -v nginx >/dev/null || missing="$missing nginx-light"
command -v haproxy >/dev/null || missing="$missing haproxy"
if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "rolling: please install$missing; this script can do it only as root on a system with apt-get." >&2
    exit 2
  fi
  # Installing must not start the services: the tests run their own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi
[ -d node_modules ] || npm install --no-audit --no-fund --silent
