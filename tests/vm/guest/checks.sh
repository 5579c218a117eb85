# The checks of the machine, one function each; the line `check NAME` after it runs it. A function fails by `fail WHY`,
# or by a command that fails; what it prints is in the message then. Containers carry the name of their check.

checks=0

check() {
    checks=$((checks + 1))
    # Not within `if`: that would switch `set -e` off inside.
    (set -eux; "$1") >/tmp/out 2>&1
    code=$?
    echo "TIME $(cut -d ' ' -f 1 /proc/uptime) $1"
    if [ $code = 0 ]; then
        echo "CHECK $1 ok"
    else
        echo "CHECK $1 FAIL $(tail -n 12 /tmp/out | tail -c 800 | tr '\n' '|' | tr -d '\r')"
    fi
    for id in $(rhumb ps -aq); do
        rhumb rm -f "$id" >/dev/null 2>&1 || echo "TROUBLE removing what $1 left"
    done
}

fail() {
    echo "$*"
    exit 1
}

# same WHAT ACTUAL EXPECTED
same() {
    [ "$2" = "$3" ] || fail "$1: \"$2\", expected \"$3\""
}

# The exit code of a command.
code_of() {
    code=0
    "$@" || code=$?
}

# The cgroup of a container.
cgroup() {
    id=$(rhumb ps -aq --no-trunc --filter "name=$1")
    [ ${#id} = 64 ] || fail "no container $1"
    echo "/sys/fs/cgroup/rhumb/$id"
}

# fact CONTAINER KEY: a value of its inspect.
fact() {
    rhumb inspect "$1" | sed -n "s/^ *\"$2\": \"\?\([^\",]*\).*/\1/p" | head -n 1
}

# eventually COMMAND…
eventually() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        if "$@"; then
            return
        fi
        sleep 0.5
    done
    fail "never: $*"
}

hierarchy_is_v2_alone() {
    same 'cgroup mounts' "$(grep cgroup /proc/mounts | cut -d ' ' -f 2,3)" '/sys/fs/cgroup cgroup2'
    for controller in cpu cpuset memory pids; do
        grep -qw $controller /sys/fs/cgroup/cgroup.controllers || fail "no $controller"
    done
}
check hierarchy_is_v2_alone

engine_knows_the_hierarchy() {
    rhumb version
    rhumb info >/tmp/info
    grep -q 'Cgroup version: v\?2$' /tmp/info || fail "$(cat /tmp/info)"
}
check engine_knows_the_hierarchy

image_is_imported() {
    mkdir -p /tmp/base/bin /tmp/base/tmp /tmp/base/etc
    cp /bin/busybox /tmp/base/bin
    # The names become links to /bin/busybox, which is where it is in the image as well.
    /bin/busybox --install -s /tmp/base/bin
    cp /etc/passwd /etc/group /tmp/base/etc
    tar -cf /tmp/base.tar -C /tmp/base .
    rhumb import /tmp/base.tar base:1
}
check image_is_imported

run_exec_and_stop() {
    same output "$(rhumb run --rm base:1 echo hello)" hello
    code_of rhumb run --rm base:1 sh -c 'exit 7'
    same 'exit code' $code 7
    rhumb run -d --name run_exec_and_stop base:1 sh -c 'trap "exit 3" TERM; while :; do sleep 0.1; done'
    same 'exec' "$(rhumb exec run_exec_and_stop cat /proc/1/comm)" sh
    rhumb stop run_exec_and_stop
    same 'exit code' "$(rhumb wait run_exec_and_stop)" 3
}
check run_exec_and_stop

exec_joins_the_cgroup() {
    rhumb run -d --name exec_joins_the_cgroup base:1 sleep 1000
    rhumb exec -d exec_joins_the_cgroup sleep 2000
    dir=$(cgroup exec_joins_the_cgroup)
    eventually sh -c "[ \$(wc -l <$dir/cgroup.procs) = 2 ]"
}
check exec_joins_the_cgroup

memory_limit_is_written() {
    rhumb run -d --name memory_limit_is_written -m 32m --memory-reservation 16m base:1 sleep 1000
    dir=$(cgroup memory_limit_is_written)
    same memory.max "$(cat "$dir/memory.max")" 33554432
    same memory.low "$(cat "$dir/memory.low")" 16777216
    # Docker's default: as much swap as memory.
    same memory.swap.max "$(cat "$dir/memory.swap.max")" 33554432
}
check memory_limit_is_written

memory_limit_kills() {
    code_of rhumb run --name memory_limit_kills -m 16m base:1 sh -c 'tail /dev/zero'
    same 'exit code' $code 137
    same OOMKilled "$(fact memory_limit_kills OOMKilled)" true
    rhumb run -d --name innocent -m 16m base:1 sleep 1000
    rhumb kill innocent
    same 'exit code' "$(rhumb wait innocent)" 137
    same OOMKilled "$(fact innocent OOMKilled)" false
}
check memory_limit_kills

pids_limit_holds() {
    rhumb run -d --name pids_limit_holds --pids-limit 6 base:1 sleep 1000
    dir=$(cgroup pids_limit_holds)
    same pids.max "$(cat "$dir/pids.max")" 6
    code_of rhumb exec pids_limit_holds sh -c 'for _ in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done' 2>/tmp/said
    grep -q "can't fork" /tmp/said || fail "$code: $(cat /tmp/said)"
    grep -q '^max [1-9]' "$dir/pids.events"
    [ "$(cat "$dir/pids.current")" -le 6 ] || fail "$(cat "$dir/pids.current") processes"
}
check pids_limit_holds

cpu_limits_are_written() {
    rhumb run -d --name cpu_limits_are_written --cpus 0.5 --cpu-shares 512 --cpuset-cpus 1 base:1 sh -c 'while :; do :; done'
    dir=$(cgroup cpu_limits_are_written)
    same cpu.max "$(cat "$dir/cpu.max")" '50000 100000'
    same cpu.weight "$(cat "$dir/cpu.weight")" 20
    same cpuset.cpus.effective "$(cat "$dir/cpuset.cpus.effective")" 1
    same nproc "$(rhumb exec cpu_limits_are_written nproc)" 1
    eventually grep -q '^nr_throttled [1-9]' "$dir/cpu.stat"
}
check cpu_limits_are_written

a_set_of_no_processors_is_refused() {
    code_of rhumb run --rm --cpuset-cpus 4000 base:1 true 2>/tmp/said
    same 'exit code' $code 125
    grep -q 4000 /tmp/said || fail "$(cat /tmp/said)"
    [ -z "$(find /sys/fs/cgroup/rhumb -mindepth 1 -type d 2>/dev/null)" ] || fail 'a cgroup is left'
}
check a_set_of_no_processors_is_refused

pause_freezes() {
    rhumb run -d --name pause_freezes base:1 sh -c 'while :; do echo x >>/count; sleep 0.05; done'
    dir=$(cgroup pause_freezes)
    rhumb pause pause_freezes
    grep -qx 'frozen 1' "$dir/cgroup.events"
    same status "$(fact pause_freezes Status)" paused
    rhumb unpause pause_freezes
    grep -qx 'frozen 0' "$dir/cgroup.events"
    # A paused container can be removed as well.
    rhumb pause pause_freezes
    rhumb rm -f pause_freezes
    [ ! -e "$dir" ] || fail 'the cgroup is left'
}
check pause_freezes

a_container_sees_only_its_own_cgroup() {
    rhumb run --rm -m 32m base:1 sh -c '
        cat /proc/self/cgroup
        cat /sys/fs/cgroup/memory.max
        grep " /sys/fs/cgroup " /proc/mounts | cut -d " " -f 3,4 | cut -d , -f 1
        mkdir /sys/fs/cgroup/x 2>/dev/null && echo made
        echo max >/sys/fs/cgroup/memory.max && echo written
        :' >/tmp/seen
    printf '0::/\n33554432\ncgroup2 ro\n' | cmp - /tmp/seen || fail "$(cat /tmp/seen)"
}
check a_container_sees_only_its_own_cgroup

a_container_cannot_open_devices() {
    # Docker's rules: nodes may be made, but not opened. The disk is one of the machine's.
    node="mknod /disk b $(cut -d : -f 1 /sys/block/nvme0n1/dev) $(cut -d : -f 2 /sys/block/nvme0n1/dev)"
    look='head -c 1 /disk >/dev/null && echo open'
    code_of rhumb run --rm base:1 sh -c "$node && ls -l /disk && $look" 2>&1
    same 'exit code' $code 1
    rhumb run --rm base:1 sh -c "$node; $look; :" >/tmp/said 2>&1
    grep -q 'Operation not permitted' /tmp/said || fail "$(cat /tmp/said)"
    rhumb run -d --name a_container_cannot_open_devices base:1 sh -c "$node; sleep 1000"
    eventually rhumb exec a_container_cannot_open_devices test -b /disk
    code_of rhumb exec a_container_cannot_open_devices sh -c "$look"
    same 'exit code of exec' $code 1
    same 'what is allowed' "$(rhumb run --rm base:1 sh -c 'head -c 3 /dev/zero | wc -c')" 3
    same 'privileged' "$(rhumb run --rm --privileged base:1 sh -c "$node; $look")" open
}
check a_container_cannot_open_devices

removal_leaves_nothing() {
    rhumb run -d --name removal_leaves_nothing base:1 sh -c 'sleep 1000 & sleep 1000'
    dir=$(cgroup removal_leaves_nothing)
    [ -d "$dir" ] || fail 'no cgroup'
    rhumb rm -f removal_leaves_nothing
    [ ! -e "$dir" ] || fail 'the cgroup is left'
    same 'sleepers' "$(pidof sleep || true)" ''
}
check removal_leaves_nothing

a_killed_monitor_leaves_nothing() {
    rhumb run -d --name a_killed_monitor_leaves_nothing base:1 sh -c 'sleep 1000 & sleep 1000'
    dir=$(cgroup a_killed_monitor_leaves_nothing)
    monitor=$(grep -l '\[monitor\]' /proc/[0-9]*/cmdline | cut -d / -f 3 | grep -v self)
    kill -9 "$monitor"
    status() {
        [ "$(fact a_killed_monitor_leaves_nothing Status)" = dead ]
    }
    eventually status
    rhumb rm -f a_killed_monitor_leaves_nothing
    [ ! -e "$dir" ] || fail 'the cgroup is left'
    same 'sleepers' "$(pidof sleep || true)" ''
    same 'overlays' "$(grep -c overlay /proc/mounts || true)" 0
}
check a_killed_monitor_leaves_nothing

upper_folders_that_go_away_are_not_synced() {
    rhumb run -d --rm --name volatile base:1 sleep 1000
    rhumb exec volatile grep ' / overlay ' /proc/mounts >/tmp/seen
    grep -q volatile /tmp/seen || fail "$(cat /tmp/seen)"
    rhumb rm -f volatile
}
check upper_folders_that_go_away_are_not_synced

a_hundred_and_thirty_layers() {
    mkdir -p /tmp/many/layers /tmp/many/d
    cd /tmp/many
    # Few processes: each costs much on an emulated machine.
    layers='' files=''
    for n in $(seq 130); do
        echo "$n" >"d/file-$n"
        tar -cf "layers/$n.tar" -C d "file-$n"
        layers="$layers,\"layers/$n.tar\"" files="$files layers/$n.tar"
    done
    # The programs come in the first of them.
    cp /tmp/base.tar layers/1.tar
    ids=$(sha256sum $files | sed 's/^\([0-9a-f]*\) .*/,"sha256:\1"/' | tr -d '\n')
    ids=${ids#,}
    echo "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[$ids]}}" >config.json
    echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"many:1\"],\"Layers\":[${layers#,}]}]" >manifest.json
    tar -cf /tmp/many.tar config.json manifest.json layers
    rhumb load -i /tmp/many.tar
    same 'files' "$(rhumb run --rm many:1 sh -c 'cat /file-2 /file-77 /file-130; ls / | grep -c ^file-' | tr '\n' ' ')" '2 77 130 129 '
}
check a_hundred_and_thirty_layers

a_user_namespace() {
    rhumb run --rm --userns 100000:65536 base:1 sh -c 'id -u; cat /proc/self/uid_map; touch /tmp/mine; stat -c %u /tmp/mine' >/tmp/seen
    same 'seen' "$(tr -s ' \n' ' ' </tmp/seen)" '0 0 100000 65536 0 '
}
check a_user_namespace

. /guest/oci.sh

everything_is_clean_in_the_end() {
    rhumb system check
    left=$(find /run/rhumb/containers /var/lib/rhumb/containers /var/lib/rhumb/tmp -mindepth 1)
    same 'folders' "$left" ''
    left=$(find /sys/fs/cgroup/rhumb -type d 2>/dev/null || true)
    same 'cgroups' "$left" ''
}
check everything_is_clean_in_the_end

echo "DONE $checks"
