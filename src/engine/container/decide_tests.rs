//! What Docker's rules make of options and image.

use super::*;
use crate::base::Digest;

fn image(config: ImageConfig) -> Image {
    Image {
        id: Digest::of(b"config"),
        manifest: Digest::of(b"manifest"),
        tags: vec!["base:1".into()],
        digests: Vec::new(),
        layers: Vec::new(),
        created: None,
        config,
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: None,
        author: None,
        history: Vec::new(),
    }
}

fn config() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/entry".into()],
        cmd: vec!["serve".into()],
        env: vec!["PATH=/bin".into(), "A=1".into()],
        volumes: vec!["/data".into()],
        user: "app".into(),
        ..ImageConfig::default()
    }
}

fn decided(options: &ContainerOptions, config: ImageConfig) -> Result<ContainerRecord> {
    let image = image(config);
    let id = Id::random().unwrap();
    decide(
        options,
        Given {
            id: id.clone(),
            image_name: "base:1".into(),
            image: &image,
            inherited: Vec::new(),
            thermal_paths: vec!["/sys/x/thermal_throttle".into()],
            new_id: &mut Id::random,
            volume_id: &mut |name| Ok((id.clone(), name.to_owned())),
        },
    )
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn entrypoint_and_command_join_as_docker_does() {
    type Words = &'static [&'static str];
    let cases: [(Option<Words>, Option<Words>, Words); 6] = [
        (None, None, &["/entry", "serve"]),
        (None, Some(&["x"]), &["/entry", "x"]),
        (None, Some(&[]), &["/entry", "serve"]),
        (Some(&["/other"]), None, &["/other"]),
        (Some(&["/other"]), Some(&["x"]), &["/other", "x"]),
        (Some(&[]), Some(&["x"]), &["x"]),
    ];
    for (entrypoint, command, args) in cases {
        let options = ContainerOptions {
            entrypoint: entrypoint.map(strings),
            command: command.map(strings),
            ..ContainerOptions::default()
        };
        assert_eq!(decided(&options, config()).unwrap().args, args, "{entrypoint:?} {command:?}");
    }
    let nothing = ContainerOptions { entrypoint: Some(vec![]), ..ContainerOptions::default() };
    assert!(decided(&nothing, config()).is_err());
}

#[test]
fn later_environment_wins_in_place() {
    let env = vec![("A".into(), "2".into()), ("B".into(), "=".into())];
    let record = decided(&ContainerOptions { env, ..ContainerOptions::default() }, config()).unwrap();
    assert_eq!(record.env, ["PATH=/bin", "A=2", "B=="]);
    assert_eq!(record.user, "app");
}

fn volume(name: Option<&str>, target: &str) -> Mount {
    let source = MountSource::Volume { name: name.map(str::to_owned), no_copy: false, subpath: None };
    Mount { source, target: target.into(), read_only: false }
}

#[test]
fn image_volumes_are_anonymous_unless_something_is_mounted_there() {
    let record = decided(&ContainerOptions::default(), config()).unwrap();
    assert!(matches!(&record.mounts[..], [MountPoint { kind: MountPointKind::Volume { anonymous: true, .. }, .. }]));
    let mounts = vec![volume(Some("db"), "/data/../data/"), volume(None, "/a/b"), volume(None, "/a")];
    let record = decided(&ContainerOptions { mounts, ..ContainerOptions::default() }, config()).unwrap();
    let targets: Vec<&str> = record.mounts.iter().map(|point| point.target.as_str()).collect();
    assert_eq!(targets, ["/a", "/a/b", "/data"]);
    assert!(matches!(&record.mounts[2].kind, MountPointKind::Volume { name, anonymous: false, .. } if name == "db"));
}

#[test]
fn malformed_options_are_refused() {
    let options = |change: fn(&mut ContainerOptions)| {
        let mut options = ContainerOptions::default();
        change(&mut options);
        options
    };
    let cases = [
        options(|o| o.working_dir = Some("relative".into())),
        options(|o| o.mounts = vec![volume(None, "relative")]),
        options(|o| o.mounts = vec![volume(None, "/..")]),
        options(|o| o.mounts = vec![volume(None, "/x"), volume(None, "/x/")]),
        options(|o| o.stop_signal = Some("NOPE".into())),
        options(|o| o.hostname = Some("a b".into())),
        options(|o| o.env = vec![("A=B".into(), String::new())]),
        options(|o| o.limits.memory_bytes = Some(1)),
        options(|o| o.limits.cpus = Some(f64::NAN)),
        options(|o| o.limits.memory_swap_bytes = Some(1 << 30)),
    ];
    for case in cases {
        let error = decided(&case, config()).unwrap_err();
        assert_eq!(error.kind(), crate::base::Kind::InvalidArgument, "{error}");
    }
}
