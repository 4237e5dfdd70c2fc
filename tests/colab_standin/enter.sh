#!/bin/sh
# Lays layers over the real machine in a mount namespace of its own, prints the process id that the real
# machine knows this namespace by, and keeps it alive until standard input closes.
# usage: enter.sh LAYERS SCRATCH [SOURCE TARGET MODE]...    MODE: ro or rw
set -e
# mount -n: no note of the mounts in the real machine's /run.
layers=$1
scratch=$2
merged=$2/merged
floor=/
shift 2
# Before /proc is mounted anew: this one still counts as the real machine does.
read -r outside_pid _ </proc/self/stat
if [ "$(stat --file-system --format=%T /)" != overlayfs ]; then
    # An overlay refuses layers that lie within each other, as all of them do in /: make / a file system of its own.
    floor=$scratch/floor
    mount -n -t tmpfs tmpfs "$floor"
    mkdir "$floor/nothing"
    mount -n -t overlay -o "lowerdir=/:$floor/nothing" overlay "$floor"
fi
mount -n -t overlay -o "lowerdir=${layers:+$layers:}$floor,upperdir=$scratch/upper,workdir=$scratch/work,volatile,index=off" overlay "$merged"
mount -n -t proc proc "$merged/proc"
mount -n --rbind /sys "$merged/sys"
mount -n --rbind /dev "$merged/dev"
mount -n -t tmpfs tmpfs "$merged/dev/shm"
while [ $# -gt 0 ]; do
    if [ -d "$1" ]; then mkdir -p "$merged$2"; else mkdir -p "$merged${2%/*}"; touch "$merged$2"; fi
    mount -n --bind "$1" "$merged$2"
    [ "$3" = rw ] || mount -n -o remount,bind,ro "$merged$2"
    shift 3
done
# As process 1 it inherits orphans: ignored, they leave no zombies.
trap '' CHLD
# The id is given from inside: whoever reads it may enter at once, and must not enter the real machine.
exec chroot "$merged" sh -c 'echo "$1"; exec cat' sh "$outside_pid"
