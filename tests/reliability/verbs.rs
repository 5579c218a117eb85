//! The verbs under experiment, as data: what there must be before, the act, and what an act that was cut short may leave
//! besides "nothing happened" and "it is done".

/// One verb. Lines are run by the shell with `rhumb` as the binary on the test's root; the folders `in` (made once) and
/// `out` (empty before each act) lie beside it.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Run before the act, outside of the experiment.
    pub(crate) prepare: &'static [&'static str],
    /// The one command that is killed or made to fail.
    pub(crate) act: &'static str,
    /// States of the container `box` that are allowed besides those before and after: `start` that was cut short after the
    /// monitor died leaves `dead`, and a container whose create was acknowledged may be `created`.
    pub(crate) between: &'static [&'static str],
    /// Run afterwards; each may fail, since what it removes may not be there.
    pub(crate) clean: &'static [&'static str],
}

const RM: &str = "rhumb rm -f -v box";

/// A started container whose start was cut short may be anything that a container is; but it may not be half-made.
const STARTING: &[&str] = &["", "created", "running", "exited", "dead"];

/// Every verb that changes something.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        prepare: &[],
        act: "rhumb create --name box -v /data -v kept:/kept base:1 sleep 1000",
        between: &[],
        clean: &[RM],
    },
    Verb {
        name: "run",
        prepare: &[],
        act: "rhumb run -d --name box -v /data base:1 sleep 1000",
        between: STARTING,
        clean: &[RM],
    },
    Verb {
        name: "run_rm",
        prepare: &[],
        act: "rhumb run --rm --name box -v /data base:1 true",
        between: STARTING,
        clean: &[RM],
    },
    Verb {
        name: "start",
        prepare: &["rhumb create --name box -v /data base:1 sleep 1000"],
        act: "rhumb start box",
        between: STARTING,
        clean: &[RM],
    },
    Verb {
        name: "stop",
        prepare: &["rhumb run -d --name box base:1 sleep 1000"],
        act: "rhumb stop -t 0 box",
        between: &["exited", "dead"],
        clean: &[RM],
    },
    Verb {
        name: "kill",
        prepare: &["rhumb run -d --name box base:1 sleep 1000"],
        act: "rhumb kill box",
        between: &["running", "exited", "dead"],
        clean: &[RM],
    },
    Verb {
        name: "exec_kill",
        prepare: &["rhumb run -d --name box base:1 sleep 1000", "rhumb exec -d box sleep 1000"],
        act: "rhumb container exec-kill box $(rhumb container execs -q box)",
        between: &[],
        clean: &[RM],
    },
    Verb {
        name: "restart",
        prepare: &["rhumb run -d --name box base:1 sleep 1000"],
        act: "rhumb restart -t 0 box",
        between: &["created", "running", "exited", "dead"],
        clean: &[RM],
    },
    Verb {
        name: "logs_clear",
        prepare: &["rhumb run -d --name box base:1 sh -c 'echo hello; sleep 1000'"],
        act: "rhumb logs --clear box",
        between: &["dead"],
        clean: &[RM],
    },
    Verb {
        name: "pause",
        prepare: &["rhumb run -d --name box base:1 sleep 1000"],
        act: "rhumb pause box",
        between: &["dead"],
        clean: &[RM],
    },
    Verb {
        name: "rename",
        prepare: &["rhumb create --name box base:1 true"],
        act: "rhumb rename box other",
        between: &[],
        clean: &[RM, "rhumb rm -f -v other"],
    },
    Verb {
        name: "rm",
        prepare: &["rhumb create --name box -v /data base:1 true"],
        act: "rhumb rm -v box",
        between: &[],
        clean: &[RM],
    },
    Verb {
        name: "rm_force",
        prepare: &["rhumb run -d --name box -v /data base:1 sleep 1000"],
        act: "rhumb rm -f -v box",
        between: &["exited", "dead", "running"],
        clean: &[RM],
    },
    Verb {
        name: "exec",
        prepare: &["rhumb run -d --name box base:1 sleep 1000"],
        act: "rhumb exec box true",
        between: &["dead"],
        clean: &[RM],
    },
    Verb {
        name: "container_prune",
        prepare: &["rhumb create --name box -v /data base:1 true"],
        act: "rhumb container prune -f",
        between: &[],
        clean: &[RM, "rhumb volume prune -f"],
    },
    Verb {
        name: "commit",
        prepare: &["rhumb run -d --name box base:1 sleep 1000", "rhumb exec box touch -d @1 /made"],
        act: "rhumb commit box extra:1",
        between: &["dead"],
        clean: &[RM, "rhumb rmi extra:1"],
    },
    Verb {
        name: "cp_in",
        prepare: &["rhumb run -d --name box -v vol:/v base:1 sleep 1000", "rhumb exec box sh -c 'echo old > /v/zeros'"],
        act: "rhumb cp in/files/zeros box:/v/zeros",
        between: &[],
        clean: &[RM, "rhumb volume rm vol"],
    },
    Verb {
        name: "cp_in_stopped",
        prepare: &["rhumb create --name box -v vol:/v base:1 true"],
        act: "rhumb cp in/files/zeros box:/v/zeros",
        between: &[],
        clean: &[RM, "rhumb volume rm vol"],
    },
    Verb {
        name: "cp_out",
        prepare: &["rhumb run -d --name box base:1 sleep 1000"],
        act: "rhumb cp box:/usr/bin/true out/true",
        between: &["dead"],
        clean: &[RM],
    },
    Verb {
        name: "export",
        prepare: &["rhumb create --name box base:1 true"],
        act: "rhumb export -o out/box.tar box",
        between: &[],
        clean: &[RM],
    },
    Verb { name: "load", prepare: &[], act: "rhumb load -i in/extra.tar", between: &[], clean: &["rhumb rmi extra:1"] },
    Verb { name: "save", prepare: &[], act: "rhumb save -o out/base.tar base:1", between: &[], clean: &[] },
    Verb {
        name: "import",
        prepare: &[],
        act: "rhumb import in/files.tar extra:1",
        between: &[],
        clean: &["rhumb rmi extra:1"],
    },
    Verb {
        name: "from_dir",
        prepare: &[],
        act: r#"rhumb -e 'image::from_dir("in/files", "extra:1")'"#,
        between: &[],
        clean: &["rhumb rmi extra:1"],
    },
    Verb {
        name: "from_host",
        prepare: &[],
        act: r#"rhumb -e 'image::from_host(["echo"], "extra:1")'"#,
        between: &[],
        clean: &["rhumb rmi extra:1"],
    },
    Verb { name: "tag", prepare: &[], act: "rhumb tag base:1 extra:1", between: &[], clean: &["rhumb rmi extra:1"] },
    Verb {
        name: "untag",
        prepare: &["rhumb tag base:1 extra:1"],
        act: "rhumb rmi extra:1",
        between: &[],
        clean: &["rhumb rmi extra:1"],
    },
    Verb {
        name: "rmi",
        prepare: &["rhumb load -i in/extra.tar"],
        act: "rhumb rmi extra:1",
        between: &[],
        clean: &["rhumb rmi extra:1"],
    },
    Verb {
        name: "image_prune",
        prepare: &["rhumb load -i in/extra.tar"],
        act: "rhumb image prune -a -f",
        between: &[],
        clean: &["rhumb rmi extra:1"],
    },
    Verb {
        name: "volume_create",
        prepare: &[],
        act: "rhumb volume create vol",
        between: &[],
        clean: &["rhumb volume rm vol"],
    },
    Verb {
        name: "volume_rm",
        prepare: &["rhumb volume create vol"],
        act: "rhumb volume rm vol",
        between: &[],
        clean: &["rhumb volume rm vol"],
    },
    Verb {
        name: "volume_rename",
        prepare: &["rhumb volume create vol"],
        act: r#"rhumb -e 'volume::get("vol").rename("wol")'"#,
        between: &[],
        clean: &["rhumb volume rm vol", "rhumb volume rm wol"],
    },
    Verb {
        name: "volume_backup",
        prepare: &[],
        act: r#"rhumb -e 'volume::get("kept").backup("out/kept.tar.zst")'"#,
        between: &[],
        clean: &[],
    },
    Verb {
        name: "volume_restore",
        prepare: &["rhumb run --rm -v vol:/v base:1 sh -c 'echo old > /v/old'"],
        act: r#"rhumb -e 'volume::get("vol").restore("in/kept.tar.zst")'"#,
        between: &[],
        clean: &["rhumb volume rm vol"],
    },
    Verb {
        name: "volume_prune",
        prepare: &["rhumb create --name box -v /data base:1 true", "rhumb rm box"],
        act: "rhumb volume prune -f",
        between: &[],
        clean: &["rhumb volume prune -f"],
    },
    Verb {
        name: "script",
        prepare: &[],
        act: r#"rhumb -e 'let c = container::run("base:1", #{ name: "box", command: ["sleep", "1000"] });
            defer(|| c.remove(#{ force: true })); c.exec("true"); c.stop(0.s);'"#,
        between: STARTING,
        clean: &[RM],
    },
];
