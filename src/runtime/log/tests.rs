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
        let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
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
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
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
