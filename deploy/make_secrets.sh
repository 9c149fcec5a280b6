#!/bin/sh
# Writes the keys that docker-compose.yml needs into the folder secrets/. A key that is there already stays as it is.
#
#   sh deploy/make_secrets.sh
#
# Nobody else on this machine can enter the folder. Its files are readable for all, since each container reads them as
# a user of its own.
set -eu
cd "$(dirname "$0")/.."
umask 022
mkdir -p secrets
chmod 700 secrets
for name in webui_secret_key pipelines_api_key guard_api_key postgres_password; do
  [ -s "secrets/$name" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name"
done
# The chat model's own key; "none" if it wants none.
[ -s secrets/upstream_api_key ] || printf none >secrets/upstream_api_key
chmod 644 secrets/*
echo "secrets/ is complete. If your chat model needs a key, write it into secrets/upstream_api_key."
