//! One machine: where its parts are on this one, what goes into its first root, and running it to its end.
//!
//! It has an empty disk and no network; its programs are in memory. Two serial lines lead out: the kernel talks on the
//! first, the checks on the second. The machine ends itself; one that does not is killed after [`PATIENCE`].

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::initramfs::Archive;
use crate::support::{peers, rhumb};

/// How long a machine may take, with software emulation on two busy cores.
const PATIENCE: Duration = Duration::from_secs(240);

/// The size of the disk; a file with holes.
const DISK_BYTES: u64 = 1 << 30;

/// What a machine is made of.
pub(crate) struct Parts {
    qemu: PathBuf,
    /// Where qemu finds libraries and firmware, if not in the system's places.
    qemu_root: Option<PathBuf>,
    busybox: PathBuf,
    kernel: PathBuf,
    /// The kernel's module for overlay file systems, unpacked.
    overlay: Vec<u8>,
}

/// What a machine said.
pub(crate) struct Console {
    /// On the line of the checks.
    pub(crate) checks: String,
    /// On the kernel's line.
    pub(crate) kernel: String,
    /// How it ended, when not by itself.
    pub(crate) trouble: Option<String>,
    /// From the start to the end.
    pub(crate) elapsed: Duration,
}

impl Parts {
    /// Finds everything for a kernel whose release begins with `release`; otherwise says what is missing.
    pub(crate) fn find(release: &str) -> Result<Parts, String> {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm");
        let hint = "(.ci/fetch-vm fetches it)";
        let program = |below: &str, name: &str| {
            let file = fetched.join(below).join(name);
            let found = if file.is_file() { Some(file) } else { peers::find(name) };
            found.ok_or(format!("there is no {name} {hint}"))
        };
        let qemu = program("usr/bin", "qemu-system-x86_64")?;
        let qemu_root = qemu.starts_with(&fetched).then(|| fetched.clone());
        let busybox = program("bin", "busybox")?;
        let (root, release) = [fetched.as_path(), Path::new("/")]
            .iter()
            .find_map(|root| Some((*root, kernel_below(root, release)?)))
            .ok_or(format!("there is no kernel {release} {hint}"))?;
        let kernel = root.join("boot").join(format!("vmlinuz-{release}"));
        let module = root.join("lib/modules").join(&release).join("kernel/fs/overlayfs/overlay.ko");
        let overlay = read_module(&module).map_err(|error| format!("{}: {error}", module.display()))?;
        Ok(Parts { qemu, qemu_root, busybox, kernel, overlay })
    }

    fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.qemu);
        if let Some(root) = &self.qemu_root {
            let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|lib| root.join(lib));
            command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).expect("paths without colons"));
            command.args(["-L".into(), root.join("usr/share/qemu")]);
            command.args(["-L".into(), root.join("usr/share/seabios")]);
        }
        // Software emulation is the same everywhere; what a nested KVM can do is another matter on every machine.
        // One thread for both processors: kernels patch their own code, which an emulator with several gets wrong at times.
        let accel = std::env::var("RHUMB_VM_ACCEL").unwrap_or("tcg,thread=single".to_owned());
        command.args(["-accel", &accel]);
        command.args(["-cpu", "qemu64", "-smp", "2", "-m", "1024", "-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-display", "none", "-nic", "none"]);
        for line in ["kernel.log", "checks.log"] {
            command.arg("-serial").arg(with_prefix("file:", &dir.join(line)));
        }
        // Debian's kernels have the driver for this disk built in.
        let drive = with_prefix("id=disk,if=none,format=raw,cache=unsafe,file=", &dir.join("disk"));
        command.arg("-drive").arg(drive).args(["-device", "nvme,drive=disk,serial=1"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(dir.join("initramfs"));
        command.args(["-append", "console=ttyS0 panic=-1 oops=panic mitigations=off quiet loglevel=4"]);
        command
    }

    /// The first root: programs, scripts, and the folders that the scripts need.
    fn write_initramfs(&self, dir: &Path) {
        let mut archive = Archive::new(&["bin", "dev", "guest", "lib", "new", "proc", "sys"]);
        archive.program("bin/busybox", &fs::read(&self.busybox).expect("reading busybox"));
        archive.link("bin/sh", "busybox");
        archive.program("bin/rhumb", &stripped_binary(dir));
        archive.program("lib/overlay.ko", &self.overlay);
        archive.program("init", include_bytes!("guest/init.sh"));
        archive.program("guest/checks.sh", include_bytes!("guest/checks.sh"));
        archive.program("guest/oci.sh", include_bytes!("guest/oci.sh"));
        archive.write(&dir.join("initramfs"));
    }
}

/// Boots a machine and waits until it has ended; its files lie in `dir`.
pub(crate) fn run(parts: &Parts, dir: &Path) -> Console {
    parts.write_initramfs(dir);
    let disk = fs::File::create(dir.join("disk")).expect("making a file");
    disk.set_len(DISK_BYTES).expect("making the disk");
    let begin = Instant::now();
    let mut command = parts.command(dir);
    let errors = fs::File::create(dir.join("qemu.log")).expect("making a file");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let trouble = wait(Machine(command.spawn().expect("starting qemu")), begin);
    let trouble = trouble.map(|what| format!("{what}\n{}", read(&dir.join("qemu.log"))));
    let elapsed = begin.elapsed();
    Console { checks: read(&dir.join("checks.log")), kernel: read(&dir.join("kernel.log")), trouble, elapsed }
}

/// A running qemu, which does not outlive the test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended is ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What went wrong, if the machine did not end by itself with status 0.
fn wait(mut machine: Machine, begin: Instant) -> Option<String> {
    loop {
        if let Some(status) = machine.0.try_wait().expect("waiting for qemu") {
            return (!status.success()).then(|| format!("qemu: {status}"));
        }
        if begin.elapsed() > PATIENCE {
            return Some(format!("the machine did not end within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The last release, by name, that has a kernel in `root/boot` and begins with `release`.
fn kernel_below(root: &Path, release: &str) -> Option<String> {
    let entries = fs::read_dir(root.join("boot")).ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("vmlinuz-").map(str::to_owned));
    names.filter(|name| name.starts_with(release)).max()
}

/// A kernel module, which newer packages compress.
fn read_module(path: &Path) -> Result<Vec<u8>, std::io::Error> {
    if path.exists() {
        return fs::read(path);
    }
    let output = Command::new("xz").arg("-dc").arg(path.with_extension("ko.xz")).output()?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// The binary under test without what only debuggers read, which would be most of the memory.
fn stripped_binary(dir: &Path) -> Vec<u8> {
    let small = dir.join("rhumb");
    let mut strip = Command::new("strip");
    strip.args(["--strip-debug", "-o"]).args([small.as_path(), rhumb::binary()]);
    crate::support::process::run(&mut strip, None, PATIENCE).ok();
    fs::read(small).expect("reading the stripped binary")
}

fn with_prefix(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
