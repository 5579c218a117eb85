//! `--filter` of listings and prunes: each keeps what it names and nothing else.

use crate::support::{BASE, Rhumb};

fn create(rhumb: &Rhumb, name: &str, flags: &[&str]) {
    rhumb.run(["create", "--name", name].iter().chain(flags).chain(&[BASE, "true"])).ok();
}

#[test]
fn containers_are_found_by_age_name_port_and_network() {
    let rhumb = Rhumb::with_base();
    create(&rhumb, "one", &["--net=none", "--expose", "80", "--expose", "53/udp"]);
    create(&rhumb, "two", &["--net=host", "--label", "tier=a"]);
    create(&rhumb, "three", &["--net=none", "--label", "tier=b"]);
    for (filter, expected) in [
        ("before=two", "one"),
        ("since=two", "three"),
        ("network=host", "two"),
        ("network=none", "three one"),
        ("network=nosuch", ""),
        ("expose=80", "one"),
        ("expose=50-60/udp", "one"),
        ("expose=53", ""),
        ("publish=80", ""),
        ("is-task=false", "three two one"),
        ("is-task=true", ""),
        ("name=t", "three two"),
        ("name=^/t.o$", "two"),
        ("name=^one|two$", "two one"),
        ("label=tier", "three two"),
        ("label=tier=a", "two"),
    ] {
        let names = rhumb.run(["ps", "-a", "--format", "{{.Names}}", "-f", filter]).ok();
        assert_eq!(names.lines().collect::<Vec<_>>().join(" "), expected, "{filter}");
    }
}

#[test]
fn images_and_volumes_are_found_by_age_and_driver() {
    let rhumb = Rhumb::with_base();
    let names = |line: &str| rhumb.sh(line).ok().lines().count();
    assert_eq!(names(&format!("images -q -f before={BASE}")), 0);
    assert_eq!(names(&format!("images -q -f since={BASE}")), 0);
    assert_eq!(names("images -q -f until=1990-01-01T00:00:00Z"), 0);
    assert_eq!(names("images -q -f until=1s"), names("images -q"));
    rhumb.sh("volume create --label tier=a one").ok();
    rhumb.sh("volume create --label tier=b two").ok();
    assert_eq!(rhumb.sh("volume ls -q -f driver=local").ok(), "one\ntwo");
    assert_eq!(rhumb.sh("volume ls -q -f driver=nfs").ok(), "");
}

#[test]
fn prunes_take_only_what_fits() {
    let rhumb = Rhumb::with_base();
    let left = || rhumb.run(["ps", "-a", "--format", "{{.Names}}"]).ok().replace('\n', " ");
    create(&rhumb, "aa", &["--label", "tier=a"]);
    create(&rhumb, "bb", &["--label", "tier=b"]);
    create(&rhumb, "cc", &[]);
    rhumb.sh("container prune -f --filter until=1h").ok();
    assert_eq!(left(), "cc bb aa");
    rhumb.sh("container prune -f --filter label=tier=a").ok();
    assert_eq!(left(), "cc bb");
    rhumb.sh("container prune -f --filter label!=tier=b").ok();
    assert_eq!(left(), "bb");
    rhumb.sh("system prune -f --filter until=1h").ok();
    assert_eq!(left(), "bb");
    rhumb.sh("container prune -f --filter until=-1h").ok();
    assert_eq!(left(), "");
    rhumb.sh("volume create --label keep one").ok();
    rhumb.sh("volume create two").ok();
    rhumb.sh("volume prune -fa --filter label!=keep").ok();
    assert_eq!(rhumb.sh("volume ls -q").ok(), "one");
    rhumb.sh("image prune -fa --filter until=1990-01-01T00:00:00Z").ok();
    assert_eq!(rhumb.sh("images -q").ok().lines().count(), 1);
}
