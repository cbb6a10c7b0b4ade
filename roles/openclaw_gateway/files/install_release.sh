#!/bin/sh
# Installs one OpenClaw release into its own directory, from the lock file beside package.json.
#
# usage: install_release.sh RELEASE_DIR LOCK_DIR NODE_BIN_DIR SERVICE_USER
#   RELEASE_DIR   e.g. /opt/openclaw/releases/2026.9.6; its last part is the version that must come out
#   LOCK_DIR      holds package.json and package-lock.json
#   NODE_BIN_DIR  holds node and npm, e.g. /opt/nodejs/current/bin
#   SERVICE_USER  the unprivileged user that will run it
#
# Registry, proxy and CA come from the environment (npm_config_registry, HTTPS_PROXY, NODE_EXTRA_CA_CERTS).
# Prints "unchanged" or "installed". Killed at any point it can be run again: the tree grows in a directory
# of its own, and RELEASE_DIR/.complete-<sha256 of the lock file> is there only when everything succeeded.
set -eu

fail() {
    echo "openclaw release: $*" >&2
    exit 1
}

[ "$#" -eq 4 ] || fail "usage: $0 RELEASE_DIR LOCK_DIR NODE_BIN_DIR SERVICE_USER"
release_dir=$1 lock_dir=$2 node_bin_dir=$3 service_user=$4
case $release_dir in /*/*) ;; *) fail "RELEASE_DIR must be an absolute path, got '$release_dir'" ;; esac

version=$(basename "$release_dir")
checksum=$(sha256sum "$lock_dir/package-lock.json" | cut -d ' ' -f 1)
marker=.complete-$checksum

# One at a time: whoever comes second waits, and finds the release.
exec 9<"$lock_dir"
flock 9
if [ -e "$release_dir/$marker" ]; then
    echo unchanged
    exit 0
fi

# npm's launcher finds node on PATH, and so do the install scripts.
PATH=$node_bin_dir:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

partial=$(dirname "$release_dir")/.$version.partial
previous=$(dirname "$release_dir")/.$version.previous
scratch=$(dirname "$release_dir")/.$version.scratch
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
umask 022
rm -rf "$partial" "$scratch"
mkdir -p "$partial" "$scratch"

# A deployment needs no download cache afterwards; whoever wants one says where (npm_config_cache).
npm_config_cache=${npm_config_cache:-$scratch/cache}
npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
export npm_config_cache npm_config_audit npm_config_fund npm_config_update_notifier

cp "$lock_dir/package.json" "$lock_dir/package-lock.json" "$partial/"
cd "$partial"

# Two steps, because npm 11 would run the install scripts of every package in the tree:
# first the files alone, then the scripts of the one package that needs them.
npm ci --ignore-scripts --omit=dev --no-progress >&2
npm rebuild openclaw --ignore-scripts=false --foreground-scripts >&2

package=$partial/node_modules/openclaw
[ ! -e "$package/.openclaw-lifecycle-pending" ] ||
    fail "the install scripts of openclaw did not finish (.openclaw-lifecycle-pending is still there); see npm's output above"

# As the service user and with nothing of root's: what counts is that this user can run it.
install -d -m 0700 -o "$service_user" "$scratch/home"
printed=$(cd / && setpriv --reuid "$service_user" --regid "$(id -g "$service_user")" --clear-groups --no-new-privs \
    env -i "HOME=$scratch/home" "PATH=$PATH" "$node_bin_dir/node" "$package/openclaw.mjs" --version) ||
    fail "'openclaw --version' failed for the user $service_user"
case $printed in
"OpenClaw $version" | "OpenClaw $version "*) ;;
*) fail "'openclaw --version' says '$printed', expected version $version: does the lock file pin another one?" ;;
esac

: >"$partial/$marker"
sync -f "$partial/$marker"
rm -rf "$previous"
[ ! -e "$release_dir" ] || mv -T "$release_dir" "$previous"
mv -T "$partial" "$release_dir"
rm -rf "$previous"
echo installed
