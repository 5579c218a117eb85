//! A registry on loopback that says what a test wants: the blobs of an OCI layout, with manners of its own.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Only so many bytes of the body are sent, and then the connection ends.
    pub(crate) cut: Option<usize>,
    /// After the body, or its part, nothing comes and nothing ends.
    pub(crate) stalls: bool,
}

impl Answer {
    pub(crate) fn of(status: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, body: body.into(), ..Answer::default() }
    }

    /// Half of it comes, and then nothing for a long time.
    pub(crate) fn stalled(mut self) -> Answer {
        let length = self.body.len();
        self.body.truncate(length / 2);
        self.stalls = true;
        self.with("Content-Length", length.to_string())
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What a registry says of its own before it says what is usual.
pub(crate) type Manners = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

/// A registry that runs as long as the process does.
pub(crate) struct Server {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Serves an OCI layout, with the manifest of each tag; `manners` may answer first.
    pub(crate) fn new(layout: PathBuf, manners: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (heard, manners): (_, Arc<Manners>) = (Arc::clone(&asked), Arc::new(manners));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (layout, heard, manners) = (layout.clone(), Arc::clone(&heard), Arc::clone(&manners));
                // A client that went away is no trouble of ours.
                std::thread::spawn(move || drop(serve(stream.unwrap(), &layout, &heard, &*manners)));
            }
        });
        Server { port, asked }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, layout: &Path, heard: &Mutex<Vec<Asked>>, manners: &Manners) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    // Who begins to speak TLS (RFC 8446, a handshake record) is told that this is something else.
    if reader.fill_buf()?.first() == Some(&22) {
        return Ok(());
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let mut asked = Asked {
            method: words.next().unwrap_or_default().to_owned(),
            path: words.next().unwrap_or_default().to_owned(),
            headers: HashMap::new(),
            body: Vec::new(),
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            asked.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        asked.body = vec![0; length];
        reader.read_exact(&mut asked.body)?;
        heard.lock().unwrap().push(asked.clone());
        let answer = manners(&asked).unwrap_or_else(|| usual(&asked, layout));
        send(&stream, &asked, &answer)?;
        if answer.cut.is_some() {
            return stream.shutdown(std::net::Shutdown::Both);
        }
        if answer.stalls {
            // Until the other side has had enough.
            return reader.read_line(&mut line).map(drop);
        }
    }
}

fn send(mut stream: &TcpStream, asked: &Asked, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {}\r\n", answer.status);
    let framed = |(name, _): &(String, String)| matches!(name.as_str(), "Content-Length" | "Transfer-Encoding");
    if !answer.headers.iter().any(framed) {
        head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    }
    answer.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if asked.method != "HEAD" {
        stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len()).min(answer.body.len())])?;
    }
    Ok(())
}

/// What a registry says that has this layout.
pub(crate) fn usual(asked: &Asked, layout: &Path) -> Answer {
    let missing = || Answer::of("404 Not Found", r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#);
    if asked.path == "/v2/" {
        return Answer::of("200 OK", "{}");
    }
    let blob = |digest: &str| std::fs::read(layout.join("blobs").join(digest.replacen(':', "/", 1))).ok();
    let Some((_, rest)) = asked.path.split_once("/manifests/") else {
        let Some((_, digest)) = asked.path.split_once("/blobs/") else { return missing() };
        let Some(body) = blob(digest) else { return missing() };
        let from =
            asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        return match from {
            Some(from) if from < body.len() => Answer::of("206 Partial Content", &body[from..])
                .with("Content-Range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())),
            _ => Answer::of("200 OK", body),
        };
    };
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let by_digest = entries.iter().find(|entry| entry["digest"] == rest);
    let by_name = entries.iter().find(|entry| {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or_default();
        name.ends_with(&format!(":{rest}"))
    });
    match by_digest.or(by_name) {
        Some(entry) => Answer::of("200 OK", blob(entry["digest"].as_str().unwrap()).unwrap())
            .with("Content-Type", entry["mediaType"].as_str().unwrap()),
        None => missing(),
    }
}
