//! Facts about this machine.

/// What uname(2) and sysinfo(2) say.
pub struct Machine {
    /// uname -r.
    pub kernel: String,
    /// uname -m.
    pub architecture: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// How control groups are mounted: `v2` alone, `hybrid` (v1 with a v2 tree beside it) or `v1`.
    pub cgroup: &'static str,
}

/// Asks the kernel.
pub fn facts() -> Machine {
    let uname = rustix::system::uname();
    let has = |path: &str| std::path::Path::new(path).exists();
    let memory = rustix::system::sysinfo();
    Machine {
        kernel: uname.release().to_string_lossy().into_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        cgroup: if has("/sys/fs/cgroup/cgroup.controllers") {
            "v2"
        } else if has("/sys/fs/cgroup/unified/cgroup.controllers") {
            "hybrid"
        } else {
            "v1"
        },
        memory_bytes: memory.totalram * u64::from(memory.mem_unit),
    }
}
