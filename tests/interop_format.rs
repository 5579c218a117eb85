//! `--format`, listings and `inspect` beside Docker's: the same expressions on equivalent containers say the same. The
//! expressions are those of Docker's documentation and what people make of them. A peer that is not installed is a counted
//! skip (see `support/peers.rs`).
//!
//! Ids, times, ages and paths below the state roots are masked. What differs besides, and why:
//!
//! | Docker | Rhumb | because |
//! |---|---|---|
//! | `HostConfig.Runtime`, `Driver` | `rhumb`, `overlay2` | that is what they are |
//! | `CgroupnsMode` is `host` on version 1 | `private` | a container sees its own groups alone |
//! | fewer `MaskedPaths` before version 28 | Docker 28's | later versions have them |
//! | `AttachStdout` of `create` | `false` | nobody is attached by creating |
//! | `Digest` is `<none>` until a push | the manifest's | it is known here |
//! | binds, mounts and names in any order | in the order that they were given | Docker walks maps of Go |
//! | exit code 1, or 64 of `inspect` | 2 | it is every wrong argument's |

#[path = "support/peers.rs"]
mod peers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peers::peer;
use tempfile::TempDir;

/// What both images have.
const PROGRAMS: [&str; 2] = ["sh", "sleep"];
/// Docker asks for more files than this machine may give, and has a network of its own.
const COMMON: &str = "--net=none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096";

/// Words stand between bars.
const EXPRESSIONS: &[&str] = &[
    "inspect|-f|{{.Name}} {{.State.Status}} {{.State.Running}} {{.State.ExitCode}}|web|idle|done",
    "inspect|-f|{{.Id}} {{.Image}}|web",
    "inspect|-f|{{.ID}}|web",
    "inspect|-f|{{.Config.Hostname}} {{.Config.User}} {{.Config.Image}} {{.Config.WorkingDir}}|web",
    "inspect|-f|{{range .Config.Env}}{{println .}}{{end}}|web",
    "inspect|-f|{{json .Config.Labels}}|web",
    "inspect|-f|{{.Config.Labels}}|web|idle",
    "inspect|-f|{{index .Config.Labels \"com.example.tier\"}}|web",
    "inspect|-f|{{with .Config.Labels}}{{range $k, $v := .}}{{$k}}={{$v}};{{end}}{{else}}none{{end}}|web|idle",
    "inspect|-f|{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Config.Volumes}}|web|idle",
    "inspect|-f|{{.Config.Cmd}} {{.Config.Entrypoint}} {{.Config.Volumes}} {{.Config.OnBuild}}|web",
    "inspect|-f|{{json .Config}}|web",
    "inspect|-f|{{.Path}} {{.Args}}|web",
    "inspect|-f|{{join .Args \",\"}} {{len .Args}}|web",
    "inspect|-f|{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}|web|idle",
    "inspect|-f|{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}|web",
    "inspect|-f|{{.HostConfig.Binds}} {{.HostConfig.NetworkMode}} {{.HostConfig.LogConfig}}|idle",
    "inspect|-f|{{json .HostConfig.LogConfig}} {{json .HostConfig.PortBindings}} {{json .HostConfig.Ulimits}}|web",
    "inspect|-f|{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.Privileged}} {{.HostConfig.Init}}|web",
    "inspect|-f|{{json .HostConfig.ReadonlyPaths}} {{json .HostConfig.Devices}} {{json .HostConfig.Dns}}|web",
    "inspect|-f|{{json .State}}|idle",
    "inspect|-f|{{json .State}}|done",
    "inspect|-f|{{.State}}|idle",
    "inspect|-f|{{if .State.Running}}up{{else if eq .State.ExitCode 3}}three{{else}}down{{end}}|web|idle|done",
    "inspect|-f|{{.State.Health}} {{.Config.Healthcheck}}|web",
    "inspect|-f|{{range .Mounts}}{{if eq .Destination \"/data\"}}{{.}} {{json .}}{{end}}{{end}}|web",
    "inspect|-f|{{range .Mounts}}{{if eq .Destination \"/host\"}}{{.Type}} {{.Source}} {{.Mode}} {{.RW}}{{end}}{{end}}|web",
    "inspect|-f|{{range $n, $c := .NetworkSettings.Networks}}{{$n}} {{$c.IPAddress}};{{end}}|web",
    "inspect|-f|{{.NetworkSettings.IPAddress}}{{json .NetworkSettings.Ports}}|web",
    "inspect|-f|{{range $p, $conf := .NetworkSettings.Ports}}{{$p}} {{end}}{{len .NetworkSettings.Ports}}|web",
    "inspect|-f|{{.Platform}} {{.RestartCount}} {{.AppArmorProfile}} {{.ExecIDs}}|idle",
    "inspect|-f|{{.LogPath}}|web",
    "inspect|-f|{{printf \"%-10s %5d %q\" .Name .State.ExitCode .Path}}|done",
    "inspect|-f|{{slice .Id 0 0}}{{upper .Name}} {{title \"a b\"}} {{pad .Name 2 2}}{{truncate .Name 3}} {{split .Name \"/\"}}|web",
    "inspect|-f|{{.Name}}\\t{{.Path}}|web",
    "inspect|-f|{{.SizeRw}} {{.SizeRootFs}}|web",
    "inspect|-s|-f|{{.SizeRw}}|idle",
    "inspect|--type|volume|-f|{{.Name}} {{.Driver}} {{.Labels}} {{.Options}} {{.Scope}} {{.Status}}|vol",
    "inspect|--type|image|-f|{{.Os}}/{{.Architecture}} {{.RepoDigests}} {{.Parent}} {{.Author}}|base:1",
    "inspect|-f|{{.Nothing}}|web",
    "inspect|-f|{{.State.Health.Status}}|web",
    "inspect|-f|{{.Name|web",
    "inspect|-f|{{nosuch .Name}}|web",
    "inspect|-f|{{.Name}}|web|nosuch|idle",
    "inspect|-f|{{.Name}}|nosuch",
    "inspect|nosuch",
    "image|inspect|-f|{{.Config.Labels}} {{.Config.Cmd}} {{.Config.ExposedPorts}} {{.RootFS.Type}} {{len .RootFS.Layers}}|base:1",
    "image|inspect|-f|{{.Size}} {{.VirtualSize}} {{.Comment}}|base:1",
    "volume|inspect|-f|{{json .}}|vol",
    "volume|inspect|-f|{{json .Options}} {{json .Labels}}|vol",
    "ps|-a|--format|{{.Names}}: {{.Command}} {{.State}}",
    "ps|-a|--format|{{.ID}}\\t{{.Image}}\\t{{.Status}}\\t{{.RunningFor}}",
    "ps|-a|--format|{{.Names}} {{.Labels}} {{.Label \"com.example.tier\"}} {{.Ports}} {{.Networks}} {{.LocalVolumes}}",
    "ps|-a|--no-trunc|--format|{{.ID}} {{.Command}}",
    "ps|--format|table {{.ID}}\\t{{.Names}}\\t{{.State}}",
    "ps|-a|--format|table {{.Names}}\\t{{.Size}}",
    "ps|-a|--format|table {{.Names}}\\t{{.Label \"com.example.tier\"}}\\t{{upper .State}}\\t{{json .Image}}",
    "ps|-a|--format|table {{.LocalVolumes}}\\t{{.Networks}}\\t{{.Platform}}",
    "ps|-a|--format|{{json .}}|-f|name=idle",
    "ps|-a|--format|json|-f|name=idle",
    "ps|-a|--format|raw|-f|name=idle",
    "ps|-aq",
    "ps|-q|--no-trunc|-f|status=running",
    "ps|-n|1|--format|{{.Names}}",
    "ps|-l|--format|{{.Names}}",
    "ps|-a|--format|{{.Nothing}}",
    "ps|-a|--format|{{.Names",
    "ps|--format|{{.Label}}",
    "ps|-a|-f|exited=3|--format|{{.Names}}",
    "ps|-a|-f|label=com.example.tier=front|--format|{{.Names}}",
    "ps|-a|-f|status=created|--format|{{.Names}}",
    "ps|-a|-f|ancestor=base:1|--format|{{.Names}}",
    "ps|-a|-f|before=idle|--format|{{.Names}}",
    "ps|-a|-f|since=idle|--format|{{.Names}}",
    "ps|-a|-f|since=nosuch|--format|{{.Names}}",
    "ps|-a|-f|volume=vol|--format|{{.Names}}",
    "ps|-a|-f|network=none|--format|{{.Names}}",
    "ps|-a|-f|publish=80|--format|{{.Names}}",
    "ps|-a|-f|health=none|--format|{{.Names}}",
    "ps|-a|-f|is-task=false|--format|{{.Names}}",
    "ps|-a|-f|is-task=true|--format|{{.Names}}",
    "ps|-a|-f|name=^/web$|--format|{{.Names}}",
    "ps|-a|-f|name=^/?[wd]|--format|{{.Names}}",
    "images|--format|{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}|base",
    "images|--format|table {{.ID}}\\t{{.Repository}}\\t{{.Tag}}\\t{{.Size}}|base",
    "images|--format|{{.CreatedSince}} {{.Size}} {{.VirtualSize}} {{.Containers}}|base",
    "images|-f|reference=me/*|--format|{{.Repository}}",
    "images|-f|dangling=true|--format|{{.Repository}}",
    "images|--format|{{.Nothing}}",
    "volume|ls|--format|{{.Name}}: {{.Driver}} {{.Scope}} {{.Labels}} {{.Label \"k\"}}|-f|name=vol",
    "volume|ls|--format|json|-f|name=vol",
    "volume|ls|--format|table {{.Name}}\\t{{.Driver}}\\t{{.Size}}|-f|name=vol",
    "volume|ls|-f|name=vol",
    "volume|ls|-q|-f|label=k",
    "volume|ls|-q|-f|driver=local|-f|name=vol",
    "history|--format|{{.CreatedBy}} {{.Size}} {{.Comment}}|base:1",
    "history|-H=false|--format|{{.Size}}|base:1",
    "stats|--no-stream|--format|{{.Name}} {{.ID}} {{.NetIO}}|web",
    "stats|--no-stream|--format|table {{.Container}}\\t{{.Name}}|web",
    "system|df|--format|{{.Type}}\\t{{.TotalCount}}\\t{{.Active}}",
    "version|--format|{{.Server.Os}}/{{.Server.Arch}}",
    "info|--format|{{.OSType}} {{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.NCPU}} {{.LoggingDriver}}",
    "info|--format|{{.KernelVersion}} {{.Architecture}} {{.OperatingSystem}} {{.CgroupVersion}}",
    "diff|web",
    "port|web",
    "port|web|80",
];

/// A folder with an image.
fn ground() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("rootfs");
    for dir in ["bin", "proc", "sys", "dev", "etc", "tmp", "data", "anon", "host"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for name in PROGRAMS {
        let path = fs::canonicalize(peers::find(name).unwrap()).unwrap();
        fs::copy(&path, root.join("bin").join(name)).unwrap();
        let libraries = Command::new("ldd").arg(&path).output().unwrap();
        for library in String::from_utf8(libraries.stdout).unwrap().split_whitespace() {
            if library.starts_with('/') {
                let target = root.join(library.trim_start_matches('/'));
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(library, target).unwrap();
            }
        }
    }
    let archive = folder.path().join("image.tar");
    assert!(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap().success());
    folder
}

/// An engine: how it is called, and where its state is.
struct Side<'a> {
    command: &'a dyn Fn() -> Command,
    root: PathBuf,
}

impl Side<'_> {
    fn call(&self, line: &str, further: &[&str]) -> String {
        let output =
            (self.command)().args(line.split_whitespace()).args(further).stdin(Stdio::null()).output().unwrap();
        let code = output.status.code();
        assert!([Some(0), Some(3)].contains(&code), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// One container that runs, one that never did, one that ended.
    fn prepare(&self, folder: &Path) {
        self.call(&format!("import {}", folder.join("image.tar").display()), &["base:1"]);
        self.call("tag base:1 me/app:2", &[]);
        self.call("volume create --label k=v vol", &[]);
        let labels = "--label com.example.tier=front --label b=2 -e A=1 --restart on-failure:3";
        let mounts = "-v vol:/data -v /anon -v /usr:/host:ro";
        self.call(
            &format!("run -d --name web {COMMON} {labels} {mounts} base:1 /bin/sh -c"),
            &["sleep 10000; echo a long command"],
        );
        self.call(&format!("create --name idle {COMMON} base:1 /bin/sh -c"), &["echo 1"]);
        self.call(&format!("run --name done {COMMON} base:1 /bin/sh -c"), &["exit 3"]);
    }

    /// What an expression says: output, whether it failed, and the part of an error that is about a template.
    fn say(&self, expression: &str) -> String {
        let output = (self.command)().args(words(expression)).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let about = error.find("template: :").map_or("", |at| error[at..].lines().next().unwrap_or_default());
        format!("{}ok: {}\n{about}", masked(&text, &self.root), output.status.success())
    }
}

/// The arguments of an expression.
fn words(expression: &str) -> Vec<&str> {
    expression.split('|').collect()
}

/// Without what has to differ.
fn masked(text: &str, root: &Path) -> String {
    let text = text.replace(root.to_str().unwrap(), "<root>");
    let mut out = String::new();
    for line in text.lines() {
        let ages = ["Less than a second", "About a minute", "About an hour"];
        let mut line = ages.iter().fold(line.to_owned(), |line, age| line.replace(age, "1 seconds"));
        let mut parts: Vec<String> = Vec::new();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == ':';
        while !line.is_empty() {
            let end = line.find(|c| !is_word(c)).unwrap_or(line.len());
            let (word, rest) = match end {
                0 => (line.chars().next().unwrap().to_string(), line.chars().skip(1).collect()),
                end => (line[..end].to_owned(), line[end..].to_owned()),
            };
            parts.push(masked_word(&word));
            line = rest;
        }
        // The one folder of a volume has another name.
        let line = parts.concat().replace("/volumes/vol/_data", "/volumes/<id>/data");
        let line = line.replace("<n> minutes", "<n> seconds").replace("-<id>", "<id>");
        // Columns are as wide as what is in them.
        out.push_str(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
        out.push('\n');
    }
    out
}

fn masked_word(word: &str) -> String {
    let bare = word.trim_start_matches("sha256:").trim_end_matches("-json.log");
    let is_hex = bare.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_time = word.len() > 10 && word.as_bytes()[4] == b'-' && word.contains('T');
    match word {
        _ if is_hex && bare.len() == 64 => "<id>".into(),
        _ if is_hex && bare.len() == 12 => "<short>".into(),
        _ if is_time && !word.starts_with("0001") => "<time>".into(),
        // The two were not made in the same second.
        _ if word.len() == 8 && word.as_bytes()[2] == b':' && word.as_bytes()[5] == b':' => "<clock>".into(),
        _ => word.to_owned(),
    }
}

/// Ages: a number before a unit, which is all that numbers alone can be here.
fn without_ages(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        let is_unit = ["second", "minute", "hour"].iter().any(|unit| words[at].trim_start().starts_with(unit));
        if is_unit {
            let start = words[at - 1].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
            words[at - 1].replace_range(start.., "<n>");
            words[at] = words[at].replacen("minutes", "seconds", 1).replacen("minute", "seconds", 1);
            if words[at].starts_with("second") && !words[at].starts_with("seconds") {
                words[at] = words[at].replacen("second", "seconds", 1);
            }
        }
    }
    words.join(" ")
}

/// Some come in any order.
fn settled(expression: &str, text: &str) -> String {
    let text = without_ages(text);
    match expression.starts_with("diff") {
        true => {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        }
        // It has no cache of builds to tell of.
        false if expression.starts_with("system|df") => {
            text.lines().filter(|line| !line.starts_with("Build Cache")).collect::<Vec<_>>().join("\n")
        }
        false => text,
    }
}

/// A Docker daemon of our own.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its containerd too, which a plain kill would not.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn daemon(folder: &Path, parent: &str) -> (Daemon, String) {
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let socket = format!("unix://{}", path("docker.sock").display());
    let mut dockerd = peer("dockerd").unwrap();
    dockerd.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("exec"));
    dockerd.arg("--pidfile").arg(path("pid")).args(["-H", &socket, "--iptables=false", "--bridge=none"]);
    dockerd.args(["--storage-driver=vfs", &format!("--cgroup-parent=/{parent}")]);
    let log = fs::File::create(path("log")).unwrap();
    dockerd.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let daemon = Daemon(dockerd.spawn().unwrap());
    let begun = Instant::now();
    while !peer("docker").unwrap().args(["-H", &socket, "version"]).output().unwrap().status.success() {
        let said = fs::read_to_string(path("log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(60), "the daemon does not come up: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
    (daemon, socket)
}

#[test]
fn the_same_expressions_say_the_same_as_dockers() {
    if peer("docker").is_none() || peer("dockerd").is_none() {
        return;
    }
    let folder = ground();
    let parent = format!("rhumb-test-format-{}", std::process::id());
    let (daemon, socket) = daemon(folder.path(), &parent);
    let docker = || {
        let mut command = peer("docker").unwrap();
        command.args(["-H", &socket]);
        command
    };
    let theirs = Side { command: &docker, root: folder.path().join("data") };
    let root = folder.path().join("rhumb");
    let rhumb = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rhumb"));
        command.arg("--root").arg(&root);
        command
    };
    let ours = Side { command: &rhumb, root: root.clone() };
    theirs.prepare(folder.path());
    ours.prepare(folder.path());
    let mut differ = Vec::new();
    for expression in EXPRESSIONS {
        let both = [&theirs, &ours].map(|side| settled(expression, &side.say(expression)));
        if both[0] != both[1] {
            differ.push(format!("{expression}\n--- Docker\n{}\n--- Rhumb\n{}\n", both[0], both[1]));
        }
    }
    for side in [&theirs, &ours] {
        side.call("rm -f -v web idle done", &[]);
    }
    drop(daemon);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(&parent));
    }
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), EXPRESSIONS.len(), differ.join("\n"));
    assert!(EXPRESSIONS.len() >= 100);
}
