//! Scripts that need no engine: values, errors, control.

use std::io::{BufReader, Cursor, Write};
use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::EngineOptions;

/// A writer that others can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn options(args: &[&str]) -> (Options, Shared, Shared) {
    let (out, err) = (Shared::default(), Shared::default());
    let console = Console {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input: Box::new(BufReader::new(Cursor::new(b"yes\n".to_vec()))),
        width: 80,
        colour: false,
        interactive: false,
        terminal: None,
    };
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    (Options { engine: EngineOptions::default(), args, console, builds: None }, out, err)
}

/// Exit code, standard output, standard error.
fn run(text: &str, args: &[&str]) -> (u8, String, String) {
    let (options, out, err) = options(args);
    let code = run_text("test.rhai", text, false, options);
    (code, out.text(), err.text())
}

/// What a script that must succeed prints.
fn prints(text: &str) -> String {
    let (code, out, err) = run(text, &[]);
    assert_eq!(code, 0, "{err}");
    out
}

#[test]
fn units_are_values_with_arithmetic() {
    assert_eq!(
        prints("print(1500.ms); print(64.mb); print(10.s + 1.min); print(2.5.hours);"),
        "1.5s\n64MiB\n1m10s\n2h30m\n"
    );
    assert_eq!(
        prints("print(500.ms < 1.s); print(2 * 3.s); print(1.gb / 2); print(1.min == 60.s);"),
        "true\n6s\n512MiB\ntrue\n"
    );
    let (code, _, err) = run("1.s - 2.s", &[]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("negative") && err.contains("test.rhai:1:5"), "{err}");
}

#[test]
fn errors_have_the_same_getters_whoever_throws() {
    let script = r#"
        try { throw "plain"; } catch (e) { print(`${e.kind} ${e.message}`); }
        try { let a = [1]; a[5] } catch (e) { print(`${e.kind} ${e.line} ${e.hint == ()} ${e.exit_code == ()}`); }
        try { duration("soon"); } catch (e) { print(`${e.kind} ${e.line} ${e.hint}`); }
        try { lenght("x"); } catch (e) { print(`${e.kind} ${e.chain}`); }
        try { throw #{ message: "mine" }; } catch (e) { print(`${e.kind} ${e.message}`); }
        try { host::run("echo out; echo err >&2; exit 3"); } catch (e) { print(`${e.kind} ${e.exit_code} ${e.stdout}${e.stderr}`); }
    "#;
    let out = prints(script);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "failed plain");
    assert_eq!(lines[1], "failed 3 true true");
    assert_eq!(lines[2], "invalid_argument 4 write a number and a unit, such as 10s or 1m30s");
    assert_eq!(lines[3], "invalid_argument []");
    assert_eq!(lines[4], "failed mine");
    assert_eq!(lines[5..], ["command_failed 3 out", "err", ""]);
}

#[test]
fn an_uncaught_error_shows_the_line_with_a_caret_and_a_hint() {
    let (code, _, err) = run("let x = 1;\nlet d = duration(\"soon\");\n", &[]);
    assert_eq!(code, 2);
    assert!(err.contains("error: \"soon\" is not a duration"), "{err}");
    assert!(err.contains("--> test.rhai:2:9") && err.contains("^^^^^^^^"), "{err}");
    assert!(err.contains("hint: write a number and a unit"), "{err}");
}

#[test]
fn misspelt_names_are_errors_with_a_suggestion() {
    for (script, message, hint) in [
        ("pritn(1)", "no function pritn(int)", "\"print\""),
        ("contaner::list()", "no module \"contaner\"", "\"container\""),
        ("host::exsts(\"/\")", "no function host::exsts(string)", "\"exists\""),
        ("let out = host::run(\"true\"); out.stdot", "an Output has no property \"stdot\"", "\"stdout\""),
        ("let out = host::run(\"true\"); out.code()", "no function code(Output)", "property"),
        ("let m = #{ name: 1 }; m.nmae", "this map has no property \"nmae\"", "\"name\""),
        ("print(undefined_thing)", "no variable \"undefined_thing\"", ""),
        ("host::run(\"true\", #{ chek: false })", "has no option \"chek\"", "\"check\""),
    ] {
        let (code, _, err) = run(script, &[]);
        assert_eq!(code, 2, "{script}: {err}");
        assert!(err.contains(message) && err.contains(hint), "{script}: {err}");
    }
}

#[test]
fn defers_run_last_first_with_the_values_of_their_time() {
    let script = r#"
        for n in [1, 2] { defer(|| print(`script ${n}`)); }
        let value = scope(|| { defer(|| print("inner")); print("body"); 7 });
        print(value);
        throw "end";
    "#;
    let (code, out, err) = run(script, &[]);
    assert_eq!((code, out.as_str()), (1, "body\ninner\n7\nscript 2\nscript 1\n"), "{err}");
}

#[test]
fn a_failing_defer_is_reported_and_the_others_still_run() {
    let (code, out, err) = run("defer(|| print(\"last\")); defer(|| { throw \"oops\" });", &[]);
    assert_eq!((code, out.as_str()), (1, "last\n"));
    assert!(err.contains("in a deferred closure:") && err.contains("oops"), "{err}");
}

#[test]
fn exit_ends_the_script_from_anywhere_and_runs_defers() {
    let script =
        "fn leave() { exit(4) } defer(|| print(\"bye\")); scope(|| retry(3, 1.ms, || leave())); print(\"never\");";
    assert_eq!(run(script, &[]).0, 4);
    assert_eq!(run(script, &[]).1, "bye\n");
    assert_eq!(run("exit()", &[]).0, 0);
    assert_eq!(run("exit(300)", &[]).0, 2);
    assert_eq!(run("parallel([1, 2], |n| exit(n + 4))", &[]).0, 5);
}

#[test]
fn parallel_keeps_order_copies_captures_and_lists_failures() {
    assert_eq!(prints("print(parallel(0..100, |n| n * 2).len);"), "100\n");
    let script = "let out = host::run(\"echo x\"); print(parallel([1, 2, 3], |n| `${n}${out.stdout.trimmed()}`));";
    assert_eq!(prints(script), "[\"1x\", \"2x\", \"3x\"]\n");
    let script = r#"
        try { parallel([1, 2, 3], |n| if n > 1 { fail("not_found", `no ${n}`) } else { n }); }
        catch (e) { print(`${e.kind}: ${e.message}; ${e.others.len}`); }
    "#;
    assert_eq!(prints(script), "not_found: 2 of 3 failed, the first: no 2; 1\n");
}

#[test]
fn retry_stops_at_the_first_success_and_throws_the_last_error() {
    assert_eq!(prints("let n = 0; print(retry(5, 1.ms, || { n += 1; assert(n == 3); n }));"), "3\n");
    let (code, _, err) = run("retry(2, 1.ms, || assert(false, \"never\"))", &[]);
    assert_eq!(code, 1);
    assert!(err.contains("assertion failed: never"), "{err}");
}

#[test]
fn arguments_are_read_as_the_type_of_their_fallback() {
    let script = r#"
        print(arg("n", 1) + 1); print(arg("wait", 1.s)); print(flag("dry-run")); print(arg("tag", "dev")); print(args().len);
    "#;
    let (code, out, _) = run(script, &["--n=41", "--wait", "2m", "--dry-run"]);
    assert_eq!((code, out.as_str()), (0, "42\n2m\ntrue\ndev\n4\n"));
    let (code, _, err) = run("arg(\"n\", 1)", &["--n=many"]);
    assert_eq!(code, 2);
    assert!(err.contains("reading the option --n") && err.contains("\"many\" is not a whole number"), "{err}");
    let (code, _, err) = run("flag(\"dry-run\")", &["--dryrun"]);
    assert_eq!(code, 0);
    assert!(err.contains("did not use --dryrun; did you mean \"dry-run\"?"), "{err}");
}

#[test]
fn an_error_in_a_module_shows_the_modules_line_and_the_call() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lib.rhai"), "// A module.\n\nfn broken(x) {\n    duration(x)\n}\n").unwrap();
    let main = dir.path().join("main.rhai");
    std::fs::write(&main, "import \"lib\" as lib;\nlib::broken(\"soon\");\n").unwrap();
    let (options, _, err) = options(&[]);
    assert_eq!(run_file(&main, options), 2);
    let err = err.text();
    assert!(err.contains("lib.rhai:4:5") && err.contains("main.rhai:2:6"), "{err}");
}

#[test]
fn files_that_cannot_be_run_say_so() {
    let (options, _, err) = options(&[]);
    assert_eq!(run_file(Path::new("/nowhere/x.rhai"), options), 3);
    assert!(err.text().contains("reading the script \"/nowhere/x.rhai\""), "{}", err.text());
    let (code, _, err) = run("let x = ;", &[]);
    assert_eq!(code, 2);
    assert!(err.contains("test.rhai:1:9"), "{err}");
}

#[test]
fn eval_is_off_and_recursion_is_bounded() {
    assert_eq!(run("eval(\"1\")", &[]).0, 2);
    let (code, _, err) = run("fn f(n) { f(n + 1) } f(0)", &[]);
    assert_eq!(code, 1);
    assert!(err.to_lowercase().contains("stack overflow"), "{err}");
}

#[test]
fn confirm_reads_an_answer_and_its_end_is_no() {
    assert_eq!(prints("print(confirm(\"Sure?\")); print(confirm(\"Sure?\"));"), "true\nfalse\n");
}

#[test]
fn secrets_never_show() {
    let out = prints(
        "let s = secret::random(8); print(s); print(`${s} ${[s]} ${#{ s: s }}`); print(#{ s: s }); print([s].json());",
    );
    assert_eq!(out, "***\n*** [***] #{ s: *** }\ns: ***\n[\n  \"***\"\n]\n");
    let script = "let s = secret::random(8); let d = host::temp_dir(); host::write(`${d}/k`, s); \
        print(host::run([\"stat\", \"-c\", \"%a %s\", `${d}/k`]));";
    assert_eq!(prints(script), "600 16\n");
}

#[test]
fn temp_dirs_go_with_the_script() {
    let out =
        prints("let d = host::temp_dir(); host::write(`${d}/a`, \"1\"); print(d); print(host::glob(`${d}/*`).len);");
    let (dir, count) = out.split_once('\n').unwrap();
    assert_eq!(count, "1\n");
    assert!(!Path::new(dir).exists());
}

#[test]
fn commands_of_the_host_have_a_deadline() {
    let start = std::time::Instant::now();
    let (code, _, err) = run("host::run(\"sleep 60; echo\", #{ timeout: 50.ms })", &[]);
    assert_eq!(code, 9, "{err}");
    assert!(start.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn the_value_of_an_expression_is_shown_when_asked() {
    let (options, out, _) = options(&[]);
    assert_eq!(run_text("-e", "#{ a: [1, 2], b: \"x\" }", true, options), 0);
    assert_eq!(out.text(), "a: [1, 2]\nb: x\n");
}

mod sessions {
    use super::*;

    fn session() -> (Session, Shared) {
        let (options, out, _) = options(&[]);
        (Session::new(options), out)
    }

    #[test]
    fn variables_functions_and_imports_stay() {
        let (mut session, _) = session();
        assert_eq!(session.evaluate("let x = 40;"), Evaluated::Value(None));
        assert_eq!(session.evaluate("fn twice(n) { n * 2 }"), Evaluated::Value(None));
        assert_eq!(session.evaluate("import \"std/assert\" as t;"), Evaluated::Value(None));
        assert_eq!(session.evaluate("t::eq(twice(x), 80);"), Evaluated::Value(None));
        assert_eq!(session.evaluate("x + 2"), Evaluated::Value(Some("42".into())));
        assert_eq!(session.evaluate("it + 1"), Evaluated::Value(Some("43".into())));
        assert_eq!(session.evaluate("\"a\""), Evaluated::Value(Some("\"a\"".into())));
        assert!(session.as_script().contains("fn twice(n) { n * 2 }\nimport"));
    }

    #[test]
    fn an_error_does_not_end_it() {
        let (mut session, _) = session();
        let Evaluated::Failed(report) = session.evaluate("let y = 1; y.foo()") else { panic!() };
        assert!(report.contains("<1>:1:14"), "{report}");
        assert_eq!(session.evaluate("y"), Evaluated::Value(Some("1".into())));
        assert_eq!(session.evaluate("exit(3)"), Evaluated::Exit(3));
    }

    #[test]
    fn incomplete_texts_are_recognised() {
        let (session, _) = session();
        for text in ["let x = [1,", "fn f() {", "if true {\n  1", "foo(", "\"abc", "`a ${", "let x ="] {
            assert!(session.is_incomplete(text), "{text:?}");
        }
        for text in ["1 + 1", "let x = 1;", "let = 3", "foo(]", ")"] {
            assert!(!session.is_incomplete(text), "{text:?}");
        }
    }

    #[test]
    fn words_complete_by_what_stands_before() {
        let (mut session, _) = session();
        session.evaluate("let output = host::run(\"true\");");
        assert_eq!(session.complete("container::ru"), (11, vec!["run(".to_owned()]));
        assert_eq!(session.complete("output.stdo").1, ["stdout", "stdout_bytes"]);
        assert_eq!(session.complete("print(outp"), (6, vec!["output".to_owned()]));
        assert!(session.complete("conta").1.contains(&"container::".to_owned()));
        assert!(session.complete("paral").1.contains(&"parallel(".to_owned()));
    }

    #[test]
    fn colours_cover_the_line() {
        let (session, _) = session();
        for line in ["let x = \"a\" + 1; // done", "", "ö \"open", "  @", "let x = [1,\n2]", "fn f() {\n\n  \"ö\n"] {
            let pieces = session.colours(line);
            let joined: String = pieces.iter().map(|(range, _)| &line[range.clone()]).collect();
            assert_eq!(joined, line);
        }
        assert_eq!(session.colours("let x")[0].1, Colour::Keyword);
        let second = "x = [\nlet";
        assert_eq!(session.colours(second).last(), Some(&(second.len() - 3..second.len(), Colour::Keyword)));
    }

    #[test]
    fn defers_run_at_its_end() {
        let (mut session, out) = session();
        session.evaluate("defer(|| print(\"bye\"));");
        assert_eq!(out.text(), "");
        assert!(session.end());
        assert_eq!(out.text(), "bye\n");
    }
}
