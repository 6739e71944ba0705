#!/usr/bin/env bash
# Make the root file system of an empty machine, with this machine's release of Debian: what debootstrap installs at
# the least, and nothing else. Packages that the documentation names lie in apt's cache, not installed, so that tests
# need not download them each time. Made once, in half a minute and 300 MB, and kept in /var/cache/twodfs-lab (or
# $TWODFS_LAB_CACHE). As root on Debian; debootstrap is installed where it is missing, nothing else of this machine is
# changed. Prints where the root is; with --where it makes nothing.
#
# Who means to go without says so, as for every other peer: TWODFS_TEST_WITHOUT=empty-debian.
set -euo pipefail

if [[ ",${TWODFS_TEST_WITHOUT:-}," == *,empty-debian,* ]]; then
    exit 0
fi

here=$(cd "$(dirname "$0")" && pwd)
export suite packages
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
packages="git make python3 python3-venv skopeo"
cache=${TWODFS_LAB_CACHE:-/var/cache/twodfs-lab}
# Another list of packages is another root.
root=$cache/empty-$suite-$(printf '%s' "$packages" | sha256sum | cut -c 1-12)
name=empty-debian called="an empty Debian" cost="half a minute, 300 MB"
# apt-get update is the newcomer's to say: lists of packages are not left behind.
# shellcheck disable=SC2016
fill='
    debootstrap --variant=minbase "$suite" "$1" ${2:+"$2"}
    mount -t proc proc "$1/proc"
    chroot "$1" apt-get update --quiet
    chroot "$1" apt-get install --quiet --yes --download-only $packages
    rm -rf "$1"/var/lib/apt/lists/*
'
. "$here/debian-root.sh"
