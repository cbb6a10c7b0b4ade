#!/usr/bin/env bash
# Get a Debian or Ubuntu machine ready for the demo or the tests: OS packages that are missing, then .venv.
#
#   tests/support/setup.sh [LOCK_FILE]
#
# Says which packages it installs. Takes well under a second when nothing is to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# podman with its network, the image builder and its keys, and the client side of SSH.
packages=(aardvark-dns ca-certificates crun debian-archive-keyring iptables mmdebstrap netavark openssh-client podman
    sudo util-linux)

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Print those of the given packages that are not installed.
missing() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

# Print the package that brings a Python which can make a venv, if none is here.
python_package() {
    local python
    for python in python3.14 python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
        "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    if apt-cache policy python3 | grep -qE 'Candidate: 3\.10\.'; then echo python3.11-venv; else echo python3-venv; fi
}

install_packages() {
    local wanted known package
    mapfile -t wanted < <(missing "${packages[@]}"; [[ -x .venv/bin/python ]] || python_package)
    ((${#wanted[@]})) || return 0
    command -v apt-get >/dev/null || { echo "setup: this needs apt-get (Debian or Ubuntu)" >&2; exit 1; }
    as_root apt-get update -qq
    # Older releases bring the network of podman in one package with podman itself.
    known=()
    for package in "${wanted[@]}"; do
        if apt-cache show "$package" >/dev/null 2>&1; then known+=("$package"); fi
    done
    ((${#known[@]})) || return 0
    echo "setup: installing OS packages: ${known[*]}" >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${known[@]}" >/dev/null
}

install_packages
exec ./setup "${1:-requirements.txt}"
