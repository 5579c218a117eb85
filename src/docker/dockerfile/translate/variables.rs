//! Where the value of a name comes from: global arguments, those of the platforms, a stage's own.

use std::collections::BTreeMap;

/// What is there in front of the first `FROM`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Globals {
    platforms: BTreeMap<String, String>,
    declared: BTreeMap<String, Option<String>>,
}

impl Globals {
    /// `TARGETPLATFORM` and its parts, `BUILDPLATFORM` and its.
    pub(crate) fn of_platforms(target: &str, build: &str) -> Globals {
        let mut platforms = BTreeMap::new();
        for (prefix, platform) in [("TARGET", target), ("BUILD", build)] {
            let mut parts = platform.splitn(3, '/');
            let mut next = || parts.next().unwrap_or_default().to_owned();
            platforms.insert(format!("{prefix}PLATFORM"), platform.to_owned());
            platforms.insert(format!("{prefix}OS"), next());
            // It is of Windows alone.
            platforms.insert(format!("{prefix}OSVERSION"), String::new());
            platforms.insert(format!("{prefix}ARCH"), next());
            platforms.insert(format!("{prefix}VARIANT"), next());
        }
        Globals { platforms, declared: BTreeMap::new() }
    }

    /// Something that is there without being declared.
    pub(crate) fn predefine(&mut self, name: &str, value: &str) {
        self.platforms.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn declare(&mut self, name: String, value: Option<String>) {
        self.declared.insert(name, value);
    }

    /// The value for a `FROM`.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        match self.declared.get(name) {
            Some(Some(value)) => Some(value.clone()),
            _ => self.platforms.get(name).cloned(),
        }
    }
}

/// What a stage's instructions see. A stage on top of another one sees what that one sees, its arguments as well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    env: BTreeMap<String, String>,
    arguments: BTreeMap<String, String>,
}

impl Variables {
    /// Those of an image: `NAME=value`.
    pub(crate) fn of_image(env: &[String]) -> Variables {
        let pairs = env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
        let env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Variables { env, arguments: BTreeMap::new() }
    }

    pub(crate) fn set_env(&mut self, name: String, value: String) {
        self.env.insert(name, value);
    }

    pub(crate) fn set_argument(&mut self, name: String, value: String) {
        self.arguments.insert(name, value);
    }

    /// A variable wins over an argument of its name.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.env.get(name).or_else(|| self.arguments.get(name)).cloned()
    }
}
