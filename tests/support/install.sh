#!/bin/sh
# Installs Debian packages for programs that are missing, without starting their services:
#   install.sh nginx=nginx-light /usr/sbin/mariadbd=mariadb-server …     (a program, or a pattern of paths, and its package)
set -eu

missing=""
for pair in "$@"; do
  program=${pair%%=*}
  command -v "$program" >/dev/null || ls $program >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "tests: please install$missing; this script can do it only as root on a system with apt-get." >&2
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
