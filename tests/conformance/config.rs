//! `config.md`: version, root, host name, annotations, what is unknown and what is invalid.

use std::fs;

use serde_json::json;

use crate::case::{Case, acts, prints, refuses};
use crate::runtime::Runtime::{Crun, Runc};

const VERSION: &str = "config.md#configSpecificationVersion";
const ROOT: &str = "config.md#configRoot";
const HOSTNAME: &str = "config.md#configHostname";
const DOMAINNAME: &str = "config.md#configDomainname";
const ANNOTATIONS: &str = "config.md#configAnnotations";
const UNKNOWN: &str = "config.md#extensibility";
const VALID: &str = "config.md#valid-values";

pub(crate) const CASES: &[Case] = &[
    prints("version_1_0_is_accepted", VERSION, "1.0.0 is a version", r#"{"ociVersion": "1.0.0"}"#, "echo ok", "ok"),
    prints("version_1_2_is_accepted", VERSION, "1.2.0 is a version", r#"{"ociVersion": "1.2.0"}"#, "echo ok", "ok")
        .but(&[(Crun, "accepts 1.0 and nothing else")]),
    prints(
        "a_version_of_development_is_accepted",
        VERSION,
        "a version may have a pre-release and metadata",
        r#"{"ociVersion": "1.2.0-rc.1+dev.7"}"#,
        "echo ok",
        "ok",
    )
    .but(&[(Crun, "accepts 1.0 and nothing else")]),
    refuses("a_missing_version_is_an_error", VERSION, "the version is required", r#"{"ociVersion": null}"#)
        .but(&[(Runc, "does not look at it")]),
    refuses("a_version_that_is_none_is_an_error", VERSION, "the version is semantic", r#"{"ociVersion": "one"}"#)
        .but(&[(Runc, "does not look at it")]),
    refuses(
        "a_version_of_the_far_future_is_an_error",
        VERSION,
        "compatibility ends with the major version",
        r#"{"ociVersion": "2.0.0"}"#,
    )
    .but(&[(Runc, "does not look at it")]),
    refuses("a_missing_root_is_an_error", ROOT, "on Linux a root is required", r#"{"root": null}"#),
    refuses("a_root_without_path_is_an_error", ROOT, "its path is required", r#"{"root": {"path": null}}"#),
    refuses("a_root_that_is_not_there_is_an_error", ROOT, "there is a folder", r#"{"root": {"path": "nowhere"}}"#),
    acts("a_root_that_is_a_file_is_an_error", ROOT, "the path is that of a folder", |b| {
        fs::write(b.path("file"), "").unwrap();
        b.patch(r#"{"root": {"path": "file"}}"#).refused();
    }),
    prints(
        "an_absolute_root_is_taken_as_it_is",
        ROOT,
        "the path may be absolute",
        r#"{"root": {"path": "@scratch@/rootfs"}}"#,
        "echo ok",
        "ok",
    ),
    acts("a_relative_root_is_relative_to_the_bundle", ROOT, "the path may be relative to the bundle", |b| {
        fs::create_dir(b.path("deep")).unwrap();
        fs::rename(b.path("rootfs"), b.path("deep/er")).unwrap();
        assert_eq!(b.patch(r#"{"root": {"path": "deep/er"}}"#).prints("ls -d /bin"), "/bin");
    }),
    acts("the_root_is_the_folder_itself", ROOT, "the container's root is that folder", |b| {
        fs::write(b.in_root("given"), "from outside").unwrap();
        assert_eq!(b.prints("cat /given; echo back >/made; ls -d /.."), "from outside/..");
        assert_eq!(b.read("made"), "back\n");
    }),
    acts("the_old_root_is_gone", ROOT, "nothing of the host's file systems is to be seen", |b| {
        let mounts = b.prints("cut -d' ' -f5 /proc/self/mountinfo");
        let host = |line: &&str| line.contains("rootfs") || line.contains("/tmp/") || line.contains("old");
        assert_eq!(mounts.lines().find(host), None, "{mounts}");
        assert_eq!(mounts.lines().filter(|line| *line == "/").count(), 1, "{mounts}");
    }),
    prints(
        "a_read_only_root_cannot_be_written",
        ROOT,
        "with readonly the root is read-only inside",
        r#"{"root": {"readonly": true}}"#,
        "touch /x 2>&1 | grep -o 'Read-only file system'; touch /dev/shm/x && echo elsewhere",
        "Read-only file system\nelsewhere",
    ),
    acts("a_read_only_root_stays_writable_outside", ROOT, "it is read-only inside the container alone", |b| {
        b.patch(r#"{"root": {"readonly": true}}"#).script("sleep 1000").up();
        fs::write(b.in_root("outside"), "").unwrap();
        let inside = fs::File::create(format!("/proc/{}/root/inside", b.pid())).unwrap_err();
        assert_eq!(inside.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }),
    prints("a_root_is_writable_by_default", ROOT, "readonly is false by default", "{}", "touch /x && echo ok", "ok"),
    prints(
        "the_hostname_is_set",
        HOSTNAME,
        "the host name as seen inside",
        r#"{"hostname": "mrs-dalloway"}"#,
        "hostname; cat /proc/sys/kernel/hostname",
        "mrs-dalloway\nmrs-dalloway",
    ),
    acts("the_hostname_is_only_the_containers", HOSTNAME, "it is that of the container's namespace", |b| {
        let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(b.patch(r#"{"hostname": "inside-only"}"#).prints("hostname"), "inside-only");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
    }),
    refuses(
        "a_hostname_without_a_namespace_is_an_error",
        HOSTNAME,
        "without a namespace of its own it would be the host's",
        r#"{"hostname": "mine", "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "mount"}]}}"#,
    ),
    acts("no_hostname_changes_nothing", HOSTNAME, "it is optional", |b| {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(b.patch(r#"{"hostname": null}"#).prints("hostname"), host.trim());
    }),
    prints(
        "the_domainname_is_set",
        DOMAINNAME,
        "the domain name as seen inside",
        r#"{"domainname": "london.example"}"#,
        "cat /proc/sys/kernel/domainname",
        "london.example",
    )
    .but(&[(Runc, "new in 1.1 of the specification")]),
    prints(
        "unknown_annotations_are_ignored",
        ANNOTATIONS,
        "an annotation that is not known is no error",
        r#"{"annotations": {"com.example.unknown": "x", "also unknown": "", "run.oci.unknown": "1"}}"#,
        "echo ok",
        "ok",
    ),
    refuses(
        "annotations_are_texts",
        ANNOTATIONS,
        "the values are strings",
        r#"{"annotations": {"com.example.number": 7}}"#,
    ),
    prints(
        "unknown_properties_are_ignored",
        UNKNOWN,
        "a property that is not known is no error",
        r#"{"surprise": {"a": [1]}, "root": {"surprise": true}, "process": {"surprise": 1, "user": {"surprise": null}},
            "linux": {"surprise": {}, "resources": {"surprise": 1, "memory": {"surprise": 2}}},
            "mounts+": [{"destination": "/x", "type": "tmpfs", "source": "x", "surprise": "y"}]}"#,
        "echo ok",
        "ok",
    ),
    prints(
        "other_platforms_are_ignored",
        UNKNOWN,
        "what is for another platform is not ours",
        r#"{"windows": {"layerFolders": ["x"]}, "solaris": {"milestone": "x"}}"#,
        "echo ok",
        "ok",
    ),
    refuses("a_number_for_a_text_is_an_error", VALID, "an invalid value is an error", r#"{"hostname": 7}"#)
        .but(&[(Crun, "takes any number for its text")]),
    refuses(
        "a_text_for_a_truth_is_an_error",
        VALID,
        "an invalid value is an error",
        r#"{"process": {"terminal": "yes"}}"#,
    )
    .but(&[(Crun, "takes it for false")]),
    refuses(
        "a_negative_user_is_an_error",
        VALID,
        "an invalid value is an error",
        r#"{"process": {"user": {"uid": -1}}}"#,
    ),
    refuses(
        "an_unknown_namespace_is_an_error",
        VALID,
        "an invalid value is an error",
        r#"{"linux": {"namespaces+": [{"type": "dream"}]}}"#,
    ),
    refuses(
        "an_unknown_propagation_is_an_error",
        VALID,
        "an invalid value is an error",
        r#"{"linux": {"rootfsPropagation": "upwards"}}"#,
    )
    .but(&[(Crun, "ignores what it does not know")]),
    acts("deep_nesting_is_an_error_or_ignored", VALID, "a configuration cannot exhaust the runtime", |b| {
        b.write();
        let text = fs::read_to_string(b.path("config.json")).unwrap();
        let deep = format!("{{\"surprise\": {}{},", "[".repeat(100_000), "]".repeat(100_000));
        fs::write(b.path("config.json"), text.replacen('{', &deep, 1)).unwrap();
        let outcome = b.call(&["run", "--bundle", &b.path("").display().to_string(), &b.id]);
        assert!(outcome.code == 0 || outcome.code == 1, "{outcome}");
        assert!(!outcome.stderr.contains("overflow"), "{outcome}");
    }),
    acts("numbers_may_be_large", VALID, "a number of 64 bits is a number", |b| {
        b.with(json!({"linux": {"resources": {"memory": {"limit": 9_223_372_036_854_771_712_i64}}}}));
        assert_eq!(b.prints("echo ok"), "ok");
    }),
];
