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
export packages
packages=$(sed 's/#.*//' "$here/todays-engines.txt" | tr -s '\n ' ' ')
cache=${TWODFS_LAB_CACHE:-/var/cache/twodfs-lab}
# Another list of packages is another root.
root=$cache/sid-$(printf '%s' "$packages" | sha256sum | cut -c 1-12)
name=todays-engines called="today's engines" cost="a minute or two, 1 GB"
# shellcheck disable=SC2016
fill='
    debootstrap --variant=minbase --include=ca-certificates sid "$1" ${2:+"$2"}
    printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"
    chmod 755 "$1/usr/sbin/policy-rc.d"
    mount -t proc proc "$1/proc"
    chroot "$1" apt-get install --quiet --yes --no-install-recommends $packages
    chroot "$1" apt-get clean
    rm -rf "$1"/var/lib/apt/lists/* "$1"/usr/share/doc
'
. "$here/debian-root.sh"
