//! Mounts: what an image or a volume puts in their way, before the start and during it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::raw::{Raw, dir, symlink as link};
use crate::stage::{CANARY, Stage};

/// What the container sees of its own mounts at `path`.
fn kind_of_mount(stage: &Stage, image: &str, path: &str) -> String {
    let script =
        format!("while read a b c d p o t; do [ $p = {path} ] && echo ${{t#* - }}; done </proc/self/mountinfo; true");
    stage.run(&[image, "sh", "-c", &script]).ok()
}

/// Row 4: mounts over `/proc` made writes of the engine and of security modules go to a file of the image.
#[test]
fn cve_2019_16884() {
    let stage = Stage::empty();
    stage.image("base:1", &[link("p", "/proc"), link("q", "p/self/attr"), link("host", "/data")], &[]);
    for target in
        ["/proc", "/proc/", "/proc/self/attr", "/proc/sys", "/proc/../proc/1", "/p", "/p/sys/kernel", "/q", "/q/exec"]
    {
        let volume = stage.run(&["-v", &format!("evil:{target}"), "base:1", "true"]);
        stage.refused(&volume);
        let tmpfs = stage.run(&["--tmpfs", target, "base:1", "true"]);
        stage.refused(&tmpfs);
    }
    // CVE-2019-19921: and volumes of other containers do not either.
    stage.image("vol:1", &[link("v", "/proc/self")], &["VOLUME /v/attr"]);
    let outcome = stage.run(&["vol:1", "true"]);
    stage.refused(&outcome);
    let fake = stage.rhumb.path("cpuinfo");
    fs::write(&fake, "a fair processor").unwrap();
    let onto = format!("{}:/proc/cpuinfo", fake.display());
    assert_eq!(stage.run(&["-v", &onto, "base:1", "cat", "/proc/cpuinfo"]).ok(), "a fair processor");
    assert_eq!(stage.run(&["-v", "data:/host/proc", "base:1", "ls", "/data"]).ok(), "proc");
}

/// Row 5: `/proc` or `/sys` of the image as a link led the kernel's file systems, and the checks on them, elsewhere.
#[test]
fn cve_2023_27561() {
    let stage = Stage::empty();
    let outside = stage.outside("");
    for (number, name) in ["proc", "sys", "dev"].into_iter().enumerate() {
        for (variant, entries) in [
            vec![link(name, &outside)],
            vec![link(name, "/tmp")],
            vec![dir("tmp/fake"), link(name, "tmp/fake")],
            vec![link("tmp/again", "fake"), link(name, "tmp/again")],
            vec![link(name, ".")],
            vec![link(name, name)],
            vec![Raw::new(b'0', name.as_bytes(), b"", b"a file")],
        ]
        .into_iter()
        .enumerate()
        {
            let image = format!("evil:{number}{variant}");
            stage.image(&image, &entries, &[]);
            let said = stage.refused(&stage.run(&[&image, "true"]));
            assert!(said.contains(name), "{said}");
        }
        let image = format!("fair:{number}");
        stage.image(&image, &[dir(name), Raw::new(b'0', format!("{name}/left-over").as_bytes(), b"", b"")], &[]);
        assert!(!kind_of_mount(&stage, &image, &format!("/{name}")).is_empty(), "{name} is mounted");
    }
}

/// Row 5: as CVE-2023-27561, reopened by a volume of `/proc`'s parent and by links in a volume.
#[test]
fn cve_2023_28642() {
    let stage = Stage::new();
    let volume = stage.rhumb.path("volume");
    fs::create_dir(&volume).unwrap();
    symlink("/proc", volume.join("p")).unwrap();
    symlink("../../proc/self", volume.join("q")).unwrap();
    let mounted = format!("{}:/vol", volume.display());
    for target in ["/vol/p", "/vol/p/sys", "/vol/q", "/vol/q/attr"] {
        let outcome = stage.run(&["-v", &mounted, "-v", &format!("evil:{target}"), "base:1", "true"]);
        stage.refused(&outcome);
    }
    assert_eq!(stage.run(&["-v", &mounted, "-v", "data:/vol/data", "base:1", "ls", "/vol"]).ok(), "data\np\nq");
}

/// Row 5: as CVE-2023-27561 in another runtime, which followed a link at `/proc` when it hid paths below it.
#[test]
fn cve_2025_54867() {
    let stage = Stage::empty();
    stage.image("evil:1", &[dir("fake"), dir("fake/sys"), link("proc", "/fake")], &[]);
    stage.refused(&stage.run(&["evil:1", "true"]));
    stage.image("fair:1", &[dir("fake"), dir("proc")], &[]);
    let hidden = "cat /proc/kcore /proc/keys /proc/timer_list; ls /sys/firmware; ls /proc/acpi 2>/dev/null; true";
    assert_eq!(stage.run(&["fair:1", "sh", "-c", hidden]).ok(), "", "what is masked is empty");
}

/// Row 6: writes of the engine to procfs were led to `sysrq-trigger` or `core_pattern`.
#[test]
fn cve_2025_52881() {
    let stage = Stage::new();
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    for sysctl in [
        "kernel.core_pattern=|/evil",
        "kernel/core_pattern=|/evil",
        "net/../kernel/core_pattern=|/evil",
        "net.../kernel.core_pattern=|/evil",
        "net.ipv4.../../kernel/core_pattern=x",
        "vm.panic_on_oom=0",
        "kernel.shmmax/../core_pattern=1",
        "fs.mqueue/../../kernel/core_pattern=1",
        "=x",
        ".=x",
    ] {
        stage.refused(&stage.run(&["--sysctl", sysctl, "base:1", "true"]));
    }
    // What belongs to a namespace that is not the container's own is not its to set.
    stage.refused(&stage.run(&["--net=host", "--sysctl", "net.ipv4.ip_forward=1", "base:1", "true"]));
    stage.refused(&stage.run(&["--ipc=host", "--sysctl", "kernel.shmmax=1", "base:1", "true"]));
    // A file of the image in the way is never written to.
    let fair = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shmmax=4096", "base:1"];
    let args = [&fair[..], &["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmax"]].concat();
    assert_eq!(stage.run(&args).ok(), "1\n4096");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), pattern);
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), forwarding);
}

/// Somebody who swaps two names in a folder for ever, as a container does in a volume that it shares.
struct Swapper<'a>(&'a AtomicBool);

impl<'a> Swapper<'a> {
    fn start<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        stop: &'scope AtomicBool,
        one: &'scope Path,
        other: &'scope Path,
    ) -> Swapper<'scope> {
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                rhumb::sys::exchange::exchange(one, other).unwrap();
            }
        });
        Swapper(stop)
    }
}

impl Drop for Swapper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Rows 7 and 8: a folder became a link between the check and the mount: the host's root was mounted, or files made in it.
#[test]
fn cve_2021_30465() {
    let stage = Stage::new();
    let volume = stage.rhumb.path("volume");
    fs::create_dir_all(volume.join("folder")).unwrap();
    let outside = stage.rhumb.path("outside");
    symlink(&outside, volume.join("link")).unwrap();
    fs::write(volume.join("folder/canary"), "of the volume").unwrap();
    let mounted = format!("{}:/vol", volume.display());
    let file = stage.rhumb.path("file");
    fs::write(&file, "mounted").unwrap();
    let onto = format!("{}:/vol/folder/new/deep/file", file.display());
    let (one, other) = (volume.join("folder"), volume.join("link"));
    let stop = AtomicBool::new(false);
    let mut reached = 0;
    std::thread::scope(|scope| {
        let _swapper = Swapper::start(scope, &stop, &one, &other);
        for number in 0..24 {
            let script = "cat /vol/folder/canary /vol/link/canary /vol/folder/new/deep/file 2>/dev/null; true";
            let outcome = match number % 3 {
                0 => stage.run(&["-v", &mounted, "-v", "data:/vol/folder/new/x", "base:1", "sh", "-c", script]),
                1 => stage.run(&["-v", &mounted, "-v", &onto, "base:1", "sh", "-c", script]),
                _ => stage.run(&["-v", &mounted, "--tmpfs", "/vol/folder", "base:1", "sh", "-c", script]),
            };
            assert!(!outcome.stdout.contains(CANARY), "the host's file was seen inside:\n{outcome}");
            assert!(!outcome.stderr.contains("panicked"), "{outcome}");
            if outcome.success() {
                reached += 1;
            } else {
                stage.refused(&outcome);
            }
            stage.untouched();
        }
    });
    assert!(reached > 0, "not one container could start");
    stage.rhumb.assert_consistent();
    // The twin: links that stand still lead inside the container.
    symlink("/etc", volume.join("still")).unwrap();
    let args = ["-v", &mounted, "-v", "data:/vol/still/here", "base:1", "ls", "-d", "/etc/here"];
    assert_eq!(stage.run(&args).ok(), "/etc/here");
}

/// Row 8: folders and empty files for mounts were made on the host.
#[test]
fn cve_2024_45310() {
    let stage = Stage::empty();
    let outside = stage.outside("");
    let up = "../".repeat(12);
    let entries = [link("abs", &outside), link("rel", &format!("{up}{}", &outside[1..])), link("etc/deep", &outside)];
    stage.image("evil:1", &entries, &[]);
    let file = stage.rhumb.path("file");
    fs::write(&file, "mounted").unwrap();
    for base in ["/abs", "/rel", "/etc/deep", "/abs/..", &format!("/{up}{outside}")] {
        let volume = format!("data:{base}/new/folder");
        let onto = format!("{}:{base}/made/file", file.display());
        stage.run(&["-v", &volume, "-v", &onto, "-w", &format!("{base}/cwd/x"), "evil:1", "true"]);
        stage.quiet();
    }
    let inside = stage.run(&["-v", "data:/abs/new/folder", "evil:1", "ls", &outside]);
    assert_eq!(inside.ok(), "new", "it was made inside");
}

/// Row 9: the container's `/dev/null` was a link, and what it led to was bound over the masked paths, writable.
#[test]
fn cve_2025_31133() {
    let stage = Stage::new();
    let devices = stage.rhumb.path("devices");
    fs::create_dir(&devices).unwrap();
    let mounted = format!("{}:/dev", devices.display());
    for target in ["/proc/sys/kernel/core_pattern", "../etc/passwd", "/etc/passwd"] {
        let _ = fs::remove_file(devices.join("null")); // there is none at first
        symlink(target, devices.join("null")).unwrap();
        stage.refused(&stage.run(&["-v", &mounted, "base:1", "true"]));
    }
    // One that leads nowhere is as none at all: what is masked is covered by something of our own.
    fs::remove_file(devices.join("null")).unwrap();
    symlink("nowhere", devices.join("null")).unwrap();
    let masked = "cat /proc/keys /proc/timer_list; (: > /proc/timer_list) 2>/dev/null || echo refused";
    assert_eq!(stage.run(&["-v", &mounted, "base:1", "sh", "-c", masked]).ok(), "refused");
    for text in ["", "a file"] {
        fs::remove_file(devices.join("null")).unwrap();
        fs::write(devices.join("null"), text).unwrap();
        stage.refused(&stage.run(&["-v", &mounted, "base:1", "true"]));
    }
    // An image's own /dev is covered, whatever it holds.
    stage.image("covered:1", &[link("dev/null", "/proc/sysrq-trigger"), link("dev/ptmx", "/etc/passwd")], &[]);
    let script = "stat -c %t:%T /dev/null; echo gone > /dev/null; head -c 1 /proc/kcore | wc -c; (: > /proc/sysrq-trigger) 2>&1 | wc -l";
    assert_eq!(stage.run(&["covered:1", "sh", "-c", script]).ok(), "1:3\n0\n1");
}

/// Row 10: what was bound over `/dev/console` was another file than the container's terminal.
#[test]
fn cve_2025_52565() {
    let stage = Stage::new();
    let pts = stage.rhumb.path("pts");
    fs::create_dir(&pts).unwrap();
    let mounted = format!("{}:/dev/pts", pts.display());
    for (kind, make) in [
        ("link", "ln -s ../../etc/passwd ptmx"),
        ("file", "echo > ptmx"),
        ("fifo", "mkfifo ptmx"),
        ("device", "mknod ptmx c 1 5"),
    ] {
        crate::stage::host(&pts, "sh", &["-c", &format!("rm -f ptmx; {make}")]);
        let outcome = stage.run(&["-t", "-v", &mounted, "base:1", "stat", "-c", "%F", "/dev/console"]);
        assert!(!outcome.success(), "{kind}: {outcome}");
        stage.refused(&outcome);
    }
    let covered = [dir("dev/pts"), link("dev/console", "/etc/passwd"), link("dev/pts/0", "/etc/passwd")];
    stage.image("covered:1", &covered, &[]);
    let args = ["-t", "covered:1", "sh", "-c", "tty=$(readlink /proc/self/fd/0); stat -c '%t %n' /dev/console $tty"];
    let outcome = stage.run(&args);
    assert_eq!(outcome.ok().replace('\r', ""), "88 /dev/console\n88 /dev/pts/0");
}

/// Row 11: `/dev` of the image as a link got the default devices made on the host.
#[test]
fn cve_2026_41579() {
    let stage = Stage::empty();
    for (number, target) in [stage.outside(""), "/tmp".into(), "../../../../etc".into()].into_iter().enumerate() {
        let image = format!("evil:{number}");
        stage.image(&image, &[link("dev", &target)], &[]);
        stage.refused(&stage.run(&[&image, "true"]));
        stage.refused(&stage.run(&["-t", &image, "true"]));
    }
    stage.image("fair:1", &[dir("dev"), link("dev/fd", "/etc"), link("dev/shm", "/etc")], &[]);
    let script = "readlink /dev/fd; ls -A /dev/shm; stat -c %F /dev/shm";
    assert_eq!(stage.run(&["fair:1", "sh", "-c", script]).ok(), "/proc/self/fd\ndirectory");
}

/// Row 12: read-only and masked paths were looked up anew for each call, and could be another one by then.
#[test]
fn ghsa_3q8j_pf29_vwv8() {
    let stage = Stage::new();
    let script = "
        for p in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger; do
            [ -e $p ] || continue; while read a b c d m o rest; do [ $m = $p ] && echo $p ${o%%,*}; done </proc/self/mountinfo; done;
        echo x > /proc/sys/kernel/hostname; mount -o remount,rw /proc/sys; umount /proc/sys; head -c 1 /proc/timer_list";
    let outcome = stage.run(&["base:1", "sh", "-c", script]);
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        .iter()
        .filter(|path| Path::new(path).exists())
    {
        let path = format!("{path} ro");
        assert_eq!(outcome.stdout.lines().filter(|line| **line == path).count(), 1, "{path}: {outcome}");
    }
    for refused in ["cannot create /proc/sys", "mount: /proc/sys", "umount: /proc/sys"] {
        assert!(outcome.stderr.contains(refused), "{refused}: {outcome}");
    }
    let open = [
        "--security-opt",
        "systempaths=unconfined",
        "base:1",
        "sh",
        "-c",
        "grep -c ' /proc/' /proc/self/mountinfo; true",
    ];
    assert_eq!(stage.run(&open).ok(), "0", "unmasked when asked for");
}

/// Row 16: the host's cgroups were writable inside.
#[test]
fn cve_2023_25809() {
    let stage = Stage::new();
    let script = "
        for p in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $p/evil 2>/dev/null && echo MADE $p; done
        grep -E ' cgroup2? ' /proc/self/mountinfo | grep -v ' ro,' | wc -l
        find=$(ls /sys/fs/cgroup/*/release_agent 2>/dev/null); for f in $find; do (echo x > $f) 2>/dev/null && echo SET $f; done
        cat /proc/self/cgroup";
    for mode in ["private", "host"] {
        let said = stage.run(&[&format!("--cgroupns={mode}"), "base:1", "sh", "-c", script]).ok();
        assert!(said.starts_with("0\n") && !said.contains("MADE") && !said.contains("SET"), "{mode}: {said}");
        let own = said.lines().skip(1).filter(|line| line.contains("pids") || line.contains("memory"));
        assert!(
            own.clone().count() > 0 && own.into_iter().all(|line| line.ends_with(":/") == (mode == "private")),
            "{said}"
        );
    }
    let limit = stage.run(&["-m", "64m", "base:1", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    assert_eq!(limit.ok(), "67108864", "it sees its own");
}

/// Row 42: files that the engine writes or mounts followed links of the image.
#[test]
fn cve_2024_9341() {
    let stage = Stage::empty();
    let canary = stage.outside("canary");
    for (number, target) in
        [canary.clone(), format!("..{canary}"), format!("{}{canary}", "../".repeat(12))].iter().enumerate()
    {
        let image = format!("evil:{number}");
        let names =
            ["etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv", "run/secrets", "etc/crypto-policies"];
        stage.image(&image, &names.map(|name| link(name, target)), &["WORKDIR /run/secrets/x"]);
        let outcome = stage.run(&["--add-host", "evil:1.2.3.4", "-h", "evil", &image, "cat", "/etc/hosts"]);
        assert!(!outcome.stdout.contains(CANARY), "{outcome}");
        if !outcome.success() {
            stage.refused(&outcome);
        }
        stage.quiet();
    }
    stage.image("etc:1", &[link("etc/hosts", "/etc/hosts.d/real"), link("etc/resolv.conf", "../run/resolv/stub")], &[]);
    let outcome = stage.run(&[
        "--add-host",
        "fair:1.2.3.4",
        "--dns",
        "9.9.9.9",
        "etc:1",
        "cat",
        "/etc/hosts.d/real",
        "/run/resolv/stub",
    ]);
    assert!(outcome.ok().contains("fair") && outcome.stdout.contains("9.9.9.9"), "links inside lead inside: {outcome}");
}
