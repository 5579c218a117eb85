//! The guard itself: it sees what it is there for. A guard that sees nothing would make every experiment pass.

use std::fs;
use std::process::Command;

use crate::support::Scratch;
use std::process::{Child, Stdio};

use crate::support::leaks::{Leaks, hierarchies};
use crate::support::process::{self, PATIENCE};
use crate::support::rhumb::assert_root;

const ROOT_ID: &str = "guardtst";

fn watched() -> (Scratch, Leaks) {
    assert_root();
    let scratch = Scratch::new();
    let leaks = Leaks::watch(&scratch.join("root"), ROOT_ID);
    leaks.assert_clean();
    (scratch, leaks)
}

/// A process that ends with the value, also when the test fails.
struct Held(Child);

impl Held {
    fn spawn(command: &mut Command) -> Held {
        Held(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("starting a process"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

#[track_caller]
fn sees(leaks: &Leaks, what: &str) {
    let found = leaks.kernel();
    assert!(found.iter().any(|line| line.starts_with(what)), "{what} is not seen: {found:?}");
}

#[test]
fn it_sees_a_process_that_names_the_root_and_ends_it() {
    let (scratch, leaks) = watched();
    let held = Held::spawn(Command::new("sleep").arg("1000").stdout(Stdio::null()).env("ROOT", scratch.join("root")));
    sees(&leaks, "process");
    leaks.sweep();
    drop(held);
    leaks.assert_clean();
}

#[test]
fn it_sees_a_process_that_holds_a_file_of_the_root() {
    let (scratch, leaks) = watched();
    fs::create_dir(scratch.join("root")).unwrap();
    let file = fs::File::create(scratch.join("root/file")).unwrap();
    let held = Held::spawn(Command::new("sleep").arg("1000").stdout(file));
    sees(&leaks, "process");
    drop(held);
    leaks.assert_clean();
}

#[test]
fn it_sees_a_mount_here_and_in_another_mount_namespace() {
    let (scratch, leaks) = watched();
    let target = scratch.join("root/target");
    fs::create_dir_all(&target).unwrap();
    process::run(Command::new("mount").args(["-t", "tmpfs", "guard"]).arg(&target), None, PATIENCE).ok();
    sees(&leaks, "mount");
    process::run(Command::new("umount").arg(&target), None, PATIENCE).ok();
    leaks.assert_clean();
    // The folder of the test as another name, so that nothing but the mount gives the process away.
    let script = "mount -t tmpfs guard target && cd / && exec env -i sleep 1000";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).current_dir(scratch.join("root"));
    let held = Held::spawn(command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").stdout(Stdio::null()));
    process::eventually("the mount in the other namespace is seen", PATIENCE, || {
        leaks.kernel().iter().any(|line| line.contains("in its mounts")).then_some(())
    });
    drop(held);
    leaks.assert_clean();
}

#[test]
fn it_sees_a_cgroup() {
    let (_scratch, leaks) = watched();
    let parent = hierarchies().first().expect("a cgroup hierarchy").join(format!("rhumb-{ROOT_ID}"));
    fs::create_dir_all(parent.join("box")).unwrap();
    sees(&leaks, "cgroup");
    leaks.sweep();
    assert!(leaks.kernel().is_empty());
    fs::remove_dir(parent).unwrap();
}
