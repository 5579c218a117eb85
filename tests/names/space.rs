//! A network namespace of the test's own, a resolver in it, servers for it to ask, and questions.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use rhumb::model::names::{Link, Member, Names, VERSION, Zone};
use rhumb::net::dns::{ADDRESS, PORT, Resolver, Sockets};
use rhumb::sys::namespace;

/// A network namespace with nothing but a loopback interface, and a folder.
pub(crate) struct Space {
    namespace: OwnedFd,
    pub(crate) folder: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Space {
    pub(crate) fn new() -> Space {
        let make = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            namespace::loopback_up().unwrap();
            OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
        };
        let folder = tempfile::Builder::new().prefix("rhumb-names-").tempdir().unwrap();
        let namespace = std::thread::spawn(make).join().unwrap();
        Space { namespace, folder, stop: Arc::default(), threads: Vec::new() }
    }

    /// Does something in the namespace; processes that it starts are there as well.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                namespace::join(self.namespace.as_fd(), namespace::NETWORK).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Goes on doing something in the namespace until the test ends.
    pub(crate) fn serve(&mut self, mut turn: impl FnMut() + Send + 'static) {
        let (stop, namespace) = (Arc::clone(&self.stop), self.namespace.try_clone().unwrap());
        self.threads.push(std::thread::spawn(move || {
            namespace::join(namespace.as_fd(), namespace::NETWORK).unwrap();
            while !stop.load(Ordering::Relaxed) {
                turn();
            }
        }));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A resolver for these names, with the zones that are files in the folder.
    pub(crate) fn resolver(&mut self, change: impl FnOnce(&mut Names)) {
        let mut names = Names { version: VERSION, forward: true, ..Names::default() };
        let zone = |network: &str| Zone { network: network.into(), folder: self.path(network) };
        names.zones = vec![zone("front"), zone("back")];
        names.links = vec![Link { alias: "database".into(), target: "c".repeat(64) }];
        change(&mut names);
        write(&self.path("names"), &names);
        let sockets = self.inside(|| Sockets::bind(SocketAddr::from((ADDRESS, PORT))).unwrap());
        let mut resolver = Resolver::new(sockets, self.path("names"));
        self.serve(move || resolver.turn(Some(Duration::from_millis(20))).unwrap());
    }

    /// The two networks of most tests.
    pub(crate) fn zones(&self) {
        self.join("front", "a", &["Web", "www"], &["10.0.0.2", "fd00::2"]);
        self.join("front", "b", &["api", "www"], &["10.0.0.3"]);
        self.join("back", "c", &["db", "www"], &["10.1.0.9"]);
    }

    /// Connects a container to a network, or changes what it is there.
    pub(crate) fn join(&self, network: &str, id: &str, names: &[&str], addresses: &[&str]) {
        let member = Member {
            hostname: String::new(),
            container: id.repeat(64),
            name: names[0].to_owned(),
            aliases: names[1..].iter().map(|name| (*name).to_owned()).collect(),
            ip: addresses.iter().find_map(|address| address.parse().ok()),
            ip6: addresses.iter().find_map(|address| address.parse().ok()),
        };
        std::fs::create_dir_all(self.path(network)).unwrap();
        write(&self.path(network).join(&member.container), &member);
    }

    /// Disconnects it.
    pub(crate) fn leave(&self, network: &str, id: &str) {
        std::fs::remove_file(self.path(network).join(id.repeat(64))).unwrap();
    }

    /// A server at 127.0.0.`last` that makes replies of questions, over UDP and TCP; how many it has heard.
    pub(crate) fn server(
        &mut self,
        last: u8,
        answer: impl Fn(&[u8], bool) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Arc<AtomicUsize> {
        let address = SocketAddr::from(([127, 0, 0, last], 53));
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        let (udp, tcp) = self.inside(|| (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap()));
        udp.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let mut buffer = [0; 65536];
        self.serve(move || {
            if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                for reply in answer(&buffer[..length], false) {
                    udp.send_to(&reply, from).unwrap();
                }
            }
            if let Ok((mut stream, _)) = tcp.accept() {
                stream.set_nonblocking(false).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let question = receive(&mut stream);
                answer(&question, true).iter().for_each(|reply| send(&mut stream, reply));
            }
        });
        heard
    }

    /// Sends bytes over UDP; the reply, if one comes in six seconds.
    pub(crate) fn udp(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.inside(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
            socket.send_to(bytes, (ADDRESS, PORT)).unwrap();
            let mut buffer = vec![0; 65536];
            let (length, from) = socket.recv_from(&mut buffer).ok()?;
            assert_eq!(from, SocketAddr::from((ADDRESS, PORT)));
            Some(buffer[..length].to_vec())
        })
    }

    /// As [`Space::udp`] over TCP.
    pub(crate) fn tcp(&self, bytes: &[u8]) -> Vec<u8> {
        self.inside(|| {
            let mut stream = connect();
            send(&mut stream, bytes);
            receive(&mut stream)
        })
    }

    /// Asks over UDP.
    pub(crate) fn ask(&self, name: &str, kind: RecordType) -> Message {
        Message::from_vec(&self.udp(&question(name, kind, None)).expect("a reply")).unwrap()
    }

    /// The answers, as they print, in their order.
    pub(crate) fn answers(&self, name: &str, kind: RecordType) -> Vec<String> {
        self.ask(name, kind).answers.iter().map(|record| record.data.to_string()).collect()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Replaces a file as a whole.
pub(crate) fn write(path: &Path, value: &impl serde::Serialize) {
    let new = path.with_file_name(".new");
    std::fs::write(&new, serde_json::to_vec(value).unwrap()).unwrap();
    std::fs::rename(new, path).unwrap();
}

pub(crate) fn question(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(payload) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

pub(crate) fn connect() -> TcpStream {
    let stream = TcpStream::connect((ADDRESS, PORT)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    stream
}

pub(crate) fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(&[&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()).unwrap();
}

pub(crate) fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}
