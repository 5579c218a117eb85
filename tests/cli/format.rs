//! `--format`: Go templates on every listing and on `inspect`, as Docker's users write them.

use crate::support::process::Outcome;
use crate::support::{BASE, Rhumb};

fn with_container() -> Rhumb {
    let rhumb = Rhumb::with_base();
    rhumb.sh("volume create --label tier=data data").ok();
    rhumb
        .run([
            "create",
            "--name",
            "web",
            "--label",
            "com.example.tier=front",
            "-e",
            "A=1",
            "-v",
            "data:/data",
            BASE,
            "sleep",
            "300",
        ])
        .ok();
    rhumb
}

fn shown(rhumb: &Rhumb, args: &[&str]) -> String {
    rhumb.run(args).ok()
}

#[test]
fn listings_take_templates() {
    let rhumb = with_container();
    for (line, format, expected) in [
        ("ps -a", "{{.Names}}\\t{{.State}}\\t{{.Status}}", "web\tcreated\tCreated"),
        ("ps -a", "{{.Names}}:{{.LocalVolumes}}:{{.Mounts}}:{{.Label \"com.example.tier\"}}", "web:1:data:front"),
        ("ps -a", "{{.Size}}|{{json .Names}}|{{upper .Names}}|{{.Command}}", ""),
        ("ps -a", "table {{.Names}}\\t{{.State}}", "NAMES     STATE\nweb       created"),
        ("ps -a", "table {{.Label \"com.example.tier\"}}", "tier\nfront"),
        ("ps", "table {{.Names}}\\t{{.State}}", "NAMES     STATE"),
        ("ps", "{{.Names}}", ""),
        (
            "volume ls",
            "{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}} {{.Label \"tier\"}}",
            "data local local tier=data data",
        ),
        ("volume ls", "table {{.Name}}\\t{{.Mountpoint}}", ""),
        ("images", "{{.Repository}}", BASE.split(':').next().unwrap()),
        ("system df", "{{.Type}}", "Images\nContainers\nLocal Volumes\nBuild Cache"),
        ("system df", "table {{.Type}}\\t{{.TotalCount}}", ""),
        ("version", "{{.Server.Version}}", env!("CARGO_PKG_VERSION")),
        ("info", "{{.OSType}} {{.Containers}}", "linux 1"),
        ("container stats --no-stream --all", "{{.Name}} {{.MemPerc}} {{.PIDs}}", "web 0.00% 0"),
        ("container stats --no-stream", "table {{.Name}}\\t{{.CPUPerc}}", "NAME      CPU %"),
    ] {
        let mut args: Vec<&str> = line.split(' ').collect();
        args.extend(["--format", format]);
        let text = shown(&rhumb, &args);
        if !expected.is_empty() {
            assert_eq!(text, expected, "{line} {format}");
        }
    }
    assert_eq!(shown(&rhumb, &["history", "--format", "{{.ID}}", "--no-trunc", BASE]).lines().count(), 1);
    assert_eq!(shown(&rhumb, &["history", "-H=false", "--format", "{{.CreatedSince}}", BASE]).len(), 20);
    assert!(shown(&rhumb, &["ps", "-as"]).contains("(virtual "));
    assert!(shown(&rhumb, &["ps", "-a"]).lines().next().unwrap().ends_with("NAMES"));
}

#[test]
fn inspect_takes_templates_over_dockers_structs_and_its_json() {
    let rhumb = with_container();
    for (format, expected) in [
        ("{{.Name}} {{.State.Status}} {{.State.Running}}", "/web created false"),
        // A field of the struct, and one that JSON alone has.
        ("{{len .ID}}", "64"),
        ("{{len .Id}}", "64"),
        ("{{.HostConfig.NanoCPUs}}", "0"),
        ("{{.HostConfig.NanoCpus}}", "0"),
        ("{{.State.Health}} {{.Config.Healthcheck}} {{.HostConfig.PidsLimit}}", "<nil> <nil> <nil>"),
        ("{{range .Config.Env}}{{println .}}{{end}}", ""),
        ("{{range .Mounts}}{{.Type}}:{{.Name}}:{{.Destination}}{{end}}", "volume:data:/data"),
        (
            "{{json .Config.Labels}} {{index .Config.Labels \"com.example.tier\"}}",
            "{\"com.example.tier\":\"front\"} front",
        ),
        ("{{join .Config.Cmd \" \"}}", "sleep 300"),
        ("{{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}}", "{no 0} {json-file map[]}"),
        ("{{with .State.Health}}{{.Status}}{{else}}none{{end}}", "none"),
        ("{{if eq .State.Status \"created\"}}yes{{end}}", "yes"),
        ("{{.Name}}\\t{{.Path}}", "/web\\tsleep"),
        ("{{printf \"%-8s|%5.2f\" .Name 1.5}}", "/web    | 1.50"),
    ] {
        let text = shown(&rhumb, &["inspect", "-f", format, "web"]);
        if !expected.is_empty() {
            assert_eq!(text, expected, "{format}");
        }
    }
    // Several objects of several nouns, a line each.
    assert_eq!(shown(&rhumb, &["inspect", "-f", "{{.Name}}", "web", "data"]), "/web\ndata");
    assert_eq!(shown(&rhumb, &["inspect", "--type", "volume", "-f", "{{.Labels.tier}}", "data"]), "data");
    assert!(shown(&rhumb, &["image", "inspect", "-f", "{{.RepoTags}} {{.Config.Labels}}", BASE]).starts_with("["));
    assert!(shown(&rhumb, &["inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "web"]).starts_with("0 "));
    assert!(shown(&rhumb, &["inspect", "-f", "json", "web"]).starts_with("[{\"Id\":"));
}

#[test]
fn what_does_not_fit_is_said_and_nothing_printed_half() {
    let rhumb = with_container();
    let fails = |args: &[&str], message: &str| -> Outcome {
        let outcome = rhumb.run(args);
        assert!(outcome.code != 0 && outcome.stderr.contains(message), "{args:?}: {outcome}");
        outcome
    };
    let place = "template parsing error: template: :1:9: executing \"\" at <.Foo>: ";
    let outcome = fails(&["ps", "-a", "--format", "{{.ID}} {{.Foo}}"], "can't evaluate field Foo");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
    let outcome = fails(&["inspect", "-f", "{{.Id}} {{.Foo}}", "web"], "map has no entry for key \"Foo\"");
    assert!(outcome.stdout.trim().is_empty() && outcome.stderr.contains("template: :1:10: "), "{outcome} {place}");
    let outcome = fails(&["inspect", "-f", "{{.Name}}", "web", "nosuch", "data"], "nosuch");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (3, "/web\ndata\n"));
    fails(&["inspect", "-f", "{{range}}", "web"], "missing value for range");
    fails(&["inspect", "-f", "{{if}}", "nosuch"], "missing value for if");
    fails(&["volume", "ls", "--format", "{{.Label}}"], "wrong number of args for Label: want 1 got 0");
}

#[test]
fn hostile_templates_end_soon_with_an_error() {
    let rhumb = with_container();
    let deep = format!("{}x{}", "{{if true}}".repeat(5000), "{{end}}".repeat(5000));
    let parentheses = format!("{{{{{}1{}}}}}", "(".repeat(30_000), ")".repeat(30_000));
    let long = "{{.ID}}".repeat(15_000);
    for format in [
        deep.as_str(),
        &parentheses,
        "{{printf \"%1000000000d\" 1}}",
        "{{printf \"%*d\" 2000000000 1}}",
        "{{pad .ID 2000000000 2000000000}}",
        "{{range 9223372036854775807}}x{{end}}",
        "{{range 100000}}{{range 100000}}{{range 100000}}{{end}}{{end}}{{end}}",
        "{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}",
        "{{define \"a\"}}{{template \"a\" .}}{{template \"a\" .}}{{end}}{{template \"a\" .}}",
        "{{$x := \"aaaaaaaa\"}}{{range 100}}{{$x = printf \"%s%s\" $x $x}}{{end}}{{$x}}",
    ] {
        for args in [&["ps", "-a", "--format", format][..], &["inspect", "-f", format, "web"]] {
            let begun = std::time::Instant::now();
            let outcome = rhumb.run(args);
            let shown: String = format.chars().take(60).collect();
            assert!(begun.elapsed().as_secs() < 20, "{shown}: {:?}", begun.elapsed());
            assert!(outcome.stdout.len() < 40 << 20, "{shown}");
            if outcome.code != 0 {
                assert_eq!(outcome.code, 2, "{shown}: {}", outcome.stderr);
                assert!(outcome.stderr.contains("template"), "{shown}: {}", outcome.stderr);
            }
        }
    }
    // Many fields are no crime.
    assert_eq!(rhumb.run(["ps", "-a", "--format", &long]).ok().len(), 15_000 * 12);
}
