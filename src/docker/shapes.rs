//! What Docker's facts are in Go (moby 28, `api/types`): the fields of the structs in their order, under their names. A template
//! prints a missing text as nothing and a missing struct as `<nil>`, which JSON does not tell apart.

use serde_json::{Map, Value};

use crate::docker::template::Shape;
use crate::docker::template::Shape::{Bool, List, Map as Table, Number, Pointer, Struct, Text};

/// Whatever JSON says.
pub const ANY: Shape = Shape::Any;

const TEXTS: Shape = List(&Text);
const PAIRS: Shape = Table(&Text);
const SET: Shape = Table(&Struct(&[]));

const HEALTH: Shape = Struct(&[
    ("Status", Text),
    ("FailingStreak", Number),
    ("Log", List(&Pointer(&Struct(&[("Start", Text), ("End", Text), ("ExitCode", Number), ("Output", Text)])))),
]);

const STATE: Shape = Struct(&[
    ("Status", Text),
    ("Running", Bool),
    ("Paused", Bool),
    ("Restarting", Bool),
    ("OOMKilled", Bool),
    ("Dead", Bool),
    ("Pid", Number),
    ("ExitCode", Number),
    ("Error", Text),
    ("StartedAt", Text),
    ("FinishedAt", Text),
    ("Health", Pointer(&HEALTH)),
]);

const HEALTH_CONFIG: Shape = Struct(&[
    ("Test", TEXTS),
    ("Interval", Number),
    ("Timeout", Number),
    ("StartPeriod", Number),
    ("StartInterval", Number),
    ("Retries", Number),
]);

const PORTS: Shape = Table(&List(&Struct(&[("HostIP|HostIp", Text), ("HostPort", Text)])));
const WEIGHTS: Shape = List(&Pointer(&Struct(&[("Path", Text), ("Weight", Number)])));
const RATES: Shape = List(&Pointer(&Struct(&[("Path", Text), ("Rate", Number)])));

const HOST_CONFIG: Shape = Struct(&[
    ("Binds", TEXTS),
    ("ContainerIDFile", Text),
    ("LogConfig", Struct(&[("Type", Text), ("Config", PAIRS)])),
    ("NetworkMode", Text),
    ("PortBindings", PORTS),
    ("RestartPolicy", Struct(&[("Name", Text), ("MaximumRetryCount", Number)])),
    ("AutoRemove", Bool),
    ("VolumeDriver", Text),
    ("VolumesFrom", TEXTS),
    ("ConsoleSize", List(&Number)),
    ("Annotations", PAIRS),
    ("CapAdd", TEXTS),
    ("CapDrop", TEXTS),
    ("CgroupnsMode", Text),
    ("DNS|Dns", TEXTS),
    ("DNSOptions|DnsOptions", TEXTS),
    ("DNSSearch|DnsSearch", TEXTS),
    ("ExtraHosts", TEXTS),
    ("GroupAdd", TEXTS),
    ("IpcMode", Text),
    ("Cgroup", Text),
    ("Links", TEXTS),
    ("OomScoreAdj", Number),
    ("PidMode", Text),
    ("Privileged", Bool),
    ("PublishAllPorts", Bool),
    ("ReadonlyRootfs", Bool),
    ("SecurityOpt", TEXTS),
    ("StorageOpt", PAIRS),
    ("Tmpfs", PAIRS),
    ("UTSMode", Text),
    ("UsernsMode", Text),
    ("ShmSize", Number),
    ("Sysctls", PAIRS),
    ("Runtime", Text),
    ("Isolation", Text),
    ("CPUShares|CpuShares", Number),
    ("Memory", Number),
    ("NanoCPUs|NanoCpus", Number),
    ("CgroupParent", Text),
    ("BlkioWeight", Number),
    ("BlkioWeightDevice", WEIGHTS),
    ("BlkioDeviceReadBps", RATES),
    ("BlkioDeviceWriteBps", RATES),
    ("BlkioDeviceReadIOps", RATES),
    ("BlkioDeviceWriteIOps", RATES),
    ("CPUPeriod|CpuPeriod", Number),
    ("CPUQuota|CpuQuota", Number),
    ("CPURealtimePeriod|CpuRealtimePeriod", Number),
    ("CPURealtimeRuntime|CpuRealtimeRuntime", Number),
    ("CpusetCpus", Text),
    ("CpusetMems", Text),
    ("Devices", List(&Struct(&[("PathOnHost", Text), ("PathInContainer", Text), ("CgroupPermissions", Text)]))),
    ("DeviceCgroupRules", TEXTS),
    ("DeviceRequests", List(&Shape::Any)),
    ("MemoryReservation", Number),
    ("MemorySwap", Number),
    ("MemorySwappiness", Pointer(&Number)),
    ("OomKillDisable", Pointer(&Bool)),
    ("PidsLimit", Pointer(&Number)),
    ("Ulimits", List(&Pointer(&Struct(&[("Name", Text), ("Hard", Number), ("Soft", Number)])))),
    ("CPUCount|CpuCount", Number),
    ("CPUPercent|CpuPercent", Number),
    ("IOMaximumIOps", Number),
    ("IOMaximumBandwidth", Number),
    ("Mounts", List(&Shape::Any)),
    ("MaskedPaths", TEXTS),
    ("ReadonlyPaths", TEXTS),
    ("Init", Pointer(&Bool)),
]);

const CONFIG: Shape = Struct(&[
    ("Hostname", Text),
    ("Domainname", Text),
    ("User", Text),
    ("AttachStdin", Bool),
    ("AttachStdout", Bool),
    ("AttachStderr", Bool),
    ("ExposedPorts", SET),
    ("Tty", Bool),
    ("OpenStdin", Bool),
    ("StdinOnce", Bool),
    ("Env", TEXTS),
    ("Cmd", TEXTS),
    ("Healthcheck", Pointer(&HEALTH_CONFIG)),
    ("ArgsEscaped", Bool),
    ("Image", Text),
    ("Volumes", SET),
    ("WorkingDir", Text),
    ("Entrypoint", TEXTS),
    ("NetworkDisabled", Bool),
    ("MacAddress", Text),
    ("OnBuild", TEXTS),
    ("Labels", PAIRS),
    ("StopSignal", Text),
    ("StopTimeout", Pointer(&Number)),
    ("Shell", TEXTS),
]);

const GRAPH_DRIVER: Shape = Struct(&[("Data", PAIRS), ("Name", Text)]);

const MOUNT_POINT: Shape = Struct(&[
    ("Type", Text),
    ("Name", Text),
    ("Source", Text),
    ("Destination", Text),
    ("Driver", Text),
    ("Mode", Text),
    ("RW", Bool),
    ("Propagation", Text),
]);

const ENDPOINT: Shape = Struct(&[
    ("IPAMConfig", Pointer(&Struct(&[("IPv4Address", Text), ("IPv6Address", Text), ("LinkLocalIPs", TEXTS)]))),
    ("Links", TEXTS),
    ("Aliases", TEXTS),
    ("MacAddress", Text),
    ("DriverOpts", PAIRS),
    ("GwPriority", Number),
    ("NetworkID", Text),
    ("EndpointID", Text),
    ("Gateway", Text),
    ("IPAddress", Text),
    ("IPPrefixLen", Number),
    ("IPv6Gateway", Text),
    ("GlobalIPv6Address", Text),
    ("GlobalIPv6PrefixLen", Number),
    ("DNSNames", TEXTS),
]);

const NETWORK_SETTINGS: Shape = Struct(&[
    ("Bridge", Text),
    ("SandboxID", Text),
    ("SandboxKey", Text),
    ("Ports", PORTS),
    ("HairpinMode", Bool),
    ("LinkLocalIPv6Address", Text),
    ("LinkLocalIPv6PrefixLen", Number),
    ("SecondaryIPAddresses", List(&Shape::Any)),
    ("SecondaryIPv6Addresses", List(&Shape::Any)),
    ("EndpointID", Text),
    ("Gateway", Text),
    ("GlobalIPv6Address", Text),
    ("GlobalIPv6PrefixLen", Number),
    ("IPAddress", Text),
    ("IPPrefixLen", Number),
    ("IPv6Gateway", Text),
    ("MacAddress", Text),
    ("Networks", Table(&Pointer(&ENDPOINT))),
]);

/// `docker container inspect`.
pub const CONTAINER: Shape = Struct(&[
    ("ID|Id", Text),
    ("Created", Text),
    ("Path", Text),
    ("Args", TEXTS),
    ("State", Pointer(&STATE)),
    ("Image", Text),
    ("ResolvConfPath", Text),
    ("HostnamePath", Text),
    ("HostsPath", Text),
    ("LogPath", Text),
    ("Name", Text),
    ("RestartCount", Number),
    ("Driver", Text),
    ("Platform", Text),
    ("MountLabel", Text),
    ("ProcessLabel", Text),
    ("AppArmorProfile", Text),
    ("ExecIDs", TEXTS),
    ("HostConfig", Pointer(&HOST_CONFIG)),
    ("GraphDriver", GRAPH_DRIVER),
    ("SizeRw", Pointer(&Number)),
    ("SizeRootFs", Pointer(&Number)),
    ("Mounts", List(&MOUNT_POINT)),
    ("Config", Pointer(&CONFIG)),
    ("NetworkSettings", Pointer(&NETWORK_SETTINGS)),
]);

/// `docker image inspect`.
pub const IMAGE: Shape = Struct(&[
    ("ID|Id", Text),
    ("RepoTags", TEXTS),
    ("RepoDigests", TEXTS),
    ("Parent", Text),
    ("Comment", Text),
    ("Created", Text),
    ("DockerVersion", Text),
    ("Author", Text),
    ("Config", Pointer(&CONFIG)),
    ("Architecture", Text),
    ("Variant", Text),
    ("Os", Text),
    ("OsVersion", Text),
    ("Size", Number),
    ("VirtualSize", Number),
    ("GraphDriver", GRAPH_DRIVER),
    ("RootFS", Struct(&[("Type", Text), ("Layers", TEXTS)])),
    ("Metadata", Struct(&[("LastTagTime", Text)])),
]);

/// `docker volume inspect`.
pub const VOLUME: Shape = Struct(&[
    ("CreatedAt", Text),
    ("Driver", Text),
    ("Labels", PAIRS),
    ("Mountpoint", Text),
    ("Name", Text),
    ("Options", PAIRS),
    ("Scope", Text),
    ("Status", Table(&Shape::Any)),
]);

/// `docker network inspect`.
pub const NETWORK: Shape = Struct(&[
    ("Name", Text),
    ("ID|Id", Text),
    ("Created", Text),
    ("Scope", Text),
    ("Driver", Text),
    ("EnableIPv4", Bool),
    ("EnableIPv6", Bool),
    (
        "IPAM",
        Struct(&[
            ("Driver", Text),
            ("Options", PAIRS),
            (
                "Config",
                List(&Struct(&[("Subnet", Text), ("IPRange", Text), ("Gateway", Text), ("AuxiliaryAddresses", PAIRS)])),
            ),
        ]),
    ),
    ("Internal", Bool),
    ("Attachable", Bool),
    ("Ingress", Bool),
    ("ConfigFrom", Struct(&[("Network", Text)])),
    ("ConfigOnly", Bool),
    (
        "Containers",
        Table(&Struct(&[
            ("Name", Text),
            ("EndpointID", Text),
            ("MacAddress", Text),
            ("IPv4Address", Text),
            ("IPv6Address", Text),
        ])),
    ),
    ("Options", PAIRS),
    ("Labels", PAIRS),
]);

/// Puts an object's fields, and those of the objects in it, into the order of their struct.
pub(super) fn in_order(value: Value, shape: Shape) -> Value {
    match (value, shape) {
        (value, Pointer(target)) => in_order(value, *target),
        (Value::Array(items), List(shape)) => items.into_iter().map(|item| in_order(item, *shape)).collect(),
        (Value::Object(mut map), Struct(fields)) => {
            let mut ordered = Map::new();
            for (name, shape) in fields {
                let key = name.split_once('|').map_or(*name, |(_, key)| key);
                if let Some(value) = map.shift_remove(key) {
                    ordered.insert(key.to_owned(), in_order(value, *shape));
                }
            }
            ordered.extend(map);
            Value::Object(ordered)
        }
        (value, _) => value,
    }
}
