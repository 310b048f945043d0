#!/bin/sh
# Installs nginx and HAProxy from Debian's packages if they are missing, and this folder's npm packages.
set -eu
cd "$(dirname "$0")"

../support/install.sh nginx=nginx-light haproxy=haproxy
[ -d node_modules ] || npm install --no-audit --no-fund --silent
