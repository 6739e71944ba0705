#!/usr/bin/env bash
# Make the root file system that today's engines and tools run in: Debian's newest packages, whatever this machine
# has. It is made once, in a minute or two and 1 GB, and kept in /var/cache/twodfs-lab (or $TWODFS_LAB_CACHE); remove
# that directory to have it made of newer packages. As root on Debian; debootstrap is installed where it is missing,
# nothing else of this machine is changed. Prints where the root is; with --where it makes nothing.
#
# Who means to go without says so, as for every other peer: TWODFS_TEST_WITHOUT=todays-engines.
set -euo pipefail

if [[ ",${TWODFS_TEST_WITHOUT:-}," == *,todays-engines,* ]]; then
    exit 0
fi

here=$(cd "$(dirname "$0")" && pwd)
packages=$(sed 's/#.*//' "$here/todays-engines.txt" | tr -s '\n ' ' ')
cache=${TWODFS_LAB_CACHE:-/var/cache/twodfs-lab}
# Another list of packages is another root.
root=$cache/sid-$(printf '%s' "$packages" | sha256sum | cut -c 1-12)

# Its name is given to a root when all is in it: one that exists is complete.
if [ -d "$root" ] || [ "${1:-}" = --where ]; then
    echo "$root"
    exit 0
fi

give_up() {
    echo "$0: $1 (without today's engines: TWODFS_TEST_WITHOUT=todays-engines)" >&2
    exit 1
}

if [ "$(id -u)" -ne 0 ]; then
    give_up "only root can make the root file system of today's engines"
fi
if [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
    give_up "today's engines are installed with Debian's tools, and this is not Debian"
fi
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # two at a time would make it twice
if [ -d "$root" ]; then
    echo "$root"
    exit 0
fi

if ! command -v debootstrap >/dev/null || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    echo "Installing debootstrap" >&2
    apt-get update --quiet --quiet >&2
    apt-get install --quiet --quiet --yes --no-install-recommends debootstrap debian-archive-keyring >/dev/null
fi

# Where this machine itself gets Debian from, and through what; debootstrap's own choice where apt does not know yet.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
    sed -n 1p)
proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy)"
if [ -n "$proxy" ] && [ "$proxy" != DIRECT ]; then
    export http_proxy=${http_proxy:-$proxy}
fi

making=$root.making
log=$cache/log
rm -rf --one-file-system "$making" # of a run that was interrupted: nothing outlives it but its files
echo "Making a root of Debian's newest engines in $root: a minute or two, 1 GB; its log is $log" >&2

# In namespaces of their own: what packages mount or start ends with them, also when this script is killed.
# shellcheck disable=SC2016
if ! unshare --mount --pid --fork --kill-child -- bash -euc '
    debootstrap --variant=minbase --include=ca-certificates sid "$1" ${3:+"$3"}
    printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"
    chmod 755 "$1/usr/sbin/policy-rc.d"
    mount -t proc proc "$1/proc"
    chroot "$1" apt-get install --quiet --yes --no-install-recommends $2
    chroot "$1" apt-get clean
' making "$making" "$packages" "$mirror" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    give_up "that failed"
fi
rm -rf "$making"/var/lib/apt/lists/* "$making"/usr/share/doc
mkdir "$making/lab" # where a test run puts its files
sync -f "$making"
mv "$making" "$root"
echo "$root"
