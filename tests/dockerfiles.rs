//! Dockerfiles of the kinds that people write, and of those that nobody should: read, checked, translated.
//!
//! Each `tests/build/dockerfiles/NAME.Dockerfile` has its `NAME.golden` beside it: the warnings, and the build script that
//! does the same. `UPDATE_GOLDEN=1 cargo test --test dockerfiles` writes them anew; read the difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rhumb::base::ignore::Ignore;
use rhumb::docker::dockerfile::ast::InstructionKind;
use rhumb::docker::dockerfile::check::{self, About, RULES};
use rhumb::docker::dockerfile::translate::{Named, Options, Translated, translate};
use rhumb::docker::dockerfile::{parse, print};
use rhumb::model::build::{Action, Base, Change, Command, Context, Graph, MountKind, Origin, Source};
use rhumb::model::image::ImageConfig;

fn options() -> Options {
    Options {
        platform: "linux/amd64".to_owned(),
        build_platform: "linux/amd64".to_owned(),
        context: Context { path: PathBuf::from("."), ..Context::default() },
        named: BTreeMap::from([("assets".to_owned(), Named::Folder(PathBuf::from("assets"), Vec::new()))]),
        ..Options::default()
    }
}

fn image(_: &str, _: Option<&str>) -> rhumb::base::Result<Option<ImageConfig>> {
    Ok(Some(ImageConfig { env: vec!["PATH=/usr/bin:/bin".to_owned()], ..ImageConfig::default() }))
}

fn translated(text: &str, options: &Options) -> rhumb::base::Result<Translated> {
    translate(&parse("Dockerfile", text.as_bytes())?, options, &mut image)
}

fn graph(text: &str) -> Graph {
    translated(text, &options()).unwrap().graph
}

fn refusal(text: &str) -> String {
    translated(text, &options()).unwrap_err().to_string()
}

fn warnings(text: &str) -> Vec<(&'static str, usize)> {
    let file = parse("Dockerfile", text.as_bytes()).unwrap();
    let checked = check::check(&file, &About::default());
    checked.warnings.iter().map(|warning| (warning.rule, warning.span.line)).collect()
}

#[test]
fn dockerfiles_of_all_kinds_are_checked_and_translated() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build/dockerfiles");
    let mut names: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "Dockerfile"));
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    for path in names {
        let file = parse("Dockerfile", &std::fs::read(&path).unwrap()).unwrap();
        let ignore = Ignore::parse("secret*").unwrap();
        let images = |_: &str| image("", None).unwrap();
        let checked = check::check(&file, &About { ignore: Some(&ignore), images: Some(&images) });
        let mut text = String::new();
        for warning in checked.warnings {
            let (line, column) = (warning.span.line, warning.span.column);
            text.push_str(&format!("{line}:{column}: {}: {}\n", warning.rule, warning.message));
        }
        match translate(&file, &options(), &mut image) {
            Ok(translated) => text.push_str(&print::script(&translated.graph, &["made:1".to_owned()])),
            Err(error) => text.push_str(&format!("{error}\n")),
        }
        let golden = path.with_extension("golden");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        let expect = std::fs::read_to_string(&golden).unwrap_or_default();
        assert!(expect == text, "{} differs; UPDATE_GOLDEN=1 writes it anew:\n{text}", golden.display());
    }
}

#[test]
fn only_what_the_target_needs_is_there() {
    let text = "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM one AS three\nCOPY --from=two /x /x\nFROM b\nRUN 4\n";
    let names =
        |graph: &Graph| graph.stages.iter().map(|stage| stage.name.clone().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(names(&graph(text)), [""]);
    let of = |target: &str| translated(text, &Options { target: Some(target.to_owned()), ..options() });
    assert_eq!(names(&of("three").unwrap().graph), ["one", "two", "three"]);
    assert_eq!(names(&of("TWO").unwrap().graph), ["two"]);
    assert_eq!(names(&of("0").unwrap().graph), ["one"]);
    let error = of("thre").unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.hint()),
        ("Dockerfile has no stage \"thre\"", Some("did you mean \"three\"?"))
    );
    assert_eq!(graph("FROM scratch AS x\nFROM x\n").stages[1].base, Base::Stage(0));
}

#[test]
fn stages_that_need_each_other_are_refused() {
    let text = "FROM a AS one\nCOPY --from=two /x /x\nFROM a AS two\nCOPY --from=one /x /x\n";
    assert_eq!(refusal(text), "Dockerfile:1:1: the stages \"two\", \"one\" need each other");
    assert_eq!(refusal("FROM a AS x\nCOPY --from=x . .\n"), "Dockerfile:1:1: the stage \"x\" needs itself");
    assert_eq!(refusal("FROM a\nCOPY --from=7 . .\n"), "Dockerfile:2:13: there is no stage \"7\"");
}

#[test]
fn arguments_have_their_scopes() {
    let text = "ARG V=1\nARG W=$V.0\nFROM base:$W\nARG V\nARG X=$V-x\nARG NONE\nENV Y=$X Z=${W:-unset}\nARG Y=lost\nENV Q=$Y\n";
    let env = |graph: &Graph| -> BTreeMap<String, String> {
        let changes = graph.stages.last().unwrap().steps.iter().filter_map(|step| match &step.action {
            Action::Config(change) => Some(change.as_ref().clone()),
            _ => None,
        });
        changes.filter_map(|change| if let Change::Env(env) = change { Some(env) } else { None }).flatten().collect()
    };
    let plain = graph(text);
    assert_eq!(plain.stages[0].base, Base::Image("base:1.0".to_owned()));
    let value = |env: &BTreeMap<String, String>, name: &str| env[name].clone();
    assert_eq!(
        (value(&env(&plain), "Y"), value(&env(&plain), "Z"), value(&env(&plain), "Q")),
        ("1-x".into(), "unset".into(), "1-x".into())
    );
    let arguments = BTreeMap::from([("V".to_owned(), "2".to_owned()), ("TYPO".to_owned(), "x".to_owned())]);
    let given = translated(text, &Options { arguments, ..options() }).unwrap();
    assert_eq!((value(&env(&given.graph), "Y"), given.unused_arguments), ("2-x".to_owned(), vec!["TYPO".to_owned()]));
    // Variables of the base count, and one instruction's variables see what was before it.
    assert_eq!(value(&env(&graph("FROM a\nENV PATH=/x:$PATH a=1\nENV a=2 b=$a\n")), "PATH"), "/x:/usr/bin:/bin");
    assert_eq!(value(&env(&graph("FROM a\nENV a=1\nENV a=2 b=$a\n")), "b"), "1");
    assert!(refusal("ARG X\nFROM $X\n").starts_with("Dockerfile:2:6: \"$X\" comes to no name"));
}

#[test]
fn triggers_of_a_base_are_done_in_what_is_on_top() {
    let mut images = |_: &str, _: Option<&str>| {
        Ok(Some(ImageConfig { on_build: vec!["RUN one".to_owned(), "env A=$B".to_owned()], ..ImageConfig::default() }))
    };
    let file = parse("Dockerfile", b"FROM base\nRUN two\n").unwrap();
    let graph = translate(&file, &options(), &mut images).unwrap().graph;
    let texts: Vec<&str> = graph.stages[0].steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(texts, ["ONBUILD", "RUN one", "env A=$B", "RUN two"]);
}

#[test]
fn triggers_of_an_image_need_stages_of_the_file_on_top() {
    let mut images = |image: &str, _: Option<&str>| {
        let triggers = ["COPY --from=made /a /a", "RUN --mount=from=0,target=/m true"].map(str::to_owned).to_vec();
        let on_build = if image == "base" { triggers } else { Vec::new() };
        Ok(Some(ImageConfig { on_build, ..ImageConfig::default() }))
    };
    let file = parse("Dockerfile", b"FROM a\nFROM a AS unneeded\nFROM a AS made\nFROM base\n").unwrap();
    let graph = translate(&file, &options(), &mut images).unwrap().graph;
    assert_eq!(graph.stages.len(), 3);
    let Action::Copy(copy) = &graph.stages[2].steps[1].action else { panic!("{graph:?}") };
    let Source::Path { from, .. } = &copy.sources[0] else { panic!("{copy:?}") };
    assert_eq!((from, graph.stages[0].name.as_deref()), (&Origin::Stage(0), Some("made")));
    let Action::Run(run) = &graph.stages[2].steps[2].action else { panic!("{graph:?}") };
    assert!(matches!(run.mounts[0].kind, MountKind::Bind { from: Origin::Stage(1), .. }), "{run:?}");
    // What is wrong in a trigger is in no line of the file.
    let file = parse("Dockerfile", b"FROM base AS made\n").unwrap();
    let error = translate(&file, &options(), &mut images).unwrap_err().to_string();
    assert_eq!(error, "Dockerfile:1:1: the stage \"made\" needs itself");
    let mut images = |_: &str, _: Option<&str>| {
        Ok(Some(ImageConfig { on_build: vec!["EXPOSE x".to_owned()], ..ImageConfig::default() }))
    };
    let error = translate(&file, &options(), &mut images).unwrap_err().to_string();
    assert_eq!(error, "ONBUILD of base:1:8: \"x\" is no port");
}

#[test]
fn hostile_triggers_of_an_image_are_refused() {
    let file = parse("Dockerfile", b"FROM base\nRUN two\n").unwrap();
    for (trigger, wanted) in [
        ("FROM other", "ONBUILD of base: a trigger cannot be FROM"),
        ("ONBUILD RUN x", "ONBUILD"),
        ("MAINTAINER me", "ONBUILD of base: a trigger cannot be MAINTAINER"),
        ("RUN one\nRUN two", "ONBUILD of base has several instructions"),
        ("# nothing", "ONBUILD of base has no instruction"),
        ("", "ONBUILD of base has no instruction"),
    ] {
        let mut images = |_: &str, _: Option<&str>| {
            Ok(Some(ImageConfig { on_build: vec![trigger.to_owned()], ..ImageConfig::default() }))
        };
        let error = translate(&file, &options(), &mut images).unwrap_err().to_string();
        assert!(error.contains(wanted), "{trigger:?}: {error}");
    }
}

#[test]
fn what_is_predefined_can_be_given_as_an_argument() {
    let text = "FROM a-$TARGETSTAGE-$TARGETARCH AS one\nARG TARGETSTAGE TARGETARCH TARGETOSVERSION=x\n\
                ENV a=$TARGETSTAGE-$TARGETARCH-$TARGETOSVERSION\n";
    let seen = |options: &Options| {
        let made = translated(text, options).unwrap();
        let env = made.graph.stages[0].steps.iter().find_map(|step| match &step.action {
            Action::Config(change) => match change.as_ref() {
                Change::Env(pairs) => Some(pairs[0].1.clone()),
                _ => None,
            },
            _ => None,
        });
        (made.graph.stages[0].base.clone(), env.unwrap(), made.unused_arguments)
    };
    let base = |name: &str| Base::Image(name.to_owned());
    assert_eq!(seen(&options()), (base("a-default-amd64"), "default-amd64-x".to_owned(), Vec::new()));
    let arguments = BTreeMap::from([("TARGETARCH".to_owned(), "z80".to_owned())]);
    let given = Options { arguments, target: Some("one".to_owned()), ..options() };
    assert_eq!(seen(&given), (base("a-one-z80"), "one-z80-x".to_owned(), Vec::new()));
}

#[test]
fn here_documents_are_scripts_files_and_text() {
    let runs = |text: &str| {
        let graph = graph(text);
        let Action::Run(run) = graph.stages[0].steps[0].action.clone() else { panic!("{text}") };
        run.command
    };
    assert_eq!(runs("FROM a\nRUN <<EOF\na\n# b\nEOF\n"), Command::Shell("a\n# b\n".to_owned()));
    assert_eq!(runs("FROM a\nRUN <<-EOF\n\ta\n\tEOF\n"), Command::Shell("a\n".to_owned()));
    assert_eq!(runs("FROM a\nRUN <<EOF\n#!/bin/x\na\nEOF\n"), Command::Script("#!/bin/x\na\n".to_owned()));
    assert_eq!(runs("FROM a\nRUN <<EOF cat\na\nEOF\n"), Command::Shell("<<EOF cat\na\nEOF".to_owned()));
    assert_eq!(runs("FROM a\nRUN echo '<<EOF'\n"), Command::Shell("echo '<<EOF'".to_owned()));
    assert_eq!(runs("FROM a\nRUN [\"echo\", \"<<EOF\"]\n"), Command::Exec(vec!["echo".to_owned(), "<<EOF".to_owned()]));
    assert_eq!(runs("FROM a\nRUN [\"echo\", ]\n"), Command::Shell("[\"echo\", ]".to_owned()));
    assert_eq!(refusal("FROM a\nRUN cat <<EOF\nx\n"), "Dockerfile:2:9: the here-document \"EOF\" has no end");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        ("", "Dockerfile has no instructions"),
        ("ARG x\n", "Dockerfile has no FROM"),
        ("RUN x\n", "Dockerfile:1:1: RUN stands before the first FROM"),
        ("FROM a\nRNU x\n", "Dockerfile:2:1: unknown instruction \"RNU\""),
        ("FROM a\n  COPY --form=b x y\n", "Dockerfile:2:8: COPY has no flag \"--form\""),
        ("FROM a\nCOPY x\n", "Dockerfile:2:1: COPY takes at least one source, and a target"),
        ("FROM a\nCOPY x y z\n", "Dockerfile:2:10: several sources need a folder, and \"z\" may be none"),
        ("FROM a AS 1x\n", "Dockerfile:1:11: \"1x\" cannot be the name of a stage"),
        ("FROM a b\n", "Dockerfile:1:1: FROM takes an image, and AS with a name"),
        ("FROM a\nENV x\n", "Dockerfile:2:1: ENV needs a name and a value"),
        ("FROM a\nENV a=b c\n", "Dockerfile:2:9: \"c\" has no \"=\""),
        ("FROM a\nENV a=${b\n", "Dockerfile:2:7: \"${\" has no \"}\""),
        ("FROM a\nRUN --mount=type=cahce,target=/x y\n", "Dockerfile:2:13: there is no mount of the type \"cahce\""),
        ("FROM a\nRUN --mount=type=cache y\n", "Dockerfile:2:13: a mount of the type \"cache\" needs a target"),
        ("FROM a\nRUN --network=nope y\n", "Dockerfile:2:15: there is no network \"nope\" for a step"),
        ("FROM a\nONBUILD ONBUILD RUN x\n", "Dockerfile:2:9: ONBUILD cannot hold ONBUILD"),
        ("FROM a\nONBUILD FROM x\n", "Dockerfile:2:9: ONBUILD cannot hold FROM"),
        ("FROM a\nHEALTHCHECK --timeout=5 CMD x\n", "Dockerfile:2:23: the time \"5\" has no unit"),
        ("FROM a\nEXPOSE 99999\n", "Dockerfile:2:8: \"99999\" is no port"),
        ("FROM a\nEXPOSE x:80\n", "Dockerfile:2:8: \"x:80\" is no port"),
        ("FROM a\nEXPOSE 80-82:80-81\n", "Dockerfile:2:8: \"80-82:80-81\" is no port"),
        ("FROM a\nEXPOSE 1.2.3:80:80\n", "Dockerfile:2:8: \"1.2.3:80:80\" is no port"),
        ("FROM a\nRUN [\"\"]\n", "Dockerfile:2:1: RUN needs a command"),
        ("FROM a\nONBUILD\n", "Dockerfile:2:1: ONBUILD needs an instruction"),
        ("FROM a\nSTOPSIGNAL SIGNOPE\n", "Dockerfile:2:12: "),
        ("FROM a\nHEALTHCHECK --interval=x CMD y\n", "Dockerfile:2:24: "),
        ("FROM a\nCMD [1]\n", "Dockerfile:2:5: a list in JSON holds strings only"),
        ("# escape=x\nFROM a\n", "Dockerfile:1:10: \"x\" cannot be the escape character"),
        ("# syntax=a\n# syntax=b\nFROM a\n", "Dockerfile:2:10: only one \"# syntax=\" can be there"),
    ];
    for (text, wanted) in cases {
        let said = refusal(text);
        assert!(said.starts_with(wanted), "{text:?}\n  {said}\n  {wanted}");
    }
    let hint = |text: &str| translated(text, &options()).unwrap_err().hint().unwrap_or_default().to_owned();
    assert_eq!(hint("FROM a\nRNU x\n"), "did you mean \"RUN\"?");
    assert_eq!(hint("FROM a\nCOPY --form=b x y\n"), "did you mean \"--from\"?");
    assert_eq!(hint("FROM a\nRUN --mount=type=cahce,target=/x y\n"), "did you mean \"cache\"?");
}

#[test]
fn every_check_warns_and_can_be_skipped() {
    let cases: [(&str, &str, usize); 21] = [
        ("StageNameCasing", "FROM a AS One\n", 1),
        ("FromAsCasing", "FROM a as one\n", 1),
        ("NoEmptyContinuation", "FROM a\nRUN x \\\n\n  y\n", 3),
        ("ConsistentInstructionCasing", "FROM a\nRUN x\nrun y\n", 3),
        ("DuplicateStageName", "FROM a AS x\nFROM a AS x\n", 2),
        ("ReservedStageName", "FROM a AS scratch\n", 1),
        ("JSONArgsRecommended", "FROM a\nCMD x\n", 2),
        ("MaintainerDeprecated", "FROM a\nMAINTAINER x\n", 2),
        ("UndefinedArgInFrom", "FROM a:$x\n", 1),
        ("WorkdirRelativePath", "FROM a\nWORKDIR x\n", 2),
        ("UndefinedVar", "FROM a\nCOPY $x /\n", 2),
        ("MultipleInstructionsDisallowed", "FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", 2),
        ("LegacyKeyValueFormat", "FROM a\nENV a b\n", 2),
        ("RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM a\n", 1),
        ("SecretsUsedInArgOrEnv", "FROM a\nARG MY_TOKEN\n", 2),
        ("InvalidDefaultArgInFrom", "ARG x\nFROM $x\n", 2),
        ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/arm64 a\n", 1),
        ("CopyIgnoredFile", "# check=experimental=all\nFROM a\nCOPY secret /\n", 3),
        ("InvalidDefinitionDescription", "# check=experimental=all\n# what\nARG x\nFROM a\n", 3),
        ("ExposeProtoCasing", "FROM a\nEXPOSE 80/TCP\n", 2),
        ("ExposeInvalidFormat", "FROM a\nEXPOSE 80:80\n", 2),
    ];
    let ignore = Ignore::parse("secret").unwrap();
    for (rule, text, line) in cases {
        assert!(RULES.contains(&rule));
        let found = |text: &str| {
            let file = parse("Dockerfile", text.as_bytes()).unwrap();
            let checked = check::check(&file, &About { ignore: Some(&ignore), images: None });
            let lines = checked.warnings.iter().map(|warning| (warning.rule, warning.span.line));
            (lines.collect::<Vec<_>>(), checked.fails)
        };
        assert!(found(text).0.contains(&(rule, line)), "{rule}: {:?}", found(text));
        let rest = text.strip_prefix("# check=experimental=all\n").unwrap_or(text);
        let skipped = format!("# check=skip={rule};experimental=all;error=true\n{rest}");
        let (left, fails) = found(&skipped);
        assert!(!left.iter().any(|(name, _)| *name == rule), "{rule}: {left:?}");
        assert_eq!(fails, !left.is_empty());
    }
    assert_eq!(warnings("FROM a AS linux\nENV a=1\nRUN x\nSHELL [\"x\"]\nCMD y\nWORKDIR /x\nWORKDIR y\n"), []);
}

/// Whatever it is, it is read or refused with one line, in time.
fn holds(bytes: &[u8]) {
    match parse("Dockerfile", bytes) {
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        Ok(file) => {
            check::check(&file, &About::default());
            match translate(&file, &options(), &mut image) {
                Ok(translated) => drop(print::script(&translated.graph, &[])),
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }
}

#[test]
fn hostile_files_are_read_or_refused_in_time() {
    let chain =
        (1..10_000).fold("FROM a AS s0\n".to_owned(), |all, n| all + format!("FROM s{} AS s{n}\n", n - 1).as_str());
    let doubling = "FROM a\nENV a=xxxxxxxxxx\n".to_owned() + "ENV a=$a$a$a$a\n".repeat(40).as_str();
    let cases = [
        chain,
        doubling,
        "FROM a\n".repeat(10_000),
        format!("FROM a\nRUN {}\n", "x".repeat(3 << 20)),
        format!("FROM a\nRUN {}\n", "x \\\n".repeat(200_000)),
        format!("FROM a\nENV x={}\n", "${x:-".repeat(100_000)),
        format!("FROM a\nENV x={}\n", "a=b ".repeat(100_000)),
        format!("FROM a\n{}RUN x\n", "ONBUILD ".repeat(100_000)),
        format!("FROM a\nRUN {}\n", "<<A ".repeat(1000)),
        format!("FROM a\nRUN {}\n", "[".repeat(100_000)),
        format!("FROM a\n{}\n", "X".repeat(1 << 20)),
        format!("FROM a\nENV y={}\nENV x=${{y//{}/b}}\n", "a".repeat(60_000), "*a".repeat(2000)),
        format!("FROM a\nRUN --mount={} x\n", "\"".repeat(99_999)),
        "FROM a\0b\nRUN \0\n".to_owned(),
        "\u{feff}FROM a\r\nRUN x \\\r\n  y\r\nRUN <<EOF\r\nz\r\nEOF\r\n".to_owned(),
        "FROM a\nRUN x \\".to_owned(),
        "\\\n\\\n\\\n".to_owned(),
        "FROM a\nENV \"\nLABEL '\nARG \\\n".to_owned(),
        "FROM \u{2003}a\u{2003}AS\u{2003}é\n".to_owned(),
    ];
    for case in &cases {
        let begin = Instant::now();
        holds(case.as_bytes());
        let shown: String = case.chars().take(60).collect();
        assert!(begin.elapsed() < Duration::from_secs(10), "{shown:?} took {:?}", begin.elapsed());
    }
    holds(b"FROM a\nRUN \xff\xfe\n");
    holds(&vec![b'#'; 5 << 20]);
    let crlf = parse("Dockerfile", cases[14].as_bytes()).unwrap();
    let InstructionKind::Run(run) = &crlf.stages[0].instructions[0].kind else { panic!() };
    assert_eq!(format!("{:?}", run.command).matches("x   y").count(), 1);
}

#[test]
fn every_cut_of_every_dockerfile_is_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build/dockerfiles");
    for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = std::fs::read(&path).unwrap();
        (0..bytes.len()).step_by(3).for_each(|cut| holds(&bytes[..cut]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        holds(text.as_bytes());
    }

    #[test]
    fn any_mix_of_its_words_is_read_or_refused(words in proptest::collection::vec(proptest::sample::select(vec![
        "FROM ", "RUN ", "COPY ", "ADD ", "ENV ", "ARG ", "ONBUILD ", "LABEL ", "HEALTHCHECK ", "CMD ", "a", "=", "$", "${",
        "}", ":-", "#", "%", "/", "\\", "\\\n", "\n", "\n", "\"", "'", "<<EOF", "EOF\n", "<<-", "--mount=", "type=", "cache",
        ",", "--from=", "AS ", "[", "]", "--", " ", "\t", "*", "scratch", "`", "# escape=`\n", "\r\n", "é",
    ]), 0..60)) {
        holds(format!("FROM a\n{}", words.concat()).as_bytes());
        holds(words.concat().as_bytes());
    }
}
