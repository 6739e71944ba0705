#!/usr/bin/env bash
# Install the peers that the tests run against: registry, Redis, container engines, checkers of what is deployed.
# Does nothing where all are there. As root on Debian it installs what is missing, and starts no service.
set -euo pipefail

# Debian's own folders first: what counts is Debian's docker, not another client of that name.
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"

# program: Debian package. Debian 12 has its docker client in docker.io, and no docker-cli.
peers="
docker-registry: docker-registry
redis-server: redis-server
nginx: nginx-light
openssl: openssl
skopeo: skopeo
podman: podman
conmon: conmon
crun: crun
runc: runc
containerd: containerd
ctr: containerd
dockerd: docker.io
/usr/bin/docker: docker-cli
iptables: iptables
busybox: busybox-static
wrk: wrk
curl: curl
setpriv: util-linux
umount: mount
nsenter: util-linux
ip: iproute2
tc: iproute2
promtool: prometheus
systemd-analyze: systemd
umoci: umoci
strip: binutils
zsh: zsh
fish: fish
"

missing_programs=()
missing_packages=()

find_missing() {
    local program package
    missing_programs=()
    missing_packages=()
    while IFS=': ' read -r program package; do
        if [ -n "$program" ] && ! command -v "$program" >/dev/null; then
            missing_programs+=("$program")
            missing_packages+=("$package")
        fi
    done <<<"$peers"
}

give_up() {
    echo "$0: $1; missing: ${missing_programs[*]}" >&2
    exit 1
}

policy=/usr/sbin/policy-rc.d

# Packages start their services as they are installed, unless this script says no (invoke-rc.d(8): 101 forbids).
forbid_services() {
    trap allow_services EXIT
    if [ -e "$policy" ]; then
        mv "$policy" "$policy.before-peers"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

allow_services() {
    rm -f "$policy"
    if [ -e "$policy.before-peers" ]; then
        mv "$policy.before-peers" "$policy"
    fi
}

find_missing
if [ "${#missing_programs[@]}" -eq 0 ]; then
    exit 0
fi
if [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
    give_up "this is not Debian, install the peers by hand"
fi
if [ "$(id -u)" -ne 0 ]; then
    give_up "only root can install the peers"
fi

# What this release of Debian has of the missing packages.
known_packages() {
    printf '%s\n' "${missing_packages[@]}" | sort --unique | while read -r package; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            echo "$package"
        fi
    done
}

forbid_services
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet --quiet
mapfile -t packages < <(known_packages)
echo "Installing the peers that are missing: ${packages[*]}"
# Standard output has only dpkg's progress, a line for each package; errors are on the other.
apt-get install --quiet --quiet --yes --no-install-recommends "${packages[@]}" >/dev/null

find_missing
if [ "${#missing_programs[@]}" -gt 0 ]; then
    give_up "apt installed ${packages[*]}, and still"
fi
