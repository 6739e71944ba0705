# Make a root file system of Debian, once per machine: sourced by the scripts that each say which, in
#   name     what TWODFS_TEST_WITHOUT calls it
#   called   what people call it
#   cost     what making it takes
#   root     its directory below $cache, named after all that it is made of
#   fill     what fills it, for bash -euc with $1, an empty place, and $2, where Debian is to be had from
# Prints where the root is; with --where it makes nothing. As root on Debian; debootstrap is installed where it is
# missing, nothing else of this machine is changed.
# shellcheck shell=bash

: "${name:?}" "${called:?}" "${cost:?}" "${cache:?}" "${root:?}" "${fill:?}"

# Its name is given to a root when all is in it: one that exists is complete.
if [ -d "$root" ] || [ "${1:-}" = --where ]; then
    echo "$root"
    exit 0
fi

give_up() {
    echo "$0: $1 (without $called: TWODFS_TEST_WITHOUT=$name)" >&2
    exit 1
}

if [ "$(id -u)" -ne 0 ]; then
    give_up "only root can make the root file system of $called"
fi
if [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
    give_up "it is made with Debian's tools, and this is not Debian"
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
echo "Making the root file system of $called in $root: $cost; its log is $log" >&2

# In namespaces of their own: what packages mount or start ends with them, also when this script is killed.
if ! unshare --mount --pid --fork --kill-child -- bash -euc "$fill" making "$making" "$mirror" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    give_up "that failed"
fi
mkdir "$making/lab" # where a test run puts its files
sync -f "$making"
mv "$making" "$root"
echo "$root"
