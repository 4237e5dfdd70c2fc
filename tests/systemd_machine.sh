#!/bin/sh
# An overlay over the real machine whose process 1 is systemd, with nothing but what is started there.
# usage: systemd_machine.sh SCRATCH, below `unshare --mount --pid --fork --uts --ipc --cgroup`
set -e
scratch=$1
merged=$scratch/merged
floor=/
mount --make-rprivate /
if [ "$(stat --file-system --format=%T /)" != overlayfs ]; then
    # An overlay refuses layers that lie within each other, as all of them do in /: make / a file system of its own.
    floor=$scratch/floor
    mount -n -t tmpfs tmpfs "$floor"
    mkdir "$floor/nothing"
    mount -n -t overlay -o "lowerdir=/:$floor/nothing" overlay "$floor"
fi
mount -n -t overlay -o "lowerdir=$floor,upperdir=$scratch/upper,workdir=$scratch/work,volatile,index=off" overlay "$merged"
cd "$merged"
mount -n -t proc proc proc
mount -n -t sysfs sysfs sys
mount -n -t cgroup2 cgroup2 sys/fs/cgroup
mount -n --rbind /dev dev
mount -n -t tmpfs tmpfs dev/shm
mount -n -t tmpfs -o mode=755 tmpfs run
mkdir -p run/systemd/system run/lock run/before
printf '[Unit]\nDescription=Nothing but what is started\n' > run/systemd/system/stand-in.target
# What a machine does when it starts, such as looking for devices, is not wanted here; its journal is.
for unit in lib/systemd/system/*.target.wants/* etc/systemd/system/*.target.wants/*; do
    case ${unit##*/} in
    systemd-journald*) ;;
    *) ln -sf /dev/null "run/systemd/system/${unit##*/}" ;;
    esac
done
# A root of its own, not a chroot: systemd mounts what a service may see, and a chroot would be in its way.
pivot_root . run/before
exec env -i container=docker PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c '
    umount -l /run/before; cd /
    exec /lib/systemd/systemd --system --unit=stand-in.target --log-target=null --show-status=no'
