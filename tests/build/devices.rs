//! Devices by their vendors' names (CDI), of steps and of containers.

use std::path::{Path, PathBuf};

use crate::dockerfile::{build, context, seen};
use crate::support::Rhumb;

/// Where files of this machine's devices are that a boot takes away.
const FOLDER: &str = "/var/run/cdi";

/// A file there with a vendor of its own, as long as it lives.
struct Vendor {
    name: String,
    path: PathBuf,
    made: bool,
}

impl Vendor {
    fn new(rhumb: &Rhumb, extension: &str, text: &str) -> Vendor {
        let name = format!("test-{}.example", rhumb.root_id());
        let made = !Path::new(FOLDER).exists();
        std::fs::create_dir_all(FOLDER).unwrap();
        let path = Path::new(FOLDER).join(format!("{name}.{extension}"));
        std::fs::write(&path, text.replace("VENDOR", &name)).unwrap();
        Vendor { name, path, made }
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
        if self.made {
            // Another test may have put a file there.
            let _ = std::fs::remove_dir(FOLDER);
        }
    }
}

const YAML: &str = r#"
cdiVersion: "0.6.0"
kind: VENDOR/dev
containerEdits:
  env: [COMMON=all]
devices:
- name: one
  containerEdits:
    env: [WHICH=one]
    deviceNodes:
    - { path: /dev/nought, hostPath: /dev/zero, permissions: r, fileMode: 0o644 }
    mounts:
    - { hostPath: SHARED, containerPath: /opt/vendor, options: [ro, nosuid] }
    additionalGids: [4242]
- name: plain
  containerEdits:
    env: [WHICH=plain]
"#;

const LOOK: &str = "echo $COMMON $WHICH; id -G; head -c 3 /dev/nought | wc -c; cat /opt/vendor/lib; \
                    (echo x > /opt/vendor/new) 2>/dev/null || echo read-only";
const SEEN: &str = "all one\n0 4242\n3\nvendor's\nread-only";

#[test]
fn a_step_and_a_container_have_what_the_vendor_says() {
    let rhumb = Rhumb::with_base();
    let shared = rhumb.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("lib"), "vendor's\n").unwrap();
    let vendor = Vendor::new(&rhumb, "yaml", &YAML.replace("SHARED", shared.to_str().unwrap()));
    let device = format!("{}/dev=one", vendor.name);
    assert_eq!(rhumb.run(["run", "--rm", "--device", &device, "base:1", "sh", "-c", LOOK]).ok(), SEEN);
    let line = format!(
        r#"print(container::oneshot("base:1", "{LOOK}", #{{ devices: ["{device}"] }}));
           print(build::from("base:1").capture("{LOOK}", #{{ devices: ["{device}"] }}));"#
    );
    assert_eq!(rhumb.script(&line).ok(), format!("{SEEN}\n{SEEN}"));
    let dockerfile = format!("FROM base:1\nARG D={device}\nRUN --device=$D,required ({LOOK}) > /seen\n");
    build(&rhumb, &dockerfile, &["-t", "made:1", "--allow", &format!("device={device}")]).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /seen; ls /dev/nought /opt/vendor 2>/dev/null; test -z $COMMON"), SEEN);
    let inspected = rhumb.script(&format!(
        r#"let c = container::create("base:1", #{{ devices: ["{device}"] }}); print(c.inspect().HostConfig.DeviceRequests[0].DeviceIDs[0]); c.remove();"#
    ));
    assert_eq!(inspected.ok(), device);
    // What the vendor says now is another step.
    let steps = |wanted: &str| {
        let line = format!(
            r#"let b = build::from("base:1").run("echo $WHICH", #{{ devices: ["{}/dev=plain"] }}); b.solve(); print(b.cached);"#,
            vendor.name
        );
        assert_eq!(rhumb.script(&line).ok(), wanted);
    };
    steps("0");
    steps("1");
    let text = std::fs::read_to_string(&vendor.path).unwrap();
    std::fs::write(&vendor.path, text.replace("WHICH=plain", "WHICH=other")).unwrap();
    steps("0");
}

#[test]
fn a_hook_of_a_vendor_runs() {
    let rhumb = Rhumb::with_base();
    let ran = rhumb.path("ran");
    let json = r#"{ "cdiVersion": "1.0.0", "kind": "VENDOR/dev", "devices": [{ "name": "a", "containerEdits": {
        "hooks": [{ "hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", "echo ran >> RAN"] }] } }] }"#;
    let vendor = Vendor::new(&rhumb, "json", &json.replace("RAN", ran.to_str().unwrap()));
    rhumb.run(["run", "--rm", "--device", &format!("{}/dev=a", vendor.name), "base:1", "true"]).ok();
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\n");
}

#[test]
fn a_device_that_is_not_there_or_not_allowed_is_refused() {
    let rhumb = Rhumb::with_base();
    let vendor = Vendor::new(&rhumb, "yaml", &YAML.replace("SHARED", "/nowhere"));
    let name = &vendor.name;
    let allow = ["--allow", "device", "-t", "made:1"];
    for (device, flags, wanted) in [
        (format!("{name}/dev=on,required"), &allow[..], format!("did you mean \"{name}/dev=one\"?")),
        (format!("{name}/dev=on,required"), &allow, "Dockerfile:2".to_owned()),
        (format!("{name}/dev=plain"), &[], format!("asks for device={name}/dev=plain")),
        (format!("{name}/dev=plain"), &["--allow", "device=other.example/dev=x"], "asks for device=".to_owned()),
        ("/dev/zero".to_owned(), &allow, "is no device".to_owned()),
        (format!("{name}/dev=plain,requird=true"), &allow, "has no field \"requird=true\"".to_owned()),
        (format!("{name}/dev=plain,required=maybe"), &allow, "required is true or false".to_owned()),
    ] {
        let outcome = build(&rhumb, &format!("FROM base:1\nRUN --device={device} true\n"), flags);
        assert!(!outcome.success() && outcome.stderr.contains(&wanted), "{wanted}\n{outcome}");
    }
    // It need not be there.
    let dockerfile = format!("FROM base:1\nRUN --device={name}/dev=on test -z \"$WHICH\"\n");
    build(&rhumb, &dockerfile, &allow).ok();
    let run = rhumb.run(["run", "--rm", "--device", &format!("{name}/dev=on"), "base:1", "true"]);
    assert!(!run.success() && run.stderr.contains("has the device"), "{run}");
    // The script that says the same.
    let folder = context(&rhumb, &[("Dockerfile", &dockerfile)]);
    let script = rhumb.run(["build", "--to-rhai", folder.to_str().unwrap()]).ok();
    assert!(script.contains("required: false"), "{script}");
    rhumb.script(&script).ok();
}
