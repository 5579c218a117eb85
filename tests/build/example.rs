//! A script as people write it: the second time nothing is done, and two machines come to one image.

use crate::support::Rhumb;

const SCRIPT: &str = r#"
    fn tool(b, name) { b.run(`mkdir -p /out && echo 'echo this is ${name}' > /out/${name}`) }
    let tools = build::from("base:1").workdir("/work");
    for name in ["alpha", "beta", "gamma"] { tool(tools, name); }
    let app = build::from("base:1").copy("/out", "/tools", #{ from: tools });
    app.env(#{ GREETING: "hello" }).user("1000").cmd(["sh", "-c", "sh /tools/alpha && sh /tools/gamma"]);
    let i = app.commit("toolbox:1");
    print(`${i.id} ${app.cached}/${app.steps}`);
    print(container::oneshot(i, []));
"#;

#[test]
fn a_script_is_cached_and_comes_to_one_image_everywhere() {
    let first = Rhumb::with_base();
    let second = Rhumb::with_base();
    let done = first.script(SCRIPT).ok();
    let again = first.script(SCRIPT).ok();
    // Files carry the time of a step only up to the epoch: another time, another root, the same digest.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let elsewhere = second.script(SCRIPT).ok();
    let id = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    assert!(done.contains(" 0/8\n") && done.ends_with("this is alpha\nthis is gamma"), "{done}");
    assert!(again.contains(" 8/8\n"), "{again}");
    assert_eq!([id(&done), id(&done)], [id(&again), id(&elsewhere)]);
}
