//! What a script that fails writes, as golden files: message, line and caret, causes, hint; and its exit code.

use crate::documentation::assert_golden;
use crate::support::Rhumb;

/// A name, the script, the exit code.
const CASES: &[(&str, &str, i32)] = &[
    ("no_such_image", "let c = container::run(\"nowhere:1\", #{ name: \"web\" });\n", 3),
    ("unknown_option", "container::run(\"base:1\", #{ comand: [\"sh\"] });\n", 2),
    ("command_failed", "container::oneshot(\"base:1\", \"echo sorry >&2; exit 3\");\n", 1),
    ("missing_program", "container::oneshot(\"base:1\", [\"nosuchprogram\"]);\n", 1),
    (
        "locked_by_its_method",
        "fn make() {\n    let b = build::from(\"base:1\");\n    b.layer(|| b.run(\"true\"));\n}\nmake();\n",
        2,
    ),
    (
        "in_a_function",
        "fn check(size) {\n    size(size)\n}\n\nfn outer() {\n    check(\"12 parsecs\")\n}\nouter();\n",
        2,
    ),
    ("in_a_closure", "let sizes = [\"1m\", \"many\"];\nsizes.for_each(|| size(this));\n", 2),
    ("misspelt_property", "let v = volume::create(\"data\");\ndefer(|| v.remove());\nprint(v.nam);\n", 2),
    ("misspelt_method", "let v = volume::create(\"data\");\ndefer(|| v.remove());\nv.bakup(\"/x\");\n", 2),
    ("misspelt_module", "print(contaner::list());\n", 2),
    ("thrown_text", "throw \"that is enough\";\n", 1),
    ("syntax", "let x = [1, 2;\n", 2),
    ("standard_module", "import \"std/assert\" as t;\n\nt::eq(1 + 1, 3);\n", 1),
    ("no_such_module", "import \"nowhere\" as n;\n", 3),
    ("not_built_yet", "registry::login(\"front\");\n", 7),
    ("function_not_built_yet", "image::search(\"alpine\");\n", 7),
    ("method_not_built_yet", "fn look(v) { v.ls(\"/\") }\nlook(volume::create(\"data\"));\n", 7),
    ("property_not_built_yet", "let c = container::create(\"base:1\");\nprint(c.toolbox);\n", 7),
];

#[test]
fn errors_read_as_the_golden_files() {
    let rhumb = Rhumb::with_base();
    for (name, text, code) in CASES {
        let file = format!("{name}.rhai");
        std::fs::write(rhumb.path(&file), text).unwrap();
        let outcome = rhumb.run([file.as_str()]);
        let written = outcome.fails(*code);
        assert_golden(&format!("errors/{name}.txt"), &written);
    }
}
