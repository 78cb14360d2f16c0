#!/bin/sh
# Makes the base layer's tree: Debian's smallest bookworm, without what differs from run to run.
# Usage: base.sh TREE
set -eu
tree=$1
# The C locale: debootstrap's own messages, and no locale the new system does not have.
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
debootstrap --variant=minbase --include=ca-certificates bookworm "$tree" ${STORM_OCI_DEBIAN_MIRROR:+"$STORM_OCI_DEBIAN_MIRROR"}
# Packages and lists were only needed to install; logs and caches carry times.
find "$tree/var/cache/apt" "$tree/var/lib/apt/lists" "$tree/var/log" -type f -delete
find "$tree/var/cache/ldconfig" "$tree/var/cache/debconf" -type f -delete
rm -rf "$tree/debootstrap"
# A container gets its own of these.
: > "$tree/etc/machine-id"
: > "$tree/etc/hostname"
: > "$tree/etc/resolv.conf"
