#!/bin/sh
# Run in the machine, in a delegated group: become what a container runtime starts, with namespaces of its own for
# mounts, processes and control groups, and its part of the tree at /sys/fs/cgroup.
# Usage: container.sh rw|ro COMMAND…
set -e
if [ "$1" != inside ]; then
  group=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
  mkdir "$group/runtime" "$group/container"
  echo 0 >"$group/runtime/cgroup.procs"
  echo +memory +pids +cpu >"$group/cgroup.subtree_control"
  exec unshare --mount --pid --fork --mount-proc "$0" inside "$group/container" "$@"
fi
if [ "$2" != cgroup ]; then
  echo 0 >"$2/cgroup.procs"
  shift 2
  exec unshare --cgroup "$0" inside cgroup "$@"
fi
umount /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
[ "$3" = rw ] || mount -o remount,bind,ro /sys/fs/cgroup
shift 3
exec "$@"
