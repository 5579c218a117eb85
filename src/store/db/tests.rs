//! The database by itself: uniqueness, phases, uses, versions, two processes at once, a full disk.

use super::*;
use crate::base::Kind;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
    (folder, store)
}

const A: &str = "aaaa1111";
const B: &str = "aaaa2222";

#[test]
fn records_have_bodies_names_and_phases() {
    let (_folder, store) = store();
    store
        .write(|tx| {
            tx.insert(Noun::Container, A, Phase::Creating, &vec![1, 2])?;
            tx.name(Noun::Container, "web", A)?;
            tx.name(Noun::Container, "api", A)?;
            tx.name(Noun::Container, "api", A)
        })
        .unwrap();
    let row = store.read(|tx| tx.get::<Vec<i32>>(Noun::Container, A)).unwrap().unwrap();
    assert_eq!((row.body, row.phase, row.names), (vec![1, 2], Phase::Creating, vec!["api".into(), "web".into()]));
    assert_eq!(store.read(|tx| tx.unfinished(Noun::Container)).unwrap(), [(A.to_owned(), Phase::Creating)]);
    store
        .write(|tx| {
            tx.set_phase(Noun::Container, A, Phase::Ready)?;
            tx.update(Noun::Container, A, &vec![3])?;
            tx.unname(Noun::Container, "web")
        })
        .unwrap();
    let rows = store.read(|tx| tx.list::<Vec<i32>>(Noun::Container)).unwrap();
    assert_eq!((rows.len(), &rows[0].body, &rows[0].names), (1, &vec![3], &vec!["api".to_owned()]));
    assert!(store.write(|tx| tx.delete(Noun::Container, A)).unwrap());
    assert!(!store.write(|tx| tx.delete(Noun::Container, A)).unwrap());
    assert_eq!(store.read(|tx| tx.named(Noun::Container, "api")).unwrap(), None);
}

#[test]
fn what_is_missing_or_taken_is_said_with_noun_and_name() {
    let (_folder, store) = store();
    store.write(|tx| tx.insert(Noun::Volume, A, Phase::Ready, &())).unwrap();
    store.write(|tx| tx.name(Noun::Volume, "data", A)).unwrap();
    store.write(|tx| tx.insert(Noun::Volume, B, Phase::Ready, &())).unwrap();
    let error = store.write(|tx| tx.insert(Noun::Volume, A, Phase::Ready, &())).unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists);
    let error = store.write(|tx| tx.name(Noun::Volume, "data", B)).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::AlreadyExists, "the volume name \"data\" is taken by aaaa1111"));
    let error = store.read(|tx| tx.find(Noun::Volume, "dta")).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::NotFound, "no such volume \"dta\""));
    assert_eq!(error.hint(), Some("did you mean \"data\"?"));
    assert_eq!(store.write(|tx| tx.update(Noun::Volume, "x", &())).unwrap_err().kind(), Kind::NotFound);
    let error = store.write(|tx| tx.add_use((Noun::Volume, A), (Noun::Layer, "x"))).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(store.read(|tx| tx.insert(Noun::Volume, "c", Phase::Ready, &())).is_err());
}

#[test]
fn find_takes_names_then_unique_beginnings() {
    let (_folder, store) = store();
    let digest = crate::base::Digest::of(b"x");
    store
        .write(|tx| {
            tx.insert(Noun::Container, A, Phase::Ready, &())?;
            tx.insert(Noun::Container, B, Phase::Ready, &())?;
            tx.name(Noun::Container, "aaaa1", B)?;
            tx.insert(Noun::Image, digest.as_str(), Phase::Ready, &())
        })
        .unwrap();
    let find = |noun, text: &str| store.read(|tx| tx.find(noun, text));
    assert_eq!(find(Noun::Container, "aaaa1").unwrap(), B);
    assert_eq!(find(Noun::Container, "aaaa11").unwrap(), A);
    assert_eq!(find(Noun::Container, "aaaa").unwrap_err().kind(), Kind::Conflict);
    assert_eq!(find(Noun::Image, digest.short()).unwrap(), digest.as_str());
    assert_eq!(find(Noun::Image, &digest.as_str()[..20]).unwrap(), digest.as_str());
    for text in ["", "%", "_", "a'", "AAAA11", "sha256:"] {
        assert_eq!(find(Noun::Container, text).unwrap_err().kind(), Kind::NotFound, "{text:?}");
    }
}

#[test]
fn uses_are_kept_both_ways_and_end_with_the_user() {
    let (_folder, store) = store();
    store
        .write(|tx| {
            tx.insert(Noun::Image, A, Phase::Ready, &())?;
            tx.insert(Noun::Layer, B, Phase::Ready, &())?;
            tx.add_use((Noun::Image, A), (Noun::Layer, B))?;
            tx.add_use((Noun::Image, A), (Noun::Layer, B))
        })
        .unwrap();
    assert_eq!(store.read(|tx| tx.users((Noun::Layer, B))).unwrap(), [(Noun::Image, A.to_owned())]);
    assert_eq!(store.read(|tx| tx.uses((Noun::Image, A))).unwrap(), [(Noun::Layer, B.to_owned())]);
    store.write(|tx| tx.delete(Noun::Image, A)).unwrap();
    assert!(store.read(|tx| tx.users((Noun::Layer, B))).unwrap().is_empty());
}

#[test]
fn a_failed_transaction_changes_nothing() {
    let (_folder, store) = store();
    let result: Result<()> = store.write(|tx| {
        tx.insert(Noun::Image, A, Phase::Ready, &())?;
        Err(Error::failed("no"))
    });
    assert_eq!(result.unwrap_err().to_string(), "no");
    assert_eq!(store.read(|tx| tx.count(Noun::Image)).unwrap(), 0);
}

#[test]
fn readers_do_not_wait_for_a_writer() {
    let (_folder, store) = store();
    let start = Instant::now();
    store
        .write(|tx| {
            tx.insert(Noun::Image, A, Phase::Ready, &())?;
            assert_eq!(store.read(|tx| tx.count(Noun::Image))?, 0);
            let other = Store::open(store.paths())?;
            assert_eq!(other.read(|tx| tx.count(Noun::Image))?, 0);
            Ok(())
        })
        .unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn many_threads_create_and_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::new(folder.path().join("root"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let paths = &paths;
            scope.spawn(move || {
                for number in 0..25 {
                    let store = Store::open(paths).unwrap();
                    let id = format!("{thread}-{number}");
                    store.write(|tx| tx.insert(Noun::Image, &id, Phase::Ready, &id)).unwrap();
                }
            });
        }
    });
    let store = Store::open(&paths).unwrap();
    assert_eq!(store.read(|tx| tx.count(Noun::Image)).unwrap(), 200);
}

#[test]
fn a_later_version_is_refused_and_another_database_too() {
    let (_folder, store) = store();
    let paths = store.paths().clone();
    drop(store);
    let connection = Connection::open(paths.database()).unwrap();
    connection.pragma_update(None, "user_version", 1_000).unwrap();
    drop(connection);
    let error = Store::open(&paths).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.hint().is_some());
    let connection = Connection::open(paths.database()).unwrap();
    connection.pragma_update(None, "application_id", 7).unwrap();
    drop(connection);
    assert_eq!(Store::open(&paths).err().unwrap().kind(), Kind::Corrupt);
    for leftover in ["-wal", "-shm"] {
        let mut name = paths.database().into_os_string();
        name.push(leftover);
        let _ = std::fs::remove_file(name);
    }
    std::fs::write(paths.database(), vec![b'x'; 8192]).unwrap();
    assert_eq!(Store::open(&paths).err().unwrap().kind(), Kind::Corrupt);
}

#[test]
fn an_unreadable_body_is_corrupt_and_named() {
    let (_folder, store) = store();
    store.write(|tx| tx.insert(Noun::Image, A, Phase::Ready, &"text")).unwrap();
    let error = store.read(|tx| tx.get::<u32>(Noun::Image, A)).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.message().contains("image") && error.message().contains(A), "{error}");
    assert_eq!(store.read(|tx| tx.ids(Noun::Image)).unwrap(), [A]);
}

#[test]
fn the_log_does_not_grow_without_bound() {
    let (_folder, store) = store();
    let body = "x".repeat(4000);
    for round in 0..1500 {
        let id = format!("{}", round % 7);
        store
            .write(|tx| {
                tx.delete(Noun::Image, &id)?;
                tx.insert(Noun::Image, &id, Phase::Ready, &body)
            })
            .unwrap();
    }
    let mut log = store.paths().database().into_os_string();
    log.push("-wal");
    let bytes = std::fs::metadata(log).unwrap().len();
    assert!(bytes < 4 * 1024 * 1024, "{bytes}");
}

#[test]
fn a_foreign_folder_is_not_taken_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "").unwrap();
    let error = Store::open(&Paths::new(folder.path())).err().unwrap();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert_eq!(std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn folders_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, store) = store();
    let paths = store.paths();
    for path in [paths.root(), &paths.tmp(), &paths.layers(), &paths.blobs(), paths.run(), &paths.locks()] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
    }
}

#[test]
fn opening_again_is_cheap() {
    let (_folder, store) = store();
    let start = Instant::now();
    for _ in 0..20 {
        Store::open(store.paths()).unwrap();
    }
    // 20 ms each would be a folder made, a file synced or a schema parsed anew; the machine may be busy.
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
}

#[test]
fn a_log_that_grew_beside_readers_is_cut_when_nobody_uses_it() {
    let (folder, store) = store();
    let log = || folder.path().join("root/rhumb.db-wal").metadata().unwrap().len();
    let write = |store: &Store, number: usize| {
        let body = "x".repeat(100_000);
        store.write(|tx| tx.insert(Noun::Container, &format!("{number:064}"), Phase::Ready, &body)).unwrap();
    };
    store
        .read(|tx| {
            let _ = tx.ids(Noun::Container)?;
            (0..60).for_each(|number| write(&store, number));
            // Nobody waits for the reader, and nothing is cut below it.
            let other = Store::open(&Paths::new(folder.path().join("root")))?;
            assert!(log() > LONG_LOG_BYTES && other.read(|tx| tx.count(Noun::Container))? == 60);
            assert_eq!(tx.count(Noun::Container)?, 0);
            Ok(())
        })
        .unwrap();
    let store = Store::open(&Paths::new(folder.path().join("root"))).unwrap();
    assert!(log() <= LOG_BYTES, "{} bytes", log());
    assert_eq!(store.read(|tx| tx.count(Noun::Container)).unwrap(), 60);
    write(&store, 61);
}

#[test]
fn a_statement_is_planned_once_whatever_it_is_asked_for() {
    let (_folder, store) = store();
    let link = store.db.take().unwrap();
    // The heaviest of them: it is sorted, and on an index of two columns.
    let sql = "SELECT name FROM names WHERE noun = ?1 AND id = ?2 ORDER BY name";
    let mut statement = link.connection.prepare_cached(sql).unwrap();
    for id in [A, "0", "1"] {
        statement.query_map([Noun::Image.as_str(), id], |row| row.get::<_, String>(0)).unwrap().for_each(drop);
    }
    assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
}

#[test]
fn a_folded_log_holds_next_to_nothing() {
    let (_folder, store) = store();
    for number in 0..20 {
        store.write(|tx| tx.insert(Noun::Image, &format!("{number:064}"), Phase::Ready, &"text")).unwrap();
    }
    let frames = || {
        let link = store.db.take().unwrap();
        let frames = link.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(1));
        store.db.put_back(link);
        frames.unwrap()
    };
    assert!(frames() >= 20);
    store.fold_log();
    assert!(frames() <= 2);
    assert_eq!(store.read(|tx| tx.count(Noun::Image)).unwrap(), 20);
}
