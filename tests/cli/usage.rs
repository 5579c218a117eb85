//! Command lines that are wrong: what is said, what is meant, and the exit code. None of these needs an engine.

use crate::support::Rhumb;

#[test]
fn wrong_words_are_answered_with_what_was_meant() {
    let rhumb = Rhumb::new();
    for (line, code, message, hint) in [
        ("frobnicate", 2, "unknown command \"frobnicate\" of \"rhumb\"", "see \"rhumb --help\""),
        ("rnu", 2, "unknown command \"rnu\"", "did you mean \"run\"?"),
        ("search alpine", 7, "\"rhumb search\" is not built yet", "see \"rhumb --help\""),
        ("container lss", 2, "unknown command \"lss\" of \"rhumb container\"", "did you mean \"ls\"?"),
        ("ps --fromat json", 2, "unknown option \"--fromat\" of \"rhumb ps\"", "did you mean \"--format\"?"),
        ("ps -y", 2, "unknown option \"-y\" of \"rhumb ps\"", "see \"rhumb ps --help\""),
        ("-e", 2, "needs an expression", "EXPRESSION"),
        ("run --memoryy 1 x", 125, "unknown option \"--memoryy\" of \"rhumb run\"", "did you mean \"--memory\"?"),
        ("run", 125, "\"rhumb run\" needs IMAGE", "see"),
        ("exec", 125, "needs CONTAINER", "see"),
        ("exec web", 125, "needs a container and a command", "see"),
        ("create --nmae x base", 2, "unknown option \"--nmae\"", "did you mean \"--name\"?"),
        ("rename web", 2, "needs NAME", "see"),
        ("stop --time 1", 2, "needs CONTAINER", "see"),
        ("ps --format yaml", 2, "unknown format \"yaml\"", "use table, json"),
        ("ps --format {{.ID", 2, "template: :1: unclosed action", ""),
        ("ps --format {{.Nmaes}}", 2, "at <.Nmaes>: can't evaluate field Nmaes", "did you mean \"Names\"?"),
        ("images --format {{.Foo}}", 2, "can't evaluate field Foo in type *formatter.imageContext", ""),
        ("volume ls --format {{nosuch}}", 2, "function \"nosuch\" not defined", ""),
        ("inspect -f {{.ID web", 2, "template: :1: unclosed action", ""),
        ("info --format {{.Nothing}}", 2, "map has no entry for key \"Nothing\"", ""),
        ("ps --filter name", 2, "\"name\" is not a filter", "key=value"),
        ("ps --filter nam=x", 2, "unknown filter \"nam\"", "did you mean \"name\"?"),
        ("ps --filter status=exitd", 2, "unknown status \"exitd\"", "did you mean \"exited\"?"),
        ("ps --filter exited=x", 2, "takes an exit code", ""),
        ("ps --filter isolation=x", 7, "filter \"isolation\" is not supported", "ancestor"),
        ("ps --filter before=nosuch", 3, "no such container \"nosuch\"", ""),
        ("ps --filter name=[", 2, "\"[\" is not a regular expression", ""),
        ("ps --filter publish=x", 2, "\"x\"", ""),
        ("images --filter before=nosuch", 3, "nosuch", ""),
        ("images --filter until=yesterday", 2, "\"yesterday\" is not a time", ""),
        ("volume prune -f --filter until=1h", 2, "not pruned by \"until\"", "label"),
        ("system prune -f --volumes --filter until=1h", 2, "does not go with --volumes", ""),
        ("container prune -f --filter labl=x", 2, "unknown filter \"labl\"", "did you mean \"label\"?"),
        ("volume ls --filter dangling=maybe", 2, "takes true or false", ""),
        ("logs --tail some web", 2, "takes a number or all", ""),
        ("logs --since yesterday web", 2, "\"yesterday\" is not a time", "10m"),
        ("stop -t -2 web", 2, "takes seconds or -1", ""),
        ("volume create -o type=nfs x", 7, "driver option \"type=nfs\"", ""),
        ("volume create --label =x y", 2, "--label", "name=value"),
        ("container prune -f --filter until=yesterday", 2, "is not a time", ""),
        ("container prune -f --filter name=x", 2, "unknown filter \"name\"", "label"),
        ("build one two", 2, "unknown argument \"two\" of \"rhumb build\"", "see"),
        ("build . logs", 2, "cannot be used with", "see"),
        ("start --checkpoint one web", 7, "option \"--checkpoint\" is not supported", ""),
        ("create --stop-timeout -2 base:1", 2, "takes seconds or -1", ""),
    ] {
        let outcome = rhumb.sh(line);
        outcome.fails_with(code, message);
        assert!(outcome.stderr.starts_with("rhumb: "), "{outcome}");
        assert!(
            hint.is_empty() || outcome.stderr.lines().any(|line| line.starts_with("hint: ") && line.contains(hint)),
            "{outcome}"
        );
        assert_eq!(outcome.stdout, "", "{outcome}");
    }
}

#[test]
fn flags_of_run_that_cannot_be_honoured_are_refused_by_name() {
    let rhumb = Rhumb::new();
    for flag in [
        "--gpus all",
        "--runtime runc",
        "--kernel-memory 5m",
        "--platform linux/arm64",
        "--storage-opt size=1g",
        "--volume-driver nfs",
        "--isolation default",
        "--log-driver gelf",
    ] {
        let outcome = rhumb.sh(&format!("run {flag} base true"));
        outcome.fails_with(125, "not supported");
        let name = flag.split(' ').next().unwrap();
        assert!(outcome.stderr.contains(name), "{outcome}");
    }
}

#[test]
fn wrong_values_name_their_flag() {
    let rhumb = Rhumb::new();
    for (flag, words) in [
        ("--device-read-bps sda:1m", "\"--device-read-bps\""),
        ("--blkio-weight 1", "\"--blkio-weight\""),
        ("--memory-swappiness 101", "\"--memory-swappiness\""),
        ("--userns auto:size=0", "\"--userns\""),
        ("--ipc shared", "\"--ipc\""),
        ("--security-opt no-new-privs", "did you mean \"no-new-privileges\"?"),
        ("-m lots", "\"--memory\": \"lots\" is not a size"),
        ("--memory-swap some", "\"--memory-swap\""),
        ("--cpus many", "'many' for '--cpus"),
        ("--cpus=-1", "\"--cpus\" takes a number of zero or more"),
        ("--cpuset-cpus 3-1", "\"--cpuset-cpus\""),
        ("-v a:b:c:d", "\"--volume\""),
        ("--mount type=bind,src=/a", "\"--mount\": \"--mount\" needs a target"),
        ("--mount typ=bind", "unknown field \"typ\""),
        ("--tmpfs tmp", "\"--tmpfs\""),
        ("--volumes-from x:rx", "\"--volumes-from\""),
        ("-e =x", "\"--env\""),
        ("--env-file /nonexistent", "\"--env-file\""),
        ("--label-file /nonexistent", "\"--label-file\""),
        ("-w srv", "\"--workdir\""),
        ("--ulimit nofiles=1", "unknown ulimit \"nofiles\""),
        ("--sysctl x", "\"--sysctl\""),
        ("--device fuse", "\"--device\""),
        ("--add-host x", "\"--add-host\""),
        ("--dns x", "\"--dns\""),
        ("--dns-option=", "\"--dns-option\""),
        ("--expose 99999", "\"--expose\""),
        ("--oom-score-adj 5000", "\"--oom-score-adj\""),
        ("--pid x", "unknown pid mode \"x\""),
        ("--userns x", "unknown userns mode \"x\""),
        ("--log-opt x", "\"--log-opt\""),
        ("--log-opt max-siz=1m", "did you mean \"max-size\"?"),
        ("-a stdio", "\"--attach\""),
        ("-d -a stdout", "exclude each other"),
        ("--detach-keys ctrl-p,ctrlq", "\"--detach-keys\""),
        ("--tmpfs /a -v /a", "duplicate mount point \"/a\""),
        ("--restart sometimes", "invalid restart policy \"sometimes\": there is no such policy"),
        ("--restart alway", "did you mean \"always\"?"),
        ("--restart always:3", "only \"on-failure\" takes a number"),
        ("--restart no:1", "only \"on-failure\" takes a number"),
        ("--restart on-failure:x", "must be an integer"),
        ("--restart on-failure:-1", "cannot be negative"),
        ("--restart on-failure:5000000000", "too large"),
        ("--restart :3", "no policy before the colon"),
    ] {
        let line = format!("run {flag} base true");
        let outcome = rhumb.sh(&line);
        outcome.fails_with(125, words);
    }
}

#[test]
fn a_missing_script_is_said_to_be_missing() {
    let rhumb = Rhumb::new();
    rhumb.sh("nofile.rhai").fails_with(3, "nofile.rhai");
    rhumb.sh("./nofile").fails_with(3, "./nofile");
}
