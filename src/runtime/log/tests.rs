//! What is written comes back, byte for byte, however it is cut, rotated, torn or followed.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::base::{Kind, Result};
use crate::model::log::{LogEntry, LogOptions, LogQuery};

const ID: &str = "abc";

fn entries(dir: &Path, query: &LogQuery) -> Result<Vec<LogEntry>> {
    let mut list = Vec::new();
    read(dir, &dir.join("run"), ID, query, &AtomicBool::new(false), &mut |entry| {
        list.push(entry);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(list)
}

fn text(dir: &Path, query: &LogQuery) -> String {
    let bytes: Vec<u8> = entries(dir, query).unwrap().into_iter().flat_map(|entry| entry.bytes).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn lines_have_dockers_format_and_streams_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), ID, &LogOptions::default()).unwrap();
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
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 7 % 256) as u8).collect();
    let long = "ä".repeat(MAX_PIECE_BYTES);
    let mut writer = Writer::open(dir.path(), ID, &LogOptions::default()).unwrap();
    for chunk in bytes.chunks(777) {
        writer.write(Stream::Stdout, chunk);
    }
    writer.write(Stream::Stderr, long.as_bytes());
    writer.finish();
    let list = entries(dir.path(), &LogQuery::default()).unwrap();
    let of = |stream| -> Vec<u8> {
        list.iter().filter(|entry| entry.stream == stream).flat_map(|entry| entry.bytes.clone()).collect()
    };
    assert!(of(Stream::Stdout) == bytes && of(Stream::Stderr) == long.as_bytes());
    assert!(list.iter().all(|entry| entry.bytes.len() <= MAX_PIECE_BYTES));
    let raw = std::fs::read_to_string(dir.path().join("abc-json.log")).unwrap();
    assert!(raw.lines().filter(|line| line.contains("ä")).all(|line| !line.contains("\"hex\"")));
}

#[test]
fn rotation_keeps_so_many_files_and_tail_crosses_them() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { max_size_bytes: Some(400), max_files: Some(3), ..LogOptions::default() };
    let mut writer = Writer::open(dir.path(), ID, &options).unwrap();
    for number in 0..40 {
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes());
    }
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 3);
    let all = text(dir.path(), &LogQuery::default());
    assert!(all.ends_with("line 38\nline 39\n") && all.lines().count() >= 8, "{all}");
    let tail = LogQuery { tail: Some(7), ..LogQuery::default() };
    assert_eq!(text(dir.path(), &tail), (33..40).map(|n| format!("line {n}\n")).collect::<String>());
    let none = LogQuery { tail: Some(0), ..LogQuery::default() };
    assert_eq!(text(dir.path(), &none), "");
    let more = LogQuery { tail: Some(1000), ..LogQuery::default() };
    assert_eq!(text(dir.path(), &more), all);
}

#[test]
fn a_torn_line_is_passed_over_and_a_foreign_one_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("abc-json.log");
    let mut writer = Writer::open(dir.path(), ID, &LogOptions::default()).unwrap();
    writer.write(Stream::Stdout, b"one\ntwo\n");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(text(dir.path(), &LogQuery::default()), "one\n");
    let mut writer = Writer::open(dir.path(), ID, &LogOptions::default()).unwrap();
    writer.write(Stream::Stdout, b"three\n");
    assert_eq!(text(dir.path(), &LogQuery::default()), "one\nthree\n");
    std::fs::write(&path, b"hello\n").unwrap();
    let error = entries(dir.path(), &LogQuery::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("abc-json.log") && error.to_string().contains("byte 0"), "{error}");
    std::fs::write(&path, vec![b'x'; MAX_LINE_BYTES * 2]).unwrap();
    assert_eq!(entries(dir.path(), &LogQuery::default()).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_log_that_is_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("elsewhere"), "").unwrap();
    std::os::unix::fs::symlink("elsewhere", dir.path().join("abc-json.log")).unwrap();
    assert!(Writer::open(dir.path(), ID, &LogOptions::default()).is_err());
    assert!(entries(dir.path(), &LogQuery::default()).is_err());
}
