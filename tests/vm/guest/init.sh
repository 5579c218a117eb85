#!/bin/sh
# The first program of the machine: makes a root that is a mount like any other (pivot_root(2) cannot leave the first
# one), with cgroup v2 alone, runs the checks there on the second serial line, and turns the machine off.
set -eu

if [ -d /new ]; then
    /bin/busybox mount -t tmpfs -o mode=755 tmpfs /new
    /bin/busybox cp -a /bin /guest /lib /new
    cd /new
    /bin/busybox mkdir dev etc proc root run sys tmp
    /bin/busybox cp -a /init init
    exec /bin/busybox switch_root /new /init
fi

/bin/busybox --install -s /bin
# The kernel here has no module for bridges.
export RHUMB_NETWORK=none RHUMB_PULL=never
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
echo 'root:x:0:' >/etc/group
ip link set lo up
insmod /lib/overlay.ko

# The state lies on ext4, as it does for most: tmpfs cannot do everything on all kernels (mapped ids came with 6.3).
mke2fs /dev/nvme0n1 >/dev/null
mkdir -p /var/lib/rhumb
mount -t ext4 /dev/nvme0n1 /var/lib/rhumb

sh /guest/checks.sh </dev/null >/dev/ttyS1 2>&1 || echo "the checks ended with $?" >/dev/ttyS1
poweroff -f
