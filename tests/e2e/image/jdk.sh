#!/bin/sh
# Makes the JDK layer's tree: what installing Debian's JDK 17 changes in the base tree.
# Usage: jdk.sh BASE UPPER WORK ROOT     (UPPER is the result; ROOT a mount point)
# Runs in a mount namespace of its own: `unshare --mount --propagation private jdk.sh ...`, so the
# mounts below end with it.
set -eu
base=$1 upper=$2 work=$3 root=$4
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
# Without these options a copied-up file would refer to the base tree's own inodes.
mount -t overlay overlay -o "lowerdir=$base,upperdir=$upper,workdir=$work,index=off,metacopy=off,redirect_dir=off" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
# The host's resolver, only while packages are fetched.
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
# java's post-installation script expects the directory that minbase leaves out.
mkdir -p "$root/usr/share/man/man1"
chroot "$root" apt-get -qq update
# jmods serve jlink alone, and are half the JDK.
chroot "$root" apt-get -qq -y --no-install-recommends -o "Dpkg::Options::=--path-exclude=/usr/lib/jvm/*/jmods/*" install openjdk-17-jdk-headless
find "$root/var/cache/apt" "$root/var/lib/apt/lists" "$root/var/log" -type f -delete
find "$root/var/cache/ldconfig" "$root/var/cache/debconf" -type f -delete
