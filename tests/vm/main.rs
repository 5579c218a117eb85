//! Containers on a machine with cgroup v2 alone, on the two kernels of Debian 12: 6.1, the oldest that Rhumb knows, and 6.12.
//!
//! The machine is a small one that qemu makes ([`machine`]) from an archive of files ([`initramfs`]): this binary, a static
//! busybox, the module for overlays, and the scripts in `guest/`. Its checks are shell functions in `guest/`, which
//! say `CHECK name ok` or `CHECK name FAIL why` on a serial line of their own and `DONE count` at the end ([`report`]).
//!
//! What it needs is fetched by `.ci/fetch-vm` into `target/vm`; without that, an installed qemu, busybox and the kernels
//! in `/boot` are taken. It runs in software emulation; `RHUMB_VM_ACCEL=kvm` is for those whose machine can do more.

#[path = "../support/mod.rs"]
mod support;

mod initramfs;
mod machine;
mod report;

use machine::Parts;

#[test]
fn linux_6_1_on_cgroup_v2_alone() {
    check("6.1.");
}

#[test]
fn linux_6_12_on_cgroup_v2_alone() {
    check("6.12.");
}

/// Boots the newest kernel whose release begins with `release` and expects every check to pass.
fn check(release: &str) {
    let parts = match Parts::find(release) {
        Ok(parts) => parts,
        Err(missing) => return support::peers::skip(&missing),
    };
    let scratch = support::Scratch::new();
    let console = machine::run(&parts, scratch.path());
    report::assert_passed(&console);
}
