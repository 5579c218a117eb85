//! Who one is, and who hears it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::layout;
use crate::server::{Answer, Server, usual};
use crate::support::process::{PATIENCE, eventually};

/// `me:secret` in base64.
const BASIC: &str = "Basic bWU6c2VjcmV0";

#[test]
fn who_one_is_stays_between_the_registry_and_its_token_server() {
    let (rhumb, path) = layout();
    let elsewhere = Server::new(path.clone(), |_| None);
    let tokens = Server::new(path.clone(), |asked| {
        Some(match (asked.path.starts_with("/token?"), asked.header("authorization")) {
            (true, Some(BASIC)) => Answer::of("200 OK", r#"{"token":"t0ken"}"#),
            _ => Answer::of("401 Unauthorized", ""),
        })
    });
    let (realm, other) = (tokens.host(), elsewhere.host());
    let folder = path.clone();
    let old = Arc::new(AtomicBool::new(true));
    let server = Server::new(path, move |asked| {
        let ask = || {
            Answer::of("401 Unauthorized", "").with(
                "WWW-Authenticate",
                format!(r#"Bearer realm="http://{realm}/token",service="here",scope="repository:me/base:pull""#),
            )
        };
        if asked.header("authorization") != Some("Bearer t0ken") {
            return Some(ask());
        }
        // A token does not last for ever.
        if asked.path.contains("/blobs/") && old.swap(false, Ordering::Relaxed) {
            return Some(ask());
        }
        if asked.path.contains("/blobs/") {
            return Some(
                Answer::of("307 Temporary Redirect", "").with("Location", format!("http://{other}{}", asked.path)),
            );
        }
        Some(usual(asked, &folder))
    });
    let name = format!("{}/me/base:1", server.host());
    let nobody = rhumb.run(["pull", &name]);
    nobody.fails_with(6, "lets nobody in");
    assert!(nobody.stderr.contains(&format!("rhumb login {}", server.host())), "{nobody}");
    let wrong = rhumb.run_with_input(["login", "-u", "me", "--password-stdin", &server.host()], b"wrong\n");
    wrong.fails_with(6, "does not accept");
    assert!(!rhumb.path(".docker/config.json").exists(), "what is wrong is not kept");
    rhumb.run_with_input(["login", "-u", "me", "--password-stdin", &server.host()], b"secret\n").ok();
    let kept = std::fs::read_to_string(rhumb.path(".docker/config.json")).unwrap();
    assert!(kept.contains(&BASIC[6..]) && !kept.contains("secret"), "{kept}");
    rhumb.run(["pull", "-q", &name]).ok();
    assert!(!elsewhere.asked().is_empty());
    for asked in elsewhere.asked() {
        assert_eq!(asked.header("authorization"), None, "{asked:?}");
    }
    for asked in server.asked() {
        assert_ne!(asked.header("authorization"), Some(BASIC), "the password is for the token server alone");
    }
    let token = tokens.asked().into_iter().last().unwrap();
    assert!(token.path.contains("service=here") && token.path.contains("account=me"), "{token:?}");
    assert!(token.path.contains("scope=repository%3Ame%2Fbase%3Apull"), "{token:?}");
    rhumb.run(["logout", &server.host()]).ok();
    rhumb.run(["rmi", &name]).ok();
    rhumb.run(["pull", &name]).fails_with(6, "lets nobody in");
    // A file that cannot be read is not nobody.
    std::fs::write(rhumb.path(".docker/config.json"), "{").unwrap();
    rhumb.run(["pull", &name]).fails_with(10, "malformed");
}

#[test]
fn a_place_for_uploads_elsewhere_hears_no_password() {
    let (rhumb, path) = layout();
    rhumb.run(["load", "-i", path.to_str().unwrap()]).ok();
    let sent: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let got = Arc::clone(&sent);
    let elsewhere = Server::new(path.clone(), move |asked| {
        got.lock().unwrap().push(asked.body.clone());
        Some(Answer::of("201 Created", ""))
    });
    let other = elsewhere.host();
    let server = Server::new(path, move |asked| {
        if asked.header("authorization") != Some(BASIC) {
            return Some(Answer::of("401 Unauthorized", "").with("WWW-Authenticate", r#"Basic realm="x""#));
        }
        Some(match asked.method.as_str() {
            "HEAD" => Answer::of("404 Not Found", ""),
            "POST" => Answer::of("202 Accepted", "").with("Location", format!("http://{other}/up?state=a%2Fb")),
            "PUT" => Answer::of("201 Created", ""),
            _ => return None,
        })
    });
    rhumb.run_with_input(["login", "-u", "me", "--password-stdin", &server.host()], b"secret").ok();
    let name = format!("{}/me/base:1", server.host());
    rhumb.run(["tag", "base:1", &name]).ok();
    rhumb.run(["push", &name]).ok();
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 2, "a layer and a config");
    for asked in &asked {
        assert_eq!(asked.header("authorization"), None);
        assert!(asked.path.starts_with("/up?state=a%2Fb&digest=sha256%3A"), "{}", asked.path);
    }
    assert!(sent.lock().unwrap().iter().all(|body| !body.is_empty()));
    let last = server.asked().into_iter().last().unwrap();
    assert_eq!((last.method.as_str(), last.path.as_str()), ("PUT", "/v2/me/base/manifests/1"));
}

#[test]
fn where_blobs_lie_nobody_may_ask_who_one_is() {
    let (rhumb, path) = layout();
    let tokens = Server::new(path.clone(), |_| Some(Answer::of("200 OK", r#"{"token":"x"}"#)));
    let realm = format!(r#"Bearer realm="http://{}/token""#, tokens.host());
    let asks = Server::new(path.clone(), move |_| {
        Some(Answer::of("401 Unauthorized", "").with("WWW-Authenticate", realm.clone()))
    });
    let (other, folder) = (asks.host(), path.clone());
    let server = Server::new(path, move |asked| {
        if asked.header("authorization") != Some(BASIC) {
            return Some(Answer::of("401 Unauthorized", "").with("WWW-Authenticate", r#"Basic realm="x""#));
        }
        Some(match asked.path.contains("/blobs/") {
            true => Answer::of("307 Temporary Redirect", "").with("Location", format!("http://{other}{}", asked.path)),
            false => usual(asked, &folder),
        })
    });
    rhumb.run_with_input(["login", "-u", "me", "--password-stdin", &server.host()], b"secret").ok();
    rhumb.run(["pull", &format!("{}/me/base:1", server.host())]).fails(6);
    assert!(tokens.asked().is_empty(), "{:?}", tokens.asked());
    assert!(!asks.asked().is_empty() && asks.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn an_image_that_is_removed_while_it_is_pushed_arrives() {
    let (rhumb, path) = layout();
    rhumb.run(["load", "-q", "-i", path.to_str().unwrap()]).ok();
    let server = Server::new(path, move |asked| {
        Some(match asked.method.as_str() {
            "HEAD" => Answer::of("404 Not Found", ""),
            "POST" => {
                std::thread::sleep(std::time::Duration::from_millis(500));
                Answer::of("202 Accepted", "").with("Location", "/up")
            }
            "PUT" => Answer::of("201 Created", ""),
            _ => return None,
        })
    });
    let name = format!("{}/me/base:1", server.host());
    rhumb.run(["tag", "base:1", &name]).ok();
    rhumb.run(["rmi", "base:1"]).ok();
    let mut child = rhumb.spawn(["push", &name]);
    eventually("the push has begun", PATIENCE, || {
        server.asked().iter().any(|asked| asked.method == "POST").then_some(())
    });
    rhumb.run(["rmi", &name]).ok();
    assert!(child.wait().unwrap().success());
    let puts: Vec<_> = server.asked().into_iter().filter(|asked| asked.method == "PUT").collect();
    assert_eq!(puts.len(), 3, "a layer, a config and a manifest");
    rhumb.assert_consistent();
}
