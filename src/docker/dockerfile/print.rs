//! A build's graph as a build script: what `rhumb build --to-rhai` prints.
//!
//! The script does the same steps, so that it finds the same results in the cache and comes to the same layers and config.
//! The image's id is another one: its history has the steps as the script writes them. Who made the image
//! (`MAINTAINER`) is not said.

use std::fmt::Write as _;

use crate::model::build::{
    Action, Base, Change, Command, Copy, Device, Graph, MountKind, Network, Origin, Run, Sharing, Source, Stage, Step,
};

/// Words that cannot name a variable.
const RESERVED: [&str; 40] = [
    "let", "const", "if", "else", "while", "loop", "for", "in", "do", "until", "break", "continue", "fn", "return",
    "throw", "try", "catch", "import", "export", "as", "global", "true", "false", "switch", "case", "default",
    "private", "this", "is", "var", "static", "shared", "new", "null", "use", "module", "package", "build", "image",
    "print",
];

/// Names and values of a map, as they are written.
type Fields<'a> = Vec<(&'a str, String)>;

/// The script. `tags` are what its last line commits to.
pub fn script(graph: &Graph, tags: &[String]) -> String {
    let mut out = String::from("#!/usr/bin/env rhumb\n");
    let names = names(&graph.stages);
    for context in graph.contexts.iter().skip(1) {
        let (name, path) = (context_name(&context.name), text(&context.path.to_string_lossy()));
        let _ = write!(out, "\nlet {name} = build::scratch(#{{ context: {path} }}).copy(\".\", \"/\");\n");
    }
    for (index, stage) in graph.stages.iter().enumerate() {
        let name = &names[index];
        out.push('\n');
        let base = match &stage.base {
            Base::Scratch => "build::scratch()".to_owned(),
            Base::Image(reference) => format!("build::from({})", text(reference)),
            Base::Stage(other) => format!("build::from({})", names[*other]),
        };
        if let Some(platform) = &stage.platform {
            let _ = writeln!(out, "// for the platform {platform}");
        }
        let _ = writeln!(out, "let {name} = {base};");
        for step in &stage.steps {
            line(&mut out, graph, &names, name, step);
        }
    }
    if let Some(target) = names.get(graph.target) {
        let arguments = match tags {
            [] => String::new(),
            [one] => text(one),
            several => list(several),
        };
        let _ = write!(out, "\nprint({target}.commit({arguments}).id);\n");
    }
    out
}

/// A variable for each stage.
fn names(stages: &[Stage]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let wanted: Option<String> = stage.name.as_ref().map(|name| name.chars().map(plain).collect());
        let good = |name: &String| !RESERVED.contains(&name.as_str()) && !names.contains(name);
        names.push(wanted.filter(good).unwrap_or_else(|| format!("stage_{index}")));
    }
    names
}

fn line(out: &mut String, graph: &Graph, names: &[String], name: &str, step: &Step) {
    match &step.action {
        Action::Run(run) => run_line(out, graph, names, name, run),
        Action::Copy(copy) => copy_lines(out, graph, names, name, copy),
        Action::Config(change) => {
            if let Some(call) = change_call(change) {
                let _ = writeln!(out, "{name}.{call};");
            }
        }
        Action::Layer(steps) => {
            let _ = writeln!(out, "layer({name}, || {{");
            for step in steps {
                out.push_str("    ");
                line(out, graph, names, name, step);
            }
            out.push_str("});\n");
        }
    }
}

fn run_line(out: &mut String, graph: &Graph, names: &[String], name: &str, run: &Run) {
    let mut options = Vec::new();
    let mut mounts = Vec::new();
    for mount in &run.mounts {
        let mut fields: Fields<'_> = Vec::new();
        let mut put = |key: &'static str, value: String| fields.push((key, value));
        match &mount.kind {
            MountKind::Cache(cache) => {
                put("type", text("cache"));
                put("target", text(&mount.target));
                if !cache.id.is_empty() {
                    put("id", text(&cache.id));
                }
                match cache.sharing {
                    Sharing::Shared => {}
                    Sharing::Private => put("sharing", text("private")),
                    Sharing::Locked => put("sharing", text("locked")),
                }
                if cache.read_only {
                    put("readonly", "true".to_owned());
                }
                if let Some(from) = cache.from.as_ref().and_then(|from| origin(graph, names, from)) {
                    put("from", from);
                }
                if cache.source != "/" {
                    put("source", text(&cache.source));
                }
                put_owner(&mut put, (cache.mode, 0o755), cache.uid, cache.gid);
            }
            MountKind::Bind { from, source, writable } => {
                put("type", text("bind"));
                put("target", text(&mount.target));
                if let Some(from) = origin(graph, names, from) {
                    put("from", from);
                }
                if source != "/" {
                    put("source", text(source));
                }
                if *writable {
                    put("rw", "true".to_owned());
                }
            }
            MountKind::Secret { id, env, required, mode, uid, gid } => {
                put("type", text("secret"));
                put("id", text(id));
                if !mount.target.is_empty() {
                    put("target", text(&mount.target));
                }
                if let Some(env) = env {
                    put("env", text(env));
                }
                put_owner(&mut put, (*mode, 0o400), *uid, *gid);
                match required {
                    true => put("secret", format!("secret::env_var({})", text(&variable(id)))),
                    false => put("required", "false".to_owned()),
                }
            }
            MountKind::Ssh { id, required, mode, uid, gid } => {
                put("type", text("ssh"));
                put("agent", "env_var(\"SSH_AUTH_SOCK\", \"\")".to_owned());
                if id != "default" {
                    put("id", text(id));
                }
                if !mount.target.is_empty() {
                    put("target", text(&mount.target));
                }
                if *required {
                    put("required", "true".to_owned());
                }
                put_owner(&mut put, (*mode, 0o600), *uid, *gid);
            }
            MountKind::Tmpfs { size_bytes } => {
                put("type", text("tmpfs"));
                put("target", text(&mount.target));
                if let Some(size) = size_bytes {
                    put("size", size.to_string());
                }
            }
        }
        mounts.push(map(&fields));
    }
    if !mounts.is_empty() {
        options.push(("mounts", format!("[{}]", mounts.join(", "))));
    }
    if !run.env.is_empty() {
        options.push(("env", pairs(run.env.iter())));
    }
    match run.network {
        Network::Default => {}
        Network::None => options.push(("network", text("none"))),
        Network::Host => options.push(("network", text("host"))),
    }
    if run.insecure {
        options.push(("privileged", "true".to_owned()));
    }
    if !run.devices.is_empty() {
        let device = |device: &Device| match device.required {
            true => text(&device.name),
            false => format!("#{{ name: {}, required: false }}", text(&device.name)),
        };
        options.push(("devices", format!("[{}]", run.devices.iter().map(device).collect::<Vec<_>>().join(", "))));
    }
    let command = match &run.command {
        Command::Shell(line) => text(line),
        Command::Exec(words) => list(words),
        // One that begins with `#!` is executed itself, as there.
        Command::Script(script) => text(script),
    };
    let _ = match options.is_empty() {
        true => writeln!(out, "{name}.run({command});"),
        false => writeln!(out, "{name}.run({command}, {});", map(&options)),
    };
}

/// The mode, when it is not the usual one, and the owner, when that is not root.
fn put_owner(put: &mut dyn FnMut(&'static str, String), (mode, usual): (u32, u32), uid: u32, gid: u32) {
    if mode != usual {
        put("mode", text(&format!("{mode:04o}")));
    }
    for (name, id) in [("uid", uid), ("gid", gid)] {
        if id != 0 {
            put(name, id.to_string());
        }
    }
}

/// A variable of the environment for a secret.
fn variable(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn copy_lines(out: &mut String, graph: &Graph, names: &[String], name: &str, copy: &Copy) {
    // Sources of one kind make one call.
    let mut calls: Vec<(&str, Option<String>, Vec<String>, Fields<'_>)> = Vec::new();
    for source in &copy.sources {
        let (verb, from, word, options) = match source {
            Source::Path { from, pattern, unpack, .. } => {
                let verb = if *unpack { "add" } else { "copy" };
                (verb, origin(graph, names, from), pattern.clone(), Vec::new())
            }
            Source::Url { url, checksum, unpack } => {
                let mut options = Vec::new();
                options.extend(checksum.as_ref().map(|checksum| ("checksum", text(checksum.as_str()))));
                options.extend(unpack.then(|| ("unpack", "true".to_owned())));
                ("add", None, url.clone(), options)
            }
            Source::Git { url, reference, folder, checksum, keep_git_dir } => {
                let mut address = url.clone();
                if reference.is_some() || folder.is_some() {
                    let folder = folder.as_ref().map(|folder| format!(":{folder}")).unwrap_or_default();
                    address = format!("{url}#{}{folder}", reference.as_deref().unwrap_or_default());
                }
                let mut options = Vec::new();
                options.extend(checksum.as_ref().map(|checksum| ("checksum", text(checksum))));
                options.extend(keep_git_dir.then(|| ("keep_git_dir", "true".to_owned())));
                ("add", None, address, options)
            }
            Source::Inline(inline) => {
                let content = text(&String::from_utf8_lossy(&inline.data));
                ("copy", None, inline.name.clone(), vec![("content", content)])
            }
        };
        match calls.last_mut() {
            Some((last, of, words, given))
                if *last == verb && *of == from && *given == options && !has_content(given) =>
            {
                words.push(word);
            }
            _ => calls.push((verb, from, vec![word], options)),
        }
    }
    // They come to one layer, as they do there.
    let several = calls.len() > 1;
    if several {
        let _ = writeln!(out, "layer({name}, || {{");
    }
    let indent = if several { "    " } else { "" };
    for (verb, from, words, mut options) in calls {
        options.extend(from.map(|from| ("from", from)));
        options.extend(copy.chown.as_ref().map(|chown| ("chown", text(chown))));
        options.extend(copy.chmod.as_ref().map(|chmod| ("chmod", text(chmod))));
        options.extend((!copy.exclude.is_empty()).then(|| ("exclude", list(&copy.exclude))));
        options.extend(copy.parents.then(|| ("parents", "true".to_owned())));
        options.extend(copy.link.then(|| ("link", "true".to_owned())));
        let source = if let [one] = words.as_slice() { text(one) } else { list(&words) };
        let target = text(&copy.target);
        let _ = match options.is_empty() {
            true => writeln!(out, "{indent}{name}.{verb}({source}, {target});"),
            false => writeln!(out, "{indent}{name}.{verb}({source}, {target}, {});", map(&options)),
        };
    }
    if several {
        out.push_str("});\n");
    }
}

fn has_content(options: &Fields<'_>) -> bool {
    options.iter().any(|(name, _)| *name == "content")
}

/// Where files come from, when it is not the build context.
fn origin(graph: &Graph, names: &[String], origin: &Origin) -> Option<String> {
    match origin {
        Origin::Context(0) => None,
        Origin::Context(index) => graph.contexts.get(*index).map(|context| context_name(&context.name)),
        Origin::Stage(index) => names.get(*index).cloned(),
        Origin::Image(reference) => Some(text(reference)),
    }
}

/// The variable that holds the files of a named context.
fn context_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("context_{}", name.chars().map(plain).collect::<String>())
}

fn change_call(change: &Change) -> Option<String> {
    let command = |verb: &str, words: &[String], shell: bool| match (shell, words) {
        (true, [line]) => format!("{verb}({})", text(line)),
        _ => format!("{verb}({})", list(words)),
    };
    Some(match change {
        // A map of a script is in the order of its names.
        Change::Env(env) if env.is_sorted_by(|one, other| one.0 < other.0) => {
            format!("env({})", pairs(env.iter().map(|(name, value)| (name, value))))
        }
        Change::Env(env) => {
            let one = |(name, value): &(String, String)| format!("env({}, {})", text(name), text(value));
            env.iter().map(one).collect::<Vec<_>>().join(".")
        }
        Change::Arg(name, value) => format!("arg({}, {})", text(name), text(value)),
        Change::Label(labels) => format!("label({})", pairs(labels.iter())),
        Change::Cmd { words, shell } => command("cmd", words, *shell),
        Change::Entrypoint { words, shell } => command("entrypoint", words, *shell),
        Change::Workdir(path) => format!("workdir({})", text(path)),
        Change::User(user) => format!("user({})", text(user)),
        Change::Expose(ports) => format!("expose({})", list(ports)),
        Change::Volume(targets) => format!("volume({})", list(targets)),
        Change::Shell(words) => format!("shell({})", list(words)),
        Change::StopSignal(signal) => format!("stop_signal({})", text(signal)),
        Change::OnBuild(instruction) => format!("onbuild({})", text(instruction)),
        Change::HealthCheck(check) => {
            let (kind, words) = check.test.split_first()?;
            if kind == crate::model::health::NONE {
                return Some("healthcheck(\"NONE\")".to_owned());
            }
            let test = match (kind.as_str(), words) {
                ("CMD-SHELL", [line]) => text(line),
                // A first word that says how it is run is no word of the command.
                _ if matches!(words.first().map(String::as_str), Some("NONE" | "CMD" | "CMD-SHELL")) => {
                    list(&check.test)
                }
                _ => list(words),
            };
            let mut options = vec![("command", test)];
            let times = [
                ("interval", check.interval),
                ("timeout", check.timeout),
                ("start_period", check.start_period),
                ("start_interval", check.start_interval),
            ];
            let go = crate::base::units::go_duration;
            options.extend(times.into_iter().filter_map(|(name, time)| Some((name, text(&go(time?))))));
            options.extend(check.retries.map(|retries| ("retries", retries.to_string())));
            format!("healthcheck({})", map(&options))
        }
        // A script's builds have no triggers of their base left, and no author.
        Change::ClearOnBuild | Change::Author(_) => return None,
    })
}

/// A string of the script.
fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| text(value)).collect::<Vec<_>>().join(", "))
}

fn map(fields: &[(&str, String)]) -> String {
    let all: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("#{{ {} }}", all.join(", "))
}

fn pairs<'a>(values: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !RESERVED.contains(&name)
    };
    let key = |name: &str| if plain(name) { name.to_owned() } else { text(name) };
    let all: Vec<String> = values.map(|(name, value)| format!("{}: {}", key(name), text(value))).collect();
    format!("#{{ {} }}", all.join(", "))
}
