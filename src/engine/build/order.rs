//! In which order the services of a step begin. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Error, Result, suggest};
use crate::model::build::{Condition, Service};

/// How far a service has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It runs.
    Started,
    /// It can be used.
    Ready,
    /// It has ended well.
    Done,
}

/// Whether one may begin whose `needs` are as far as `stages` say; those that are not there have not begun.
pub(super) fn may_begin(service: &Service, stages: &BTreeMap<&str, Stage>) -> bool {
    service.depends_on.iter().all(|(name, condition)| {
        let wanted = match condition {
            Condition::Started => Stage::Started,
            Condition::Healthy => Stage::Ready,
            Condition::Completed => Stage::Done,
        };
        stages.get(name.as_str()).is_some_and(|stage| *stage >= wanted)
    })
}

/// The services whose end others wait for.
pub(super) fn to_complete(services: &[Service]) -> BTreeSet<&str> {
    let needs = services.iter().flat_map(|service| &service.depends_on);
    needs.filter(|(_, condition)| **condition == Condition::Completed).map(|(name, _)| name.as_str()).collect()
}

/// Refuses services that depend on what is not there, or on each other in a circle.
///
/// # Errors
/// `invalid_argument`.
pub(super) fn check(services: &[Service]) -> Result<()> {
    let names: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
    for service in services {
        if let Some(missing) = service.depends_on.keys().find(|name| !names.contains(name.as_str())) {
            let error = Error::invalid(format!("the service {:?} depends on {missing:?}, which is none", service.name));
            let others = names.iter().copied().filter(|name| *name != service.name);
            return Err(match suggest::hint(missing, others) {
                Some(hint) => error.with_hint(hint),
                None => error.with_hint("name another service of this step"),
            });
        }
    }
    // Those that can begin are taken away until none can.
    let mut done: BTreeMap<&str, Stage> = BTreeMap::new();
    loop {
        let begins = |service: &&Service| !done.contains_key(service.name.as_str()) && may_begin(service, &done);
        let able: Vec<&str> = services.iter().filter(begins).map(|service| service.name.as_str()).collect();
        if able.is_empty() {
            break;
        }
        done.extend(able.into_iter().map(|name| (name, Stage::Done)));
    }
    let left: Vec<&Service> = services.iter().filter(|service| !done.contains_key(service.name.as_str())).collect();
    let Some(first) = left.first() else { return Ok(()) };
    Err(Error::invalid(format!("services wait for each other: {}", circle(first, &left)))
        .with_hint("take one of these out of depends_on"))
}

/// The way from a service that cannot begin back to one on it: `a → b → a`.
fn circle<'a>(first: &'a Service, left: &[&'a Service]) -> String {
    let mut way: Vec<&str> = Vec::new();
    let mut here = first;
    loop {
        let name = here.name.as_str();
        if let Some(start) = way.iter().position(|known| *known == name) {
            way.push(name);
            return way[start..].join(" → ");
        }
        way.push(name);
        let next = left.iter().find(|other| here.depends_on.contains_key(&other.name));
        // Who cannot begin waits for another one who cannot.
        let Some(next) = next else { return way.join(" → ") };
        here = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::Origin;
    use crate::model::container::ContainerOptions;

    fn service(name: &str, needs: &[(&str, Condition)]) -> Service {
        Service {
            name: name.to_owned(),
            image: Origin::Image("base:1".to_owned()),
            options: ContainerOptions::default(),
            secret_env: BTreeMap::new(),
            timeout: None,
            logs: false,
            depends_on: needs.iter().map(|(name, condition)| ((*name).to_owned(), *condition)).collect(),
        }
    }

    #[test]
    fn one_begins_when_others_are_as_far_as_it_needs() {
        for (condition, not_yet, then) in [
            (Condition::Started, None, Stage::Started),
            (Condition::Healthy, Some(Stage::Started), Stage::Ready),
            (Condition::Completed, Some(Stage::Ready), Stage::Done),
        ] {
            let app = service("app", &[("db", condition)]);
            let with = |stage: Option<Stage>| stage.map(|stage| ("db", stage)).into_iter().collect();
            assert!(!may_begin(&app, &with(not_yet)), "{condition:?}");
            assert!(may_begin(&app, &with(Some(then))), "{condition:?}");
        }
    }

    #[test]
    fn circles_and_unknown_names_are_refused() {
        let healthy = Condition::Healthy;
        let chain = [service("a", &[("b", healthy)]), service("b", &[("c", healthy)]), service("c", &[])];
        assert!(check(&chain).is_ok());
        // The first one only leads to the circle.
        let circle =
            [service("a", &[("b", healthy)]), service("b", &[("c", healthy)]), service("c", &[("b", healthy)])];
        assert!(check(&circle).unwrap_err().to_string().contains("b → c → b"), "{:?}", check(&circle));
        let own = check(&[service("a", &[("a", healthy)])]).unwrap_err();
        assert!(own.to_string().contains("a → a"), "{own}");
        let unknown = check(&[service("app", &[("databse", healthy)]), service("database", &[])]).unwrap_err();
        assert_eq!(unknown.hint(), Some("did you mean \"database\"?"));
    }
}
