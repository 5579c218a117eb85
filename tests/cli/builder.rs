//! What builds keep: listed, counted, and removed as Docker's users do it.

use crate::support::Rhumb;
use crate::support::process::{self, Outcome, PATIENCE};

/// A build of two steps, one of which is in an image and one in none, and a cache of a command's.
fn built() -> Rhumb {
    let rhumb = Rhumb::with_base();
    let script = r#"
        build::from("base:1").run("echo kept >/kept").commit("kept:1");
        build::from("base:1").run("echo loose >/m/x; echo loose >/loose", #{ mounts: [#{ type: "cache", id: "things", target: "/m" }] }).solve();
    "#;
    rhumb.script(script).ok();
    rhumb
}

fn run(rhumb: &Rhumb, line: &str) -> Outcome {
    let mut command = rhumb.command(line.split(' '));
    process::run(&mut command, None, PATIENCE)
}

#[test]
fn what_builds_keep_is_listed_and_goes_by_its_use() {
    let rhumb = built();
    let shown = run(&rhumb, "builder du").ok();
    assert!(shown.starts_with("CACHE ID "), "{shown}");
    for (text, shared) in [("RUN echo kept >/kept", "true"), ("RUN echo loose >", "false"), ("things", "false")] {
        let line = shown.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} in {shown}"));
        assert!(line.split_whitespace().any(|word| word == shared), "{line}");
    }
    assert!(shown.lines().last().unwrap().starts_with("Reclaimable: "), "{shown}");
    let kinds = run(&rhumb, "buildx du --format {{.CacheType}}").ok();
    assert_eq!(kinds.lines().collect::<Vec<_>>(), ["regular", "regular", "exec.cachemount"]);
    let row = |rhumb: &Rhumb| {
        let df = run(rhumb, "system df --format {{.Type}}={{.TotalCount}}={{.Active}}={{.Reclaimable}}").ok();
        df.lines().find_map(|line| line.strip_prefix("Build Cache=").map(str::to_owned)).unwrap()
    };
    assert!(row(&rhumb).starts_with("3=1=") && row(&rhumb).ends_with("(100%)"), "{}", row(&rhumb));
    // Nothing is that old, and there is room for all.
    for spared in ["--filter until=1h", "--keep-storage 1GB"] {
        let pruned = run(&rhumb, &format!("builder prune -f {spared}")).ok();
        assert_eq!(pruned, "Total reclaimed space: 0B", "{spared}");
    }
    let pruned = run(&rhumb, "builder prune --force").ok();
    assert!(pruned.starts_with("Deleted build cache objects:\n"), "{pruned}");
    assert_eq!(row(&rhumb), "1=1=0B", "what an image has stays");
    rhumb.script("assert(build::from(\"base:1\").run(\"echo kept >/kept\").solve().cached == 1)").ok();
    run(&rhumb, "buildx prune -af").ok();
    assert_eq!(row(&rhumb), "0=0=0B");
    assert_eq!(run(&rhumb, "run --rm kept:1 cat /kept").ok(), "kept");
    rhumb.assert_consistent();
}

#[test]
fn builds_forget_what_is_beyond_the_limit() {
    let rhumb = Rhumb::with_base();
    let build = |number: usize, limit: &str, end: &str| {
        let script = format!("build::from(\"base:1\").run(\"head -c 100000 /dev/zero >/{number}\").{end}");
        let mut command = rhumb.command(["-e", &script]);
        process::run(command.env("RHUMB_BUILD_CACHE", limit), None, PATIENCE)
    };
    (1..=4).for_each(|number| drop(build(number, "250kB", "solve()").ok()));
    let kept = || run(&rhumb, "builder du --no-trunc --format {{.Description}}").ok();
    assert_eq!(kept(), "RUN head -c 100000 /dev/zero >/3\nRUN head -c 100000 /dev/zero >/4");
    // Not even this build's own is kept, and it is built nevertheless.
    build(5, "0", "commit(\"made:1\")").ok();
    assert_eq!(kept(), "");
    assert_eq!(run(&rhumb, "run --rm made:1 ls /5").ok(), "/5");
    // What the image has that a build makes costs its record, a build that does nothing forgets nothing.
    build(5, "50kB", "commit(\"made:1\")").ok();
    build(5, "0", "solve()").ok();
    build(6, "150kB", "solve()").ok();
    assert_eq!(kept(), "RUN head -c 100000 /dev/zero >/5\nRUN head -c 100000 /dev/zero >/6");
    // Records cost something as well.
    let many = "let b = build::from(\"base:1\"); for i in 0..20 { b.run(`true ${i}`); } b.solve();";
    let mut command = rhumb.command(["-e", many]);
    process::run(command.env("RHUMB_BUILD_CACHE", "10kB"), None, PATIENCE).ok();
    assert!((1..15).contains(&kept().lines().count()), "{}", kept());
    build(6, "lots", "solve()").fails_with(2, "reading how much builds may keep");
    rhumb.assert_consistent();
}

#[test]
fn what_does_not_go_together_is_refused() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "builder prune -f --filter label=x").fails_with(2, "no labels");
    run(&rhumb, "builder prune -f --keep-storage lots").fails_with(2, "lots");
    run(&rhumb, "builder nope").fails_with(2, "builder");
}

#[test]
fn a_prune_of_all_takes_networks_and_what_builds_keep() {
    let rhumb = built();
    run(&rhumb, "network create --subnet 10.231.90.0/24 idle").ok();
    let pruned = run(&rhumb, "system prune -f").ok();
    assert!(pruned.lines().any(|line| line == "idle"), "{pruned}");
    let kept = run(&rhumb, "builder du --format {{.Description}}").ok();
    assert_eq!(kept, "RUN echo kept >/kept");
    run(&rhumb, "system prune -af").ok();
    assert_eq!(run(&rhumb, "builder du --format {{.ID}}").ok(), "");
    assert_eq!(run(&rhumb, "images -q").ok(), "");
    rhumb.assert_consistent();
}

#[test]
fn builds_go_by_each_of_their_names() {
    let rhumb = Rhumb::with_base();
    let folder = rhumb.path("context");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("Dockerfile"), "FROM base:1\nRUN echo one >/one\n").unwrap();
    for (words, tag) in [("builder build", "a:1"), ("buildx build", "a:2"), ("image build", "a:3")] {
        run(&rhumb, &format!("{words} -q -t {tag} {}", folder.display())).ok();
        assert_eq!(run(&rhumb, &format!("run --rm {tag} cat /one")).ok(), "one");
    }
    // The script beside it comes first.
    std::fs::write(folder.join("build.rhai"), "build::from(\"base:1\").run(\"echo two >/one\").commit(\"b:1\");")
        .unwrap();
    run(&rhumb, &format!("buildx build {}", folder.display())).ok();
    assert_eq!(run(&rhumb, "run --rm b:1 cat /one").ok(), "two");
}
