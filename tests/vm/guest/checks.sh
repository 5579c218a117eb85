# The checks of the machine, one function each; a line `check NAME` runs one. A function fails by `fail WHY`.
# What it prints beside that is in the message when it fails.

checks=0

check() {
    checks=$((checks + 1))
    if (set -eu; "$1") >/tmp/out 2>&1; then
        echo "CHECK $1 ok"
    else
        echo "CHECK $1 FAIL $(tr '\n' '|' </tmp/out | tr -d '\r')"
    fi
}

fail() {
    echo "$*"
    exit 1
}

# same WHAT ACTUAL EXPECTED
same() {
    [ "$2" = "$3" ] || fail "$1: \"$2\", expected \"$3\""
}

hierarchy_is_v2_alone() {
    same 'cgroup mounts' "$(grep cgroup /proc/mounts | cut -d ' ' -f 2,3)" '/sys/fs/cgroup cgroup2'
    for controller in cpu cpuset memory pids; do
        grep -qw $controller /sys/fs/cgroup/cgroup.controllers || fail "no $controller"
    done
}
check hierarchy_is_v2_alone

binary_starts() {
    rhumb version
}
check binary_starts

echo "DONE $checks"
