//! What is written comes back, byte for byte, however it is cut, rotated, torn or followed.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::base::{Kind, Result, Timestamp};
use crate::model::log::{LogDriver, LogEntry, LogLoss, LogOptions, LogQuery, Stream};

const ID: &str = "abc";

/// An entry that owns what it has.
#[derive(Debug)]
struct Entry {
    time: Timestamp,
    stream: Stream,
    bytes: Vec<u8>,
    attrs: Vec<(String, String)>,
}

const DRIVERS: [LogDriver; 2] = [LogDriver::JsonFile, LogDriver::Local];

fn of(driver: LogDriver) -> LogOptions {
    LogOptions { driver, ..LogOptions::default() }
}

fn open(dir: &Path, options: &LogOptions) -> Writer {
    Writer::open(dir, ID, options, &LogFacts::default()).unwrap()
}

fn entries_of(dir: &Path, driver: LogDriver, query: &LogQuery) -> Result<Vec<Entry>> {
    let mut list = Vec::new();
    let form = of(driver).files().unwrap().form;
    read(dir, &dir.join("run"), ID, form, query, &AtomicBool::new(false), &mut |entry: LogEntry<'_>| {
        let LogEntry { time, stream, bytes, attrs } = entry;
        list.push(Entry { time, stream, bytes: bytes.to_vec(), attrs: attrs.to_vec() });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(list)
}

fn entries(dir: &Path, query: &LogQuery) -> Result<Vec<Entry>> {
    entries_of(dir, LogDriver::JsonFile, query)
}

fn text_of(dir: &Path, driver: LogDriver, query: &LogQuery) -> String {
    let bytes = entries_of(dir, driver, query).unwrap().into_iter().flat_map(|entry| entry.bytes).collect();
    String::from_utf8(bytes).unwrap()
}

fn text(dir: &Path, query: &LogQuery) -> String {
    text_of(dir, LogDriver::JsonFile, query)
}

/// The files of a log, without the count beside them.
fn files(dir: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_none_or(|extension| extension != "shifts")).collect()
}

#[test]
fn lines_have_dockers_format_and_streams_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), &LogOptions::default());
    writer.write(Stream::Stdout, b"one\ntw");
    writer.write(Stream::Stderr, b"err \"<&>\"\n");
    writer.write(Stream::Stdout, b"o\nlast");
    writer.finish();
    let raw = std::fs::read_to_string(dir.path().join("abc-json.log")).unwrap();
    let first: serde_json::Value = serde_json::from_str(raw.lines().next().unwrap()).unwrap();
    assert_eq!((first["log"].as_str(), first["stream"].as_str()), (Some("one\n"), Some("stdout")));
    assert!(first["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(text(dir.path(), &LogQuery::default()), "one\nerr \"<&>\"\ntwo\nlast");
    let only = LogQuery { stream: Some(Stream::Stdout), tail: Some(2), ..LogQuery::default() };
    assert_eq!(text(dir.path(), &only), "two\nlast");
}

#[test]
fn every_byte_survives_long_lines_and_binary() {
    for driver in DRIVERS {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 7 % 256) as u8).collect();
        let long = "ä\t\u{1}\"\\".repeat(MAX_PIECE_BYTES);
        let mut writer = open(dir.path(), &of(driver));
        for chunk in bytes.chunks(777) {
            writer.write(Stream::Stdout, chunk);
        }
        writer.write(Stream::Stderr, long.as_bytes());
        writer.finish();
        let list = entries_of(dir.path(), driver, &LogQuery::default()).unwrap();
        let of = |stream| -> Vec<u8> {
            list.iter().filter(|entry| entry.stream == stream).flat_map(|entry| entry.bytes.clone()).collect()
        };
        assert!(of(Stream::Stdout) == bytes && of(Stream::Stderr) == long.as_bytes(), "{driver:?}");
        assert!(list.iter().all(|entry| entry.bytes.len() <= MAX_PIECE_BYTES));
        assert!(list.windows(2).all(|pair| pair[0].time <= pair[1].time));
        if driver == LogDriver::JsonFile {
            let raw = std::fs::read_to_string(dir.path().join("abc-json.log")).unwrap();
            assert!(raw.lines().filter(|line| line.contains("ä")).all(|line| !line.contains("\"hex\"")));
            let parsed = raw.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            assert_eq!(parsed.count(), list.len());
        }
    }
}

#[test]
fn rotation_keeps_so_many_files_within_their_size_and_tail_crosses_them() {
    for driver in DRIVERS {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions { max_size_bytes: Some(400), max_files: Some(3), compress: Some(false), ..of(driver) };
        let mut writer = open(dir.path(), &options);
        for number in 0..20 {
            writer.write(Stream::Stdout, format!("line {number}\n").as_bytes());
        }
        let rest: String = (20..40).map(|number| format!("line {number}\n")).collect();
        writer.write(Stream::Stdout, rest.as_bytes());
        let files = files(dir.path());
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 400));
        let all = text_of(dir.path(), driver, &LogQuery::default());
        assert!(all.ends_with("line 38\nline 39\n") && all.lines().count() >= 8, "{all}");
        let tail = |lines| LogQuery { tail: Some(lines), ..LogQuery::default() };
        let last: String = (33..40).map(|n| format!("line {n}\n")).collect();
        assert_eq!(text_of(dir.path(), driver, &tail(7)), last);
        assert_eq!(text_of(dir.path(), driver, &tail(0)), "");
        assert_eq!(text_of(dir.path(), driver, &tail(1000)), all);
        // A line longer than a file is whole in a file of its own.
        writer.write(Stream::Stdout, &[&[b'x'; 1000][..], b"\n"].concat());
        assert_eq!(text_of(dir.path(), driver, &tail(1)).len(), 1001);
    }
}

#[test]
fn times_select_and_both_ends_belong_to_the_selection() {
    for driver in DRIVERS {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path(), &of(driver));
        for number in 0..5 {
            writer.write(Stream::Stdout, format!("{number}\n").as_bytes());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let times: Vec<Timestamp> =
            entries_of(dir.path(), driver, &LogQuery::default()).unwrap().into_iter().map(|entry| entry.time).collect();
        let between = LogQuery { since: Some(times[1]), until: Some(times[3]), ..LogQuery::default() };
        assert_eq!(text_of(dir.path(), driver, &between), "1\n2\n3\n");
        // As in Docker, the last entries are counted before times leave some out.
        let last = LogQuery { tail: Some(3), ..between };
        assert_eq!(text_of(dir.path(), driver, &last), "2\n3\n");
    }
}

#[test]
fn what_goes_with_an_entry_comes_back() {
    for driver in DRIVERS {
        let dir = tempfile::tempdir().unwrap();
        let attrs = [("tag".to_owned(), "a \"b\"".to_owned()), ("A".to_owned(), "ä\n".to_owned())];
        let facts = LogFacts { attrs: attrs.clone().into(), ..LogFacts::default() };
        let mut writer = Writer::open(dir.path(), ID, &of(driver), &facts).unwrap();
        writer.write(Stream::Stdout, b"one\ntwo\n\xff\n");
        for entry in entries_of(dir.path(), driver, &LogQuery::default()).unwrap() {
            assert_eq!(entry.attrs, [attrs[1].clone(), attrs[0].clone()]);
        }
    }
}

#[test]
fn entries_of_docker_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = concat!(
        r#"{"log":"\u003ca\u003e \u0026 \u2028 \ud83d\ude00\n","stream":"stderr","time":"2024-01-02T03:04:05.6Z"}"#,
        "\n",
        r#"{"log":"part","stream":"stdout","attrs":{"tag":"x"},"time":"2024-01-02T03:04:06Z"}"#,
        "\n",
        r#"{"stream":"stdout","time":"2024-01-02T03:04:07Z","log":"other order\n"}"#,
        "\n",
    );
    std::fs::write(dir.path().join("abc-json.log"), log).unwrap();
    let list = entries(dir.path(), &LogQuery::default()).unwrap();
    assert_eq!(String::from_utf8_lossy(&list[0].bytes), "<a> & \u{2028} 😀\n");
    assert_eq!((list[0].stream, list[0].time.to_string().as_str()), (Stream::Stderr, "2024-01-02T03:04:05.6Z"));
    assert_eq!((list[1].bytes.as_slice(), list[1].attrs.len()), (b"part".as_slice(), 1));
    assert_eq!((list[2].bytes.as_slice(), list[2].attrs.len()), (b"other order\n".as_slice(), 0));
}

#[test]
fn a_torn_line_is_passed_over_and_a_foreign_one_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("abc-json.log");
    let mut writer = open(dir.path(), &LogOptions::default());
    writer.write(Stream::Stdout, b"one\ntwo\n");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(text(dir.path(), &LogQuery::default()), "one\n");
    let mut writer = open(dir.path(), &LogOptions::default());
    writer.write(Stream::Stdout, b"three\n");
    assert_eq!(text(dir.path(), &LogQuery::default()), "one\nthree\n");
    std::fs::write(&path, b"hello\n").unwrap();
    let error = entries(dir.path(), &LogQuery::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("abc-json.log") && error.to_string().contains("byte 0"), "{error}");
    std::fs::write(&path, vec![b'x'; MAX_ENTRY_BYTES * 2]).unwrap();
    assert_eq!(entries(dir.path(), &LogQuery::default()).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_torn_message_is_taken_back_by_the_next_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("local.log");
    let mut writer = open(dir.path(), &of(LogDriver::Local));
    writer.write(Stream::Stdout, b"one\ntwo\n");
    let whole = std::fs::read(&path).unwrap();
    let tail = LogQuery { tail: Some(2), ..LogQuery::default() };
    for torn in 1..whole.len() / 2 {
        std::fs::write(&path, &whole[..whole.len() - torn]).unwrap();
        for query in [&LogQuery::default(), &tail] {
            assert_eq!(text_of(dir.path(), LogDriver::Local, query), "one\n", "{torn}");
        }
        open(dir.path(), &of(LogDriver::Local)).write(Stream::Stdout, b"three\n");
        assert_eq!(text_of(dir.path(), LogDriver::Local, &tail), "one\nthree\n", "{torn}");
    }
    std::fs::write(&path, b"\x7f\xff\xff\xff nonsense").unwrap();
    let error = entries_of(dir.path(), LogDriver::Local, &LogQuery::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[test]
fn a_cleared_log_begins_anew() {
    for driver in DRIVERS {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions { max_size_bytes: Some(300), max_files: Some(3), compress: Some(false), ..of(driver) };
        let mut writer = open(dir.path(), &options);
        for number in 0..20 {
            writer.write(Stream::Stdout, format!("line {number}\npart").as_bytes());
        }
        writer.clear().unwrap();
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
        assert_eq!(text_of(dir.path(), driver, &LogQuery::default()), "");
        writer.write(Stream::Stdout, b" after\n");
        assert_eq!(text_of(dir.path(), driver, &LogQuery::default()), "part after\n");
        assert_eq!(writer.lost(), LogLoss::default());
    }
}

#[test]
fn a_log_that_is_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("elsewhere"), "").unwrap();
    std::os::unix::fs::symlink("elsewhere", dir.path().join("abc-json.log")).unwrap();
    assert!(Writer::open(dir.path(), ID, &LogOptions::default(), &LogFacts::default()).is_err());
    assert!(entries(dir.path(), &LogQuery::default()).is_err());
}

/// Compresses what the writer would have compressed by another process.
fn compress_older(dir: &Path, name: &str, numbers: &[u32]) {
    for number in numbers {
        let plain = dir.join(format!("{name}.{number}"));
        let from = std::fs::File::open(&plain).unwrap();
        let to = std::fs::File::create(compressed(&plain)).unwrap();
        compress::write(from, to).unwrap();
        std::fs::remove_file(&plain).unwrap();
    }
}

#[test]
fn compressed_files_are_read_like_others_and_shift_like_others() {
    for (driver, name) in [(LogDriver::JsonFile, "abc-json.log"), (LogDriver::Local, "local.log")] {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions { max_size_bytes: Some(400), max_files: Some(4), compress: Some(false), ..of(driver) };
        let mut writer = open(dir.path(), &options);
        let mut next = 0..;
        let mut write_until = |count: usize| {
            while files(dir.path()).len() < count {
                writer.write(Stream::Stdout, format!("line {}\n", next.next().unwrap()).as_bytes());
            }
            for number in next.by_ref().take(3) {
                writer.write(Stream::Stdout, format!("line {number}\n").as_bytes());
            }
        };
        write_until(4);
        let before = text_of(dir.path(), driver, &LogQuery::default());
        compress_older(dir.path(), name, &[2, 3]);
        assert_eq!(text_of(dir.path(), driver, &LogQuery::default()), before);
        let total = before.lines().count();
        for lines in [1, total / 2, total - 1, total, total + 1] {
            let tail = LogQuery { tail: Some(lines), ..LogQuery::default() };
            let expected: Vec<&str> = before.lines().skip(total.saturating_sub(lines)).collect();
            let found = text_of(dir.path(), driver, &tail);
            assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{driver:?} {lines} of {total}");
        }
        // The oldest goes, the others get a higher number in whichever form they are.
        for _ in 0..12 {
            write_until(4);
        }
        let after = text_of(dir.path(), driver, &LogQuery::default());
        let numbers: Vec<u32> =
            after.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{after}");
        writer.clear().unwrap();
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_follower_finds_its_place_after_rotation_and_compression() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { max_size_bytes: Some(300), max_files: Some(9), ..of(LogDriver::JsonFile) };
    let mut writer = open(dir.path(), &options);
    writer.write(Stream::Stdout, b"0\n");
    let form = options.files().unwrap().form;
    let mut source = source::last(dir.path(), ID, form, 0).unwrap().pop_back().unwrap();
    for number in 1..20 {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    compress_older(dir.path(), "abc-json.log", &[2, 3, 4]);
    let (mut seen, mut decoder) = (Vec::new(), source::Decoder::new(form));
    loop {
        while let source::Next::Entry(entry) = source.next(&mut decoder).unwrap() {
            seen.extend_from_slice(entry.bytes);
        }
        match source::after(Some(&source), dir.path(), ID, form).unwrap() {
            (mut files, 0) if !files.is_empty() => source = files.pop_front().unwrap(),
            (_, missed) => break assert_eq!(missed, 0),
        }
    }
    let expected: String = (1..20).map(|number| format!("{number}\n")).collect();
    assert_eq!(String::from_utf8(seen).unwrap(), expected);
}

/// A file that was compressed and removed gives its inode to a later one, whose content the compressed one has not.
#[test]
fn a_later_file_with_the_inode_of_a_compressed_one_is_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { max_size_bytes: Some(100), max_files: Some(9), ..of(LogDriver::JsonFile) };
    let mut writer = open(dir.path(), &options);
    writer.write(Stream::Stdout, b"one\n");
    let live = dir.path().join("abc-json.log");
    let packed = std::fs::File::create(dir.path().join("abc-json.log.1.gz")).unwrap();
    compress::write(std::fs::File::open(&live).unwrap(), packed).unwrap();
    // Most file systems give an inode that became free to the next file; all do when that is written into the same one.
    let text_of_two = std::fs::read_to_string(&live).unwrap().replace("one", "two");
    std::fs::write(&live, text_of_two).unwrap();
    let form = options.files().unwrap().form;
    assert_eq!(text(dir.path(), &LogQuery::default()), "one\ntwo\n");
    let mut files = source::all(dir.path(), ID, form, None).unwrap();
    let (newest, packed) = (files.pop_back().unwrap(), files.pop_back().unwrap());
    assert_eq!(source::after(Some(&newest), dir.path(), ID, form).unwrap().0.len(), 0);
    assert_eq!(source::after(Some(&packed), dir.path(), ID, form).unwrap().0.len(), 1);
    assert!(newest.is_at(&live) && !packed.is_at(&live));
}

#[test]
fn a_follower_knows_how_many_files_it_missed() {
    for max_files in [1, 2, 5] {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions { max_size_bytes: Some(100), max_files: Some(max_files), ..of(LogDriver::JsonFile) };
        let mut writer = open(dir.path(), &options);
        writer.write(Stream::Stdout, b"0\n");
        let form = options.files().unwrap().form;
        let first = source::last(dir.path(), ID, form, 0).unwrap().pop_back().unwrap();
        for number in 1..20 {
            writer.write(Stream::Stdout, format!("{number}\n").as_bytes());
            let (files, missed) = source::after(Some(&first), dir.path(), ID, form).unwrap();
            assert_eq!(files.len() as u32, number.min(max_files), "{max_files} {number}");
            assert_eq!(missed, u64::from(number.saturating_sub(max_files)), "{max_files} {number}");
        }
    }
}

#[test]
fn a_gap_that_a_killed_writer_left_hides_nothing_and_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { max_size_bytes: Some(100), max_files: Some(4), ..of(LogDriver::JsonFile) };
    let mut writer = open(dir.path(), &options);
    for number in 0..3 {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    let older = |number: u32| dir.path().join(format!("abc-json.log.{number}"));
    std::fs::rename(older(2), older(3)).unwrap();
    std::fs::rename(older(1), older(2)).unwrap();
    assert_eq!(text(dir.path(), &LogQuery::default()), "0\n1\n2\n");
    let mut writer = open(dir.path(), &options);
    writer.write(Stream::Stdout, b"3\n");
    assert_eq!(text(dir.path(), &LogQuery::default()), "0\n1\n2\n3\n");
    std::fs::rename(older(1), dir.path().join("elsewhere")).unwrap();
    clear(dir.path(), ID, options.files().unwrap().form).unwrap();
    assert_eq!(text(dir.path(), &LogQuery::default()), "");
    assert!(!older(3).exists());
}

/// A receiver of datagrams in `dir`, and facts that name it.
fn receiver(dir: &Path) -> (std::os::unix::net::UnixDatagram, LogFacts) {
    let path = dir.join("socket");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    (socket, LogFacts { tag: "web".into(), peer: Some(Peer::Datagrams(path)), ..LogFacts::default() })
}

#[test]
fn entries_go_to_the_journal_and_a_copy_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, facts) = receiver(dir.path());
    let mut writer = Writer::open(dir.path(), &"a".repeat(64), &of(LogDriver::Journald), &facts).unwrap();
    writer.write(Stream::Stderr, b"one\ntwo");
    writer.finish();
    let mut buffer = [0; 4096];
    for (message, partial) in [("MESSAGE=one\nPRIORITY=3\n", false), ("MESSAGE=two\nPRIORITY=3\n", true)] {
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        assert!(text.starts_with(message) && text.contains("PARTIAL") == partial, "{text}");
    }
    assert_eq!(text_of(dir.path(), LogDriver::Local, &LogQuery::default()), "one\ntwo");
}

#[test]
fn a_slow_receiver_holds_back_or_costs_entries_as_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, facts) = receiver(dir.path());
    let line = [&[b'x'; 999][..], b"\n"].concat();
    let mut options = of(LogDriver::Syslog);
    options.cache.disabled = true;
    let mut writer = Writer::open(dir.path(), ID, &options, &facts).unwrap();
    let mut written = 0;
    while !writer.is_full() {
        writer.write(Stream::Stdout, &line);
        written += 1;
        assert!(written < 100_000, "nothing holds it back");
    }
    assert!(writer.waits_for().is_some() && writer.lost().is_none());
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        (0..written).map(|_| socket.recv(&mut buffer).unwrap()).filter(|length| *length > 1000).count()
    });
    writer.finish();
    assert_eq!(reader.join().unwrap(), written);
    assert!(writer.lost().is_none());
    // The same, but nothing may wait for long.
    let dir = tempfile::tempdir().unwrap();
    let (_socket, facts) = receiver(dir.path());
    let options = LogOptions { non_blocking: true, max_buffer_bytes: Some(10_000), ..options };
    let mut writer = Writer::open(dir.path(), ID, &options, &facts).unwrap();
    for _ in 0..2000 {
        writer.write(Stream::Stdout, &line);
    }
    assert!(!writer.is_full() && writer.lost().lines > 1000, "{:?}", writer.lost());
    assert_eq!(writer.lost().bytes, writer.lost().lines * 1000);
}

#[test]
fn a_stream_is_whole_across_a_receiver_that_comes_late_and_goes() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = of(LogDriver::Syslog);
    options.cache.disabled = true;
    let facts = LogFacts { tag: "web".into(), peer: Some(Peer::Tcp(address)), ..LogFacts::default() };
    let mut writer = Writer::open(dir.path(), ID, &options, &facts).unwrap();
    writer.write(Stream::Stdout, b"first\n");
    let (connection, _) = listener.accept().unwrap();
    writer.write(Stream::Stdout, b"second\n");
    let mut lines = BufReader::new(connection).lines();
    while writer.waits_for().is_some() {
        writer.flush();
    }
    assert!(lines.next().unwrap().unwrap().ends_with(": first"));
    assert!(lines.next().unwrap().unwrap().ends_with(": second"));
    drop((lines, listener));
    // Nobody is there: the container is not held back, and what does not fit is counted.
    for _ in 0..300 {
        writer.write(Stream::Stdout, &[&[b'y'; 999][..], b"\n"].concat());
    }
    assert!(!writer.is_full() && writer.lost().lines > 50, "{:?}", writer.lost());
}
