#!/bin/sh
# Installs PostgreSQL, MariaDB, Redis and RabbitMQ from Debian's packages if they are missing.
exec "$(dirname "$0")/../support/install.sh" '/usr/lib/postgresql/*/bin/postgres=postgresql' \
  /usr/sbin/mariadbd=mariadb-server redis-server=redis-server /usr/lib/rabbitmq/bin/rabbitmq-server=rabbitmq-server
