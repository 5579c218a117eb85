# The checks of `rhumb oci` on cgroup v2; checks.sh reads this file. A container's cgroup is /oci/NAME, and its bundle has
# the root of the image.

# bundle NAME COMMAND [RESOURCES] [NAMESPACES, MORE OF LINUX] [OPTIONS OF THE CGROUP MOUNT] [UID]: makes /tmp/bundles/NAME
bundle() {
    mkdir -p "/tmp/bundles/$1" /tmp/base/proc /tmp/base/sys/fs/cgroup /tmp/base/dev
    cat >"/tmp/bundles/$1/config.json" <<END
{"ociVersion": "1.2.0", "root": {"path": "/tmp/base"},
 "process": {"args": ["sh", "-c", "$2"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": ${6:-0}, "gid": 0},
             "capabilities": {"bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"]}},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [${5:-\"ro\"}]}],
 "linux": {"cgroupsPath": "/oci/$1", "resources": {${3:-}},
           "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "cgroup"}${4:-}]}}
END
}

# made NAME …as for bundle: a running container.
made() {
    bundle "$@"
    rhumb oci run -d -b "/tmp/bundles/$1" "$1" </dev/null >/tmp/said 2>&1 || fail "$(cat /tmp/said)"
    dir=/sys/fs/cgroup/oci/$1
}

# is FILE CONTENT: of the cgroup in $dir
is() {
    same "$1" "$(cat "$dir/$1")" "$2"
}

gone() {
    rhumb oci delete -f "$1"
    [ ! -e /sys/fs/cgroup/oci ] || fail "left: $(find /sys/fs/cgroup/oci -type d)"
}

# refused WORDS RESOURCES
refused() {
    bundle refused 'true' "$2"
    code_of rhumb oci run -b /tmp/bundles/refused refused </dev/null >/tmp/said 2>&1
    same "exit code of $2" $code 1
    grep -q "$1" /tmp/said || fail "$2: $(cat /tmp/said)"
    [ ! -e /sys/fs/cgroup/oci ] || fail "left of $2: $(find /sys/fs/cgroup/oci -type d)"
}

oci_limits_are_written() {
    disk=$(cat /sys/block/nvme0n1/dev)
    rate="\"major\": ${disk%:*}, \"minor\": ${disk#*:}, \"rate\""
    made limits 'sleep 1000' "
        \"memory\": {\"limit\": 67108864, \"swap\": 100663296, \"reservation\": 33554432, \"checkBeforeUpdate\": true,
                     \"disableOOMKiller\": false, \"useHierarchy\": true, \"kernel\": -1},
        \"cpu\": {\"shares\": 512, \"quota\": 50000, \"period\": 20000, \"burst\": 10000, \"cpus\": \"0-1\", \"mems\": \"0\"},
        \"pids\": {\"limit\": 17},
        \"blockIO\": {\"throttleReadBpsDevice\": [{$rate: 1048576}], \"throttleWriteIOPSDevice\": [{$rate: 77}]},
        \"unified\": {\"memory.high\": \"50331648\", \"pids.max\": \"18\"}"
    is memory.max 67108864
    is memory.swap.max 33554432
    is memory.low 33554432
    is memory.high 50331648
    is cpu.weight 20
    is cpu.max '50000 20000'
    is cpu.max.burst 10000
    is cpuset.cpus 0-1
    is cpuset.mems 0
    is pids.max 18
    is io.max "$disk rbps=1048576 wbps=max riops=max wiops=77"
    gone limits
}
check oci_limits_are_written

oci_idle_weights_and_huge_pages() {
    made others 'sleep 1000' '"cpu": {"idle": 1}'
    is cpu.idle 1
    gone others
    if [ -d /sys/kernel/mm/hugepages/hugepages-2048kB ]; then
        made pages 'sleep 1000' '"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]'
        is hugetlb.2MB.max 4194304
        is hugetlb.2MB.rsvd.max 4194304
        gone pages
    fi
    made probe 'sleep 1000'
    weight=$(ls "$dir" | grep -c -e '^io.weight$' -e '^io.bfq.weight$' || true)
    gone probe
    if [ "$weight" = 0 ]; then
        refused 'weight of block devices' '"blockIO": {"weight": 500}'
    else
        made weight 'sleep 1000' '"blockIO": {"weight": 500}'
        cat "$dir"/io.*weight | grep -qx -e 'default 500' -e 'default 4950' -e 'default 4951' || fail "$(cat "$dir"/io.*weight)"
        gone weight
    fi
}
check oci_idle_weights_and_huge_pages

oci_refuses_what_v2_lacks() {
    refused 'swap limit without memory limit' '"memory": {"swap": 67108864}'
    refused 'should be >= memory limit' '"memory": {"limit": 67108864, "swap": 1048576}'
    refused 'kernel memory' '"memory": {"kernel": 67108864}'
    refused 'switch for the out-of-memory killer' '"memory": {"disableOOMKiller": true}'
    refused 'real time' '"cpu": {"realtimeRuntime": 1000}'
    refused '4000' '"cpu": {"cpus": "4000"}'
    refused 'leaf weight' '"blockIO": {"leafWeight": 100}'
    refused 'network class' '"network": {"classID": 1}'
    refused 'huge pages of 3MB' '"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]'
    refused 'RDMA' '"rdma": {"mlx5_1": {"hcaHandles": 1}}'
    refused 'controller \\*"nothing\\*" not available' '"unified": {"nothing.max": "1"}'
    refused 'no slashes' '"unified": {"../memory.max": "1"}'
    refused 'memory.max' '"unified": {"memory.max": "many"}'
}
check oci_refuses_what_v2_lacks

oci_lives_and_leaves_nothing() {
    bundle life 'exit 9'
    code_of rhumb oci run -b /tmp/bundles/life life </dev/null
    same 'exit code' $code 9
    [ ! -e /sys/fs/cgroup/oci ] || fail 'a cgroup is left'
    bundle life 'sleep 1000 & sleep 1000'
    rhumb oci create -b /tmp/bundles/life life </dev/null >/dev/null 2>&1
    rhumb oci state life | grep -q '"status": "created"'
    rhumb oci start life
    dir=/sys/fs/cgroup/oci/life
    eventually sh -c "[ \$(wc -l <$dir/cgroup.procs) -ge 2 ]"
    # Cgroups that the container made itself go as well.
    mkdir -p $dir/a/b
    rhumb oci kill life KILL
    stopped() {
        rhumb oci state life | grep -q '"status": "stopped"'
    }
    eventually stopped
    gone life
    same 'sleepers' "$(pidof sleep || true)" ''
}
check oci_lives_and_leaves_nothing

oci_leaves_the_cgroups_of_others_alone() {
    mkdir -p /sys/fs/cgroup/theirs/there
    sleep 1000 &
    sleeper=$!
    echo $sleeper >/sys/fs/cgroup/theirs/there/cgroup.procs
    bundle others true
    sed -i 's:/oci/others:/theirs/there:' /tmp/bundles/others/config.json
    code_of rhumb oci run -b /tmp/bundles/others others </dev/null >/tmp/said 2>&1
    same 'exit code' $code 1
    grep -q 'cgroup is not empty' /tmp/said || fail "$(cat /tmp/said)"
    kill -0 $sleeper
    kill -9 $sleeper
    wait $sleeper || true
    eventually grep -qx 'populated 0' /sys/fs/cgroup/theirs/there/cgroup.events
    rhumb oci run -b /tmp/bundles/others others </dev/null
    [ ! -e /sys/fs/cgroup/theirs/there ] || fail 'the cgroup is left'
    # The parent was there before.
    rmdir /sys/fs/cgroup/theirs
}
check oci_leaves_the_cgroups_of_others_alone

oci_says_that_there_are_too_many_cgroups() {
    mkdir /sys/fs/cgroup/full
    echo 0 >/sys/fs/cgroup/full/cgroup.max.descendants
    bundle full true
    sed -i 's:/oci/full:/full/x:' /tmp/bundles/full/config.json
    code_of rhumb oci run -b /tmp/bundles/full full </dev/null >/tmp/said 2>&1
    same 'exit code' $code 1
    grep -q 'no further cgroup' /tmp/said || fail "$(cat /tmp/said)"
    rmdir /sys/fs/cgroup/full
}
check oci_says_that_there_are_too_many_cgroups

oci_gives_the_cgroup_to_its_user() {
    made delegated 'sleep 1000' '' ', {"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}], "maskedPaths": [' '"rw"' 7
    same 'owner of the folder' "$(stat -c %u "$dir")" 100007
    for file in cgroup.procs cgroup.subtree_control cgroup.threads; do
        same "owner of $file" "$(stat -c %u "$dir/$file")" 100007
    done
    same 'owner of memory.max' "$(stat -c %u "$dir/memory.max")" 0
    gone delegated
    made mine 'sleep 1000' '' '' '"ro"' 7
    same 'owner without a writable view' "$(stat -c %u "$dir")" 0
    gone mine
}
check oci_gives_the_cgroup_to_its_user

oci_device_rules_hold() {
    node="mknod /tmp/disk b $(tr : ' ' </sys/block/nvme0n1/dev)"
    deny='"devices": [{"allow": false}, {"allow": true, "type": "c", "access": "m"}, {"allow": true, "type": "b", "access": "m"}'
    bundle denied "$node; head -c 1 /tmp/disk" "$deny]"
    code_of rhumb oci run -b /tmp/bundles/denied denied </dev/null >/tmp/said 2>&1
    rm -f /tmp/base/tmp/disk
    same 'exit code' $code 1
    grep -q 'not permitted' /tmp/said || fail "$(cat /tmp/said)"
    # What every container has may be used without a word: the null device.
    bundle allowed "$node; head -c 1 /tmp/disk >/dev/null" "$deny, {\"allow\": true, \"type\": \"b\", \"access\": \"r\"}]"
    rhumb oci run -b /tmp/bundles/allowed allowed </dev/null
    rm -f /tmp/base/tmp/disk
}
check oci_device_rules_hold

oci_updates_while_it_runs() {
    made update 'while :; do :; done' '"memory": {"limit": 33554432, "swap": 67108864}, "devices": [{"allow": false}]'
    is memory.swap.max 33554432
    for numbers in '134217728 268435456 134217728' '16777216 16777216 0' '67108864 -1 max'; do
        set -- $numbers
        rhumb oci update --memory "$1" --memory-swap "$2" update
        is memory.max "$1"
        is memory.swap.max "$3"
    done
    rhumb oci update --cpu-quota 20000 --cpu-period 50000 --cpu-burst 1000 --cpu-share 1024 --cpuset-cpus 1 --pids-limit 9 update
    is cpu.max '20000 50000'
    is cpu.max.burst 1000
    is cpu.weight 39
    is cpuset.cpus.effective 1
    is pids.max 9
    rhumb oci update --pids-limit -1 --cpu-quota -1 update
    is pids.max max
    is cpu.max 'max 50000'
    rhumb oci update --cpu-idle 1 update
    is cpu.idle 1
    # The kernel would kill; the caller asked for a refusal.
    code_of sh -c 'echo "{\"memory\": {\"limit\": 4096, \"checkBeforeUpdate\": true}}" | rhumb oci update -r - update' >/tmp/said 2>&1
    same 'exit code' $code 1
    grep -q 'rejecting memory limit' /tmp/said || fail "$(cat /tmp/said)"
    is memory.max 67108864
    gone update
}
check oci_updates_while_it_runs

oci_replaces_device_rules() {
    node="mknod /tmp/disk b $(tr : ' ' </sys/block/nvme0n1/dev)"
    made rules "$node; sleep 1000" '"devices": [{"allow": false}]'
    eventually test -b /tmp/base/tmp/disk
    look() {
        rhumb oci exec rules sh -c 'head -c 1 /tmp/disk | wc -c' 2>/dev/null
    }
    same 'before' "$(look)" 0
    echo '{"devices": [{"allow": false}, {"allow": true, "type": "b", "access": "r"}]}' | rhumb oci update -r - rules
    same 'allowed' "$(look)" 1
    echo '{"devices": [{"allow": false}]}' | rhumb oci update -r - rules
    same 'after' "$(look)" 0
    gone rules
    rm -f /tmp/base/tmp/disk
}
check oci_replaces_device_rules

oci_counts_freezes_and_hears_of_oom() {
    # It must not ask for memory when the limit is reached, or it may be the next to be killed.
    made count 'while :; do :; done' '"memory": {"limit": 33554432}, "pids": {"limit": 20}, "cpu": {"quota": 50000}'
    rhumb oci events --stats count >/tmp/stats
    for word in '"type": *"stats"' '"limit": *33554432' '"limit": *20' '"throttling"' '"anon"'; do
        grep -q "$word" /tmp/stats || fail "no $word: $(cat /tmp/stats)"
    done
    rhumb oci pause count
    grep -qx 'frozen 1' "$dir/cgroup.events"
    rhumb oci state count | grep -q '"status": "paused"'
    rhumb oci resume count
    grep -qx 'frozen 0' "$dir/cgroup.events"
    rhumb oci events count >/tmp/events &
    sleep 1
    code_of rhumb oci exec count sh -c 'tail /dev/zero'
    same 'exit code' $code 137
    eventually grep -q '"type": *"oom"' /tmp/events
    # A paused container can be deleted.
    rhumb oci pause count
    gone count
    wait
}
check oci_counts_freezes_and_hears_of_oom


oci_execs_in_cgroups_below() {
    made below 'sleep 1000'
    mkdir "$dir/sub"
    rhumb oci exec -d --cgroup sub below sleep 2000 </dev/null >/dev/null 2>&1
    eventually sh -c "[ \$(wc -l <$dir/sub/cgroup.procs) = 1 ]"
    code_of rhumb oci exec --cgroup ../x below true </dev/null >/tmp/said 2>&1
    [ $code != 0 ] || fail 'left its cgroup'
    code_of rhumb oci exec --cgroup missing below true </dev/null >/tmp/said 2>&1
    [ $code != 0 ] || fail 'was in a cgroup that is not there'
    gone below
}
check oci_execs_in_cgroups_below
