#!/bin/sh
# Starts a container's program with its keys: each file in /run/secrets becomes a variable of the file's name.
# Open WebUI and the Pipelines server read keys from variables only, and those in docker-compose.yml are readable for
# everybody who may run `docker inspect`.
set -eu
for file in "${SECRETS_DIR:-/run/secrets}"/*; do
  [ -e "$file" ] || continue
  value=$(cat "$file")
  if [ -z "$value" ]; then
    echo "error: the secret $file is empty: deploy/make_secrets.sh writes keys" >&2
    exit 1
  fi
  export "${file##*/}=$value"
done
exec "$@"
