//! The resolver beside a monitor: where it listens, how long it lives, how little it holds.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use rhumb::model::names::{Member, Names, VERSION, Zone};
use rhumb::runtime::monitor::names::FILE;
use rhumb::runtime::state::Life;
use rhumb::sys::namespace;

use crate::support::{Box_, eventually};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("the_resolver_answers_from_the_first_moment", answers_from_the_first_moment),
    ("the_resolver_lives_with_its_container", lives_with_its_container),
    ("the_resolver_comes_when_names_do", comes_when_names_do),
    ("the_resolver_has_no_rights_and_little_memory", no_rights_and_little_memory),
];

static NEVER_SET: AtomicBool = AtomicBool::new(false);
const NEVER: &AtomicBool = &NEVER_SET;

fn write_names(container: &Box_) {
    let folder = container.path("front");
    fs::create_dir_all(&folder).unwrap();
    let ip = Some("10.0.0.2".parse().unwrap());
    let member = Member {
        container: "a".repeat(64),
        name: "web".into(),
        hostname: String::new(),
        aliases: Vec::new(),
        ip,
        ip6: None,
    };
    fs::write(folder.join(&member.container), serde_json::to_vec(&member).unwrap()).unwrap();
    let zones = vec![Zone { network: "front".into(), folder }];
    let names = Names { version: VERSION, zones, ..Names::default() };
    fs::write(container.plan.run_dir.join(FILE), serde_json::to_vec(&names).unwrap()).unwrap();
}

fn init(container: &Box_) -> i32 {
    let Life::Alive(state) = container.life() else { panic!("it does not run") };
    state.init.unwrap().0
}

fn monitor(container: &Box_) -> i32 {
    let Life::Alive(state) = container.life() else { panic!("it does not run") };
    state.monitor.0
}

/// The resolvers below a monitor.
fn resolvers(monitor: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap_or_default();
    let named =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "rhumb-resolver\n");
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(named).collect()
}

/// Does something in a container's network.
fn inside<T: Send>(pid: i32, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    std::thread::scope(|scope| {
        let work = || {
            namespace::join(namespace.as_fd(), namespace::NETWORK).unwrap();
            work()
        };
        scope.spawn(work).join().unwrap()
    })
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

/// How many addresses a name has; none when nobody answers.
fn ask(pid: i32, name: &str) -> Option<usize> {
    inside(pid, || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect("127.0.0.11:53").unwrap();
        socket.send(&question(name)).unwrap();
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).ok()?;
        Some(Message::from_vec(&buffer[..length]).unwrap().answers.len())
    })
}

fn answers_from_the_first_moment() {
    let container = Box_::new(&["sleep", "60"]);
    write_names(&container);
    let mut monitor = container.start();
    assert_eq!((ask(init(&container), "web."), ask(init(&container), "other.")), (Some(1), Some(0)));
    monitor.signal(9).unwrap();
    monitor.wait(None, NEVER).unwrap();
    monitor.join().unwrap();
}

fn lives_with_its_container() {
    let container = Box_::new(&["sleep", "60"]);
    write_names(&container);
    let mut client = container.start();
    let holder = monitor(&container);
    let first = resolvers(holder)[0];
    kill(first);
    eventually("another one has come", || resolvers(holder).first().is_some_and(|pid| *pid != first));
    eventually("it answers", || ask(init(&container), "web.") == Some(1));
    let second = resolvers(holder)[0];
    client.signal(9).unwrap();
    client.wait(None, NEVER).unwrap();
    client.join().unwrap();
    assert!(!fs::exists(format!("/proc/{second}")).unwrap());
    // A monitor that is killed takes it along.
    let container = Box_::new(&["sleep", "60"]);
    write_names(&container);
    let _client = container.start();
    let holder = monitor(&container);
    let third = resolvers(holder)[0];
    kill(holder);
    eventually("it is gone", || !fs::exists(format!("/proc/{third}")).unwrap());
}

fn comes_when_names_do() {
    let container = Box_::new(&["sleep", "60"]);
    let mut client = container.start();
    let holder = monitor(&container);
    client.begin_names().unwrap();
    assert!(resolvers(holder).is_empty());
    write_names(&container);
    client.begin_names().unwrap();
    client.begin_names().unwrap();
    assert_eq!((resolvers(holder).len(), ask(init(&container), "web.")), (1, Some(1)));
    client.signal(9).unwrap();
    client.wait(None, NEVER).unwrap();
    client.join().unwrap();
}

fn no_rights_and_little_memory() {
    let container = Box_::new(&["sleep", "60"]);
    write_names(&container);
    let _client = container.start();
    let resolver = resolvers(monitor(&container))[0];
    let status = fs::read_to_string(format!("/proc/{resolver}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(set), "0".repeat(16), "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    let own = |kind: &str| fs::read_link(format!("/proc/{kind}/ns/net")).unwrap();
    assert_eq!(own(&resolver.to_string()), own("self"), "it asks from the host's namespace");
    // 0 to 2, one socket each for UDP and TCP.
    assert_eq!(fs::read_dir(format!("/proc/{resolver}/fd")).unwrap().count(), 5);
    inside(init(&container), || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..10_000 {
            socket.send_to(&question(&format!("n{number}.example.")), "127.0.0.11:53").unwrap();
        }
    });
    let begun = Instant::now();
    // A question may be lost in the flood, as anywhere: who asks, asks again.
    let answer = std::iter::repeat_with(|| ask(init(&container), "web."))
        .find(|answer| answer.is_some() || begun.elapsed() > Duration::from_secs(20));
    assert_eq!(answer, Some(Some(1)));
    std::thread::sleep(Duration::from_millis(1300));
    let smaps = fs::read_to_string(format!("/proc/{resolver}/smaps_rollup")).unwrap();
    let private = smaps.lines().filter(|line| line.starts_with("Private_Dirty:") || line.starts_with("Private_Clean:"));
    let kibibytes: u64 = private.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum();
    assert!(kibibytes < 3 * 1024, "{kibibytes} KiB of private memory");
    println!("     the resolver has {kibibytes} KiB of private memory");
}

fn kill(pid: i32) {
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}
