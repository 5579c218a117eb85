//! Debian's registry, on loopback.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use crate::support::process::{PATIENCE, eventually};
use crate::support::{Scratch, peer};

/// Debian's registry, on loopback, with a folder of its own. It ends with the test.
pub(crate) struct Registry {
    child: Child,
    pub(crate) host: String,
    pub(crate) folder: Scratch,
}

impl Registry {
    /// None when it is not installed. `auth` are lines of its configuration.
    #[track_caller]
    pub(crate) fn start(users: Option<&str>) -> Option<Registry> {
        Registry::start_with(users, "")
    }

    /// As [`Registry::start`], with more of the configuration's `http`.
    #[track_caller]
    pub(crate) fn start_with(users: Option<&str>, http: &str) -> Option<Registry> {
        let mut command = peer("docker-registry")?;
        let folder = Scratch::new();
        // Free a moment ago; that another takes it meanwhile is what the wait below would find.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let auth = users.map_or_else(String::new, |users| {
            let path = folder.join("users");
            std::fs::write(&path, users).unwrap();
            format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display())
        });
        let data = folder.join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: {host}, {http}}}\n{auth}",
            data.display()
        );
        let config = folder.join("config.yml");
        std::fs::write(&config, text).unwrap();
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let registry = Registry { child, host, folder };
        eventually("the registry listens", PATIENCE, || TcpStream::connect(&registry.host).ok());
        Some(registry)
    }

    /// A name of an image in it.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
