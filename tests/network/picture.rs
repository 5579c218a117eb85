//! What is told of networks: the picture in its four forms, the members, and what a container sees from inside.

use crate::support::rhumb::{BASE, Rhumb};

#[test]
fn a_picture_says_who_reaches_whom_and_what_is_published() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("network create --subnet 10.231.10.0/24 front").ok();
    rhumb.sh("network create --subnet 10.231.11.0/24 --internal back").ok();
    rhumb.sh(&format!("run -d --name db --network back {BASE} sleep 300")).ok();
    rhumb.sh(&format!("run -d --name api --network back --network name=front,alias=backend {BASE} sleep 300")).ok();
    rhumb.sh(&format!("run -d --name web --network front -p 127.0.0.1:28441:80 {BASE} sleep 300")).ok();
    rhumb.sh(&format!("create --name idle --network front {BASE} true")).ok();
    let expected = "\
back  10.231.11.0/24  internal: no way out
├─ api  10.231.11.3
└─ db   10.231.11.2
front  10.231.10.0/24
├─ api   10.231.10.2  (backend)
├─ idle  does not run
└─ web   10.231.10.3
   └─ 127.0.0.1:28441 → 80/tcp

api reaches db, web, the outside
db  reaches api
web reaches api, the outside";
    assert_eq!(rhumb.sh("network topology").ok(), expected);
    let mermaid = rhumb.sh("network topology --format mermaid front").ok();
    assert!(mermaid.starts_with("flowchart LR\n") && !mermaid.contains("back<br/>"), "{mermaid}");
    assert!(rhumb.sh("network topology --format dot").ok().contains("host -> c3 [label=\"127.0.0.1:28441 → 80/tcp\"]"));
    assert!(rhumb.sh("network topology --format svg").ok().ends_with("</svg>"));
    rhumb.sh("network topology --format png").fails_with(2, "there are tree, mermaid, dot, svg");
    rhumb.sh("network topology nosuch").fails_with(3, "no such network");

    let members = rhumb.rows("network members front");
    let names: Vec<&str> = members.iter().filter_map(|row| row["Name"].as_str()).collect();
    assert_eq!(names, ["api", "web"]);
    assert_eq!(members[0]["Aliases"], "backend");
    assert_eq!(members[1]["Ports"], "127.0.0.1:28441->80/tcp");
    rhumb.sh("rm -f db api web idle").ok();
    rhumb.sh("network rm front back").ok();
}

#[test]
fn a_container_is_asked_what_it_sees_and_told_where_it_is_found() {
    let rhumb = Rhumb::with_base();
    let script = r#"
        let n = network::create("seen", #{ subnet: "10.231.12.0/24" });
        let base = image::from_host(["sh", "sleep", "python3"], "serving:1");
        let serve = ["python3", "-m", "http.server", "8000"];
        let web = container::run(base, #{ name: "web", networks: [n], ports: ["127.0.0.1:28442:8000"], command: serve });
        let own = container::run(base, #{ name: "own", networks: [n], command: serve, extra_hosts: ["fixed:10.1.2.3"] });
        defer(|| { for c in [web, own] { c.remove(#{ force: true }); } n.remove(); });
        web.wait_http("/", 20.s);
        own.wait_http(8000, "/", 20.s);
        assert(own.resolve("web") == "10.231.12.2" && own.resolve("fixed") == "10.1.2.3");
        assert(own.resolve("10.9.9.9") == "10.9.9.9" && own.resolve("localhost") == "127.0.0.1");
        try { own.resolve("nobody"); assert(false); } catch (e) { assert(e.kind == "not_found", e); }
        assert(own.can_reach("web", 8000) && !own.can_reach("web", 8001) && !own.can_reach("nobody", 8000));
        for url in [web.url(8000), own.url(8000)] {
            let page = host::http_get(url);
            assert(page.ok && page.status == 200 && page.body.contains("Directory listing"), page);
            assert(page.headers["content-type"].contains("text/html"));
        }
        let missing = host::http_get(`${web.url(8000)}/none`);
        assert(!missing.ok && missing.status == 404);
        try { host::http_get("http://127.0.0.1:28443/"); assert(false); } catch (e) { assert(e.kind == "unavailable", e); }
        try { host::http_get("ftp://x"); assert(false); } catch (e) { assert(e.kind == "invalid_argument", e); }
        try { own.wait_http("/"); assert(false); } catch (e) { assert(e.kind == "invalid_argument", e); }
        own.stop(1.s);
        try { own.url(8000); assert(false); } catch (e) { assert(e.kind == "conflict", e); }
        try { own.resolve("web"); assert(false); } catch (e) { assert(e.kind == "conflict", e); }
    "#;
    rhumb.script(script).ok();
}
