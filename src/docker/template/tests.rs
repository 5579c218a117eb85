//! Templates beside what Go makes of them, and what holds for any template whatever.

use serde_json::{Value, json};

use crate::docker::template::go_tests::{DATA, GO};
use crate::docker::template::{Field, Shape, Subject, Template};

fn data() -> Value {
    serde_json::from_str(DATA).unwrap()
}

fn answer(text: &str) -> String {
    let rendered = Template::parse(text).and_then(|template| template.render(&data()));
    rendered.unwrap_or_else(|error| error.to_string().replace("template parsing error: ", "!"))
}

#[test]
fn templates_say_what_they_say_in_go() {
    let mut differ = Vec::new();
    for (text, expected) in GO {
        let got = answer(text);
        if got != *expected {
            differ.push(format!("{text}\n  Go   {expected}\n  here {got}"));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}

const FIELDS: &[Field] = &[
    ("Type", Shape::Text),
    ("Name", Shape::Text),
    ("RW", Shape::Bool),
    ("Size", Shape::Number),
    ("Labels", Shape::Map(&Shape::Text)),
    ("Env", Shape::List(&Shape::Text)),
    ("Health", Shape::Pointer(&Shape::Struct(&[("Status", Shape::Text)]))),
];

/// What docker prints of the struct that a volume's mount is, and of facts that are left out.
#[test]
fn a_struct_prints_its_fields_in_order_and_what_is_left_out_as_zero() {
    let value = json!({ "RW": true, "Type": "bind", "Labels": { "b": "2", "a": "1" }, "Further": [1] });
    let subject = Subject { value: &value, shape: Shape::Struct(FIELDS), methods: &[] };
    let render = |text: &str| Template::parse(text).unwrap().render_subject(&subject);
    let cases = [
        ("{{.}}", "{bind  true 0 map[a:1 b:2] [] <nil> [1]}"),
        ("{{.Name}}|{{.Size}}|{{.Env}}|{{.Health}}", "|0|[]|<nil>"),
        ("{{.Labels.a}} {{.Labels.c}} {{.Labels.c.d}} {{index .Labels \"c\"}}|", "1 <no value> <no value> |"),
        ("{{json .}}", r#"{"Type":"bind","RW":true,"Labels":{"a":"1","b":"2"},"Further":[1]}"#),
        ("{{range .Env}}x{{else}}none{{end}}{{if .Health}}x{{end}}{{len .Labels}}", "none2"),
    ];
    for (text, expected) in cases {
        assert_eq!(render(text).unwrap(), expected, "{text}");
    }
    let error = render("{{.Health.Status}}").unwrap_err().to_string();
    assert!(error.contains("<.Health.Status>: nil pointer evaluating *struct {}.Status"), "{error}");
    let error = render("{{.Typ}}").unwrap_err();
    assert_eq!(error.hint(), Some("did you mean \"Type\"?"));
}

#[test]
fn a_row_has_methods() {
    let value = json!({ "ID": "1", "Names": "a" });
    let label = |name: &str| format!("<{name}>");
    let subject =
        Subject { value: &value, shape: Shape::Row("*formatter.ContainerContext"), methods: &[("Label", &label)] };
    let render = |text: &str| match Template::parse(text).unwrap().render_subject(&subject) {
        Ok(text) => text,
        Err(error) => error.to_string().replace("template parsing error: template: :1:2: executing \"\" at ", "!"),
    };
    assert_eq!(render("{{.Label \"x\"}} {{.Names | .Label}} {{.ID}}"), "<x> <a> 1");
    assert_eq!(render("{{.Label 5}}").split(": ").last().unwrap(), "expected string; found 5");
    assert_eq!(render("{{.Label}}"), "!<.Label>: wrong number of args for Label: want 1 got 0");
    assert_eq!(render("{{.ID 1}}"), "!<.ID>: wrong number of args for ID: want 0 got 1");
    assert_eq!(render("{{.Foo}}"), "!<.Foo>: can't evaluate field Foo in type *formatter.ContainerContext");
}

/// Each would take a day, the memory or the stack of this process.
#[test]
fn hostile_templates_end_soon() {
    let deep = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(50_000), close.repeat(50_000));
    let cases = [
        deep("{{", "", ""),
        deep("{{if .name}}", "x", "{{end}}"),
        deep("{{with .name}}", "x", "{{else}}y{{end}}"),
        format!("{{{{{}.name{}}}}}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{if .no}}}}{}{{{{end}}}}", "{{else if .no}}x".repeat(50_000)),
        "{{define \"a\"}}{{template \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}".into(),
        "{{define \"a\"}}{{if true}}{{with 1}}{{(template \"a\")}}{{end}}{{end}}{{end}}".into(),
        "{{range 9223372036854775807}}{{end}}".into(),
        "{{range 100000}}{{range 100000}}{{range 100000}}x{{end}}{{end}}{{end}}".into(),
        "{{$x := \"ab\"}}{{range 100}}{{$x = printf \"%s%s\" $x $x}}{{end}}".into(),
        "{{$x := \"ab\"}}{{range 100}}{{$x = print $x $x}}{{end}}{{$x}}".into(),
        "{{pad \"x\" 9223372036854775807 9223372036854775807}}".into(),
        format!("{{{{printf \"{}\" 1}}}}", "%1000000[1]d".repeat(50_000)),
        "{{printf \"%1000000s\" \"\" | printf \"%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q\"}}".into(),
        "{{$s := pad \"x\" 1000000 0}}{{join (split $s \"\") $s}}".into(),
        "{{range 1000}}{{split (pad \"x\" 100000 0) \" \"}}{{end}}".into(),
        "{{$s := pad \"x\" 10000000 0}}{{range 1000000}}{{if eq $s $s}}{{end}}{{end}}".into(),
        "x".repeat(2 << 20),
    ];
    let data = data();
    for text in cases {
        let begun = std::time::Instant::now();
        let outcome = Template::parse(&text).and_then(|template| template.render(&data));
        let start: String = text.chars().take(60).collect();
        assert!(outcome.is_err(), "{start}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{start}: {:?}", begun.elapsed());
    }
    let most = format!("{{{{{}.name{}}}}}", "(".repeat(90), ")".repeat(90));
    assert_eq!(answer(&most), "web");
}

#[test]
fn a_template_says_which_fields_it_mentions() {
    let template =
        Template::parse("{{if eq (len .Names) 1}}{{range $.Ports.Tcp}}{{(index . 0).Size}}{{end}}{{end}}").unwrap();
    assert!(["Names", "Ports", "Tcp", "Size"].iter().all(|name| template.mentions(name)));
    assert!(!template.mentions("ID"));
}

/// The words that templates are made of.
const WORDS: [&str; 40] = [
    "{{",
    "}}",
    "{{-",
    " -}}",
    " ",
    "\n",
    ".",
    ".name",
    ".map",
    ".m.k",
    ".list",
    ".null",
    "$",
    "$x",
    ":=",
    "=",
    "|",
    "(",
    ")",
    ",",
    "range",
    "if",
    "else",
    "end",
    "with",
    "define",
    "template",
    "block",
    "break",
    "printf",
    "index",
    "len",
    "slice",
    "join",
    "eq",
    "\"%5.2v%d\"",
    "1",
    "-3.5e2",
    "nil",
    "/*",
];

proptest::proptest! {
    #[test]
    fn whatever_is_written_gives_a_text_or_one_line(words in proptest::collection::vec(0..WORDS.len(), 0..30)) {
        let text: String = words.into_iter().flat_map(|word| [WORDS[word], " "]).collect();
        holds(&text);
        holds(&format!("{{{{{text}}}}}"));
    }

    #[test]
    fn any_characters_give_a_text_or_one_line(text in ".{0,60}") {
        holds(&text);
        holds(&format!("{{{{{text}}}}}"));
        holds(&format!("{{{{printf {text:?} .name .n .f .list .null}}}}"));
    }

    #[test]
    fn text_without_actions_stays_as_it_is(text in "[^{}]{0,80}") {
        proptest::prop_assert_eq!(Template::parse(&text).unwrap().render(&data()).unwrap(), text);
    }

    #[test]
    fn strings_survive_their_quotes(text in ".{0,40}") {
        let quoted = crate::docker::template::quote::quoted(&text);
        let rendered = Template::parse(&format!("{{{{{quoted}}}}}")).unwrap().render(&data()).unwrap();
        proptest::prop_assert_eq!(rendered, text);
    }
}

fn holds(text: &str) {
    if let Err(error) = Template::parse(text).and_then(|template| template.render(&data())) {
        let said = error.to_string();
        assert!(said.starts_with("template parsing error: ") && !said.contains('\n'), "{text:?}: {said}");
    }
}
