//! The one error type of the project (DESIGN.md §5).
//!
//! A [`Kind`] is what a caller branches on; it picks the exit code and the HTTP status. The message names the thing,
//! the hint says what the user can do, the source chain says why. Errors are returned, never logged and returned.

use std::borrow::Cow;
use std::fmt;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms that a script branches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller can fix the call.
    InvalidArgument,
    /// The noun and its name are in the message.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The state of the thing forbids it: in use, running, not running.
    Conflict,
    /// A capability or a right is missing.
    PermissionDenied,
    /// The kernel or this version lacks it.
    Unsupported,
    /// A registry or a peer does not answer.
    Unavailable,
    /// A limit of time was reached.
    Timeout,
    /// Ctrl-C.
    Interrupted,
    /// A digest mismatch, an unreadable record.
    Corrupt,
    /// A disk or a quota is full.
    NoSpace,
    /// A command in a container or a build step ended non-zero.
    CommandFailed,
    /// The rest; a new use is a reason for a new kind.
    Failed,
}

impl Kind {
    /// Every kind, in the order of DESIGN.md §5.
    pub const ALL: [Kind; 13] = [
        Kind::InvalidArgument,
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::Conflict,
        Kind::PermissionDenied,
        Kind::Unsupported,
        Kind::Unavailable,
        Kind::Timeout,
        Kind::Interrupted,
        Kind::Corrupt,
        Kind::NoSpace,
        Kind::CommandFailed,
        Kind::Failed,
    ];

    /// The name that scripts see as `e.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::InvalidArgument => "invalid_argument",
            Kind::NotFound => "not_found",
            Kind::AlreadyExists => "already_exists",
            Kind::Conflict => "conflict",
            Kind::PermissionDenied => "permission_denied",
            Kind::Unsupported => "unsupported",
            Kind::Unavailable => "unavailable",
            Kind::Timeout => "timeout",
            Kind::Interrupted => "interrupted",
            Kind::Corrupt => "corrupt",
            Kind::NoSpace => "no_space",
            Kind::CommandFailed => "command_failed",
            Kind::Failed => "failed",
        }
    }

    /// The kind with this script name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The exit code of the command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::InvalidArgument => 2,
            Kind::NotFound => 3,
            Kind::AlreadyExists => 4,
            Kind::Conflict => 5,
            Kind::PermissionDenied => 6,
            Kind::Unsupported => 7,
            Kind::Unavailable => 8,
            Kind::Timeout => 9,
            Kind::Interrupted => 130,
            Kind::Corrupt => 10,
            Kind::NoSpace => 11,
            Kind::CommandFailed | Kind::Failed => 1,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a command ended that was expected to succeed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandFailure {
    /// The exit status as a shell reports it: 128 plus the signal number for a signal.
    pub exit_code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// What can be done about every error of the kind `no_space` that has no better word.
const NO_SPACE_HINT: &str =
    "free some space: \"rhumb system df\" shows what takes it, \"rhumb system prune\" what can go";

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error with a kind, a message, perhaps a hint and a cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Source>,
    failure: Option<CommandFailure>,
    subject: Option<(&'static str, String)>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<Cow<'static, str>>) -> Error { Error::new(Kind::$kind, message) })*
        }
    };
}

constructors! {
    /// An `invalid_argument` error.
    invalid => InvalidArgument,
    /// A `not_found` error.
    not_found => NotFound,
    /// An `already_exists` error.
    already_exists => AlreadyExists,
    /// A `conflict` error.
    conflict => Conflict,
    /// A `permission_denied` error.
    permission_denied => PermissionDenied,
    /// An `unsupported` error.
    unsupported => Unsupported,
    /// An `unavailable` error.
    unavailable => Unavailable,
    /// A `timeout` error.
    timeout => Timeout,
    /// An `interrupted` error.
    interrupted => Interrupted,
    /// A `corrupt` error.
    corrupt => Corrupt,
    /// A `no_space` error.
    no_space => NoSpace,
    /// A `failed` error.
    failed => Failed,
}

impl Error {
    /// An error of this kind. Its message is one line: what it quotes may be somebody hostile's. Only what programs say, of
    /// the kinds `failed` and `command_failed`, keeps its lines.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Error {
        let message = message.into();
        let message = match kind {
            Kind::Failed | Kind::CommandFailed => message,
            _ if !message.chars().any(is_order) => message,
            _ => Cow::Owned(one_line(&message, usize::MAX)),
        };
        Error(Box::new(Inner { kind, message, hint: None, source: None, failure: None, subject: None }))
    }

    /// A `command_failed` error that carries what the command wrote.
    pub fn command_failed(message: impl Into<Cow<'static, str>>, failure: CommandFailure) -> Error {
        let mut error = Error::new(Kind::CommandFailed, message);
        error.0.failure = Some(failure);
        error
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says what it is about: a noun and the name that was given for one.
    #[must_use]
    pub fn about(mut self, noun: &'static str, name: impl Into<String>) -> Error {
        self.0.subject = Some((noun, name.into()));
        self
    }

    /// Names the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Wraps this error in what we were doing; kind, hint and command failure stay.
    #[must_use]
    pub fn context(mut self, doing: impl Into<Cow<'static, str>>) -> Error {
        let kind = self.0.kind;
        let hint = self.0.hint.take();
        let failure = self.0.failure.take();
        let mut outer = Error::new(kind, doing).with_source(self);
        outer.0.hint = hint;
        outer.0.failure = failure;
        outer
    }

    /// What a caller branches on.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The message without its causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<&str> {
        let of_kind = (self.0.kind == Kind::NoSpace).then_some(NO_SPACE_HINT);
        self.0.hint.as_deref().or(of_kind)
    }

    /// How the command ended, for `command_failed`.
    pub fn failure(&self) -> Option<&CommandFailure> {
        self.0.failure.as_ref()
    }

    /// The noun and the name that it, or the nearest of its causes that says so, is about.
    pub fn subject(&self) -> Option<(&'static str, &str)> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            let subject = error.downcast_ref::<Error>().and_then(|error| error.0.subject.as_ref());
            if let Some((noun, name)) = subject {
                return Some((noun, name));
            }
            next = error.source();
        }
        None
    }

    /// The messages of the causes, outermost first, without this error's own.
    pub fn chain(&self) -> Vec<String> {
        let mut chain = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            chain.push(match error.downcast_ref::<Error>() {
                Some(ours) => ours.message().to_owned(),
                None => error.to_string(),
            });
            next = error.source();
        }
        chain
    }
}

/// One line: the message and its causes, joined by `: `.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for cause in self.chain() {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self}", self.0.kind)?;
        match self.hint() {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// The kind that an operating system error means to a script.
pub fn kind_of_io(error: &std::io::Error) -> Kind {
    use std::io::ErrorKind as E;
    match error.kind() {
        E::NotFound => Kind::NotFound,
        E::PermissionDenied => Kind::PermissionDenied,
        E::AlreadyExists => Kind::AlreadyExists,
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::NoSpace,
        E::TimedOut => Kind::Timeout,
        E::Unsupported => Kind::Unsupported,
        // Readers' and decompressors' own words for malformed and for cut short.
        E::InvalidData | E::UnexpectedEof => Kind::Corrupt,
        _ => Kind::Failed,
    }
}

/// What a reader of somebody else's document says of it, in one line and not too long: such words quote the document, and a
/// hostile one could write lines of its own, or orders to a terminal, into a message of ours.
pub fn quoted(words: &impl fmt::Display) -> String {
    const MOST_CHARACTERS: usize = 400;
    one_line(&words.to_string(), MOST_CHARACTERS)
}

fn one_line(text: &str, most_characters: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most_characters));
    for (count, character) in text.chars().enumerate() {
        if count == most_characters {
            line.push('\u{2026}');
            break;
        }
        match is_order(character) {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

/// Characters that a terminal acts upon: control characters, and those that turn the direction of what follows.
fn is_order(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Keeps the system's own words; the kind follows the error number. One of ours that went through a stream comes out as it
/// was.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(error) => Error::new(kind_of_io(&error), error.to_string()),
        }
    }
}

/// Adds what we were doing to an error.
pub trait Context<T> {
    /// Wraps the error in `doing`, which starts with a verb: `reading "/etc/passwd"`.
    ///
    /// # Errors
    /// The wrapped error, with its kind kept.
    fn context<C: Into<Cow<'static, str>>>(self, doing: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<C: Into<Cow<'static, str>>>(self, doing: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|error| error.into().context(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_stay_on_one_line() {
        assert_eq!(quoted(&"a\nb\u{1b}[2J\u{202e}c \u{e9}"), "a\\nb\\u{1b}[2J\\u{202e}c \u{e9}");
        assert!(quoted(&"x".repeat(100_000)).len() < 1000);
        assert_eq!(Error::invalid("no\nline").message(), "no\\nline");
        assert_eq!(Error::failed("what a\nprogram says").message(), "what a\nprogram says");
    }

    #[test]
    fn a_full_disk_always_has_a_hint() {
        let full = Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull)).context("writing");
        assert!(full.hint().is_some_and(|hint| hint.contains("prune")), "{full:?}");
        assert_eq!(Error::no_space("x").with_hint("own").context("y").hint(), Some("own"));
        assert_eq!(Error::failed("x").hint(), None);
    }

    #[test]
    fn context_keeps_kind_and_hint_and_prints_on_one_line() {
        let error = Error::not_found("no such file").with_hint("look again").context("reading \"x\"");
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(error.hint(), Some("look again"));
        assert_eq!(error.to_string(), "reading \"x\": no such file");
        assert_eq!(error.chain(), ["no such file"]);
    }

    #[test]
    fn what_an_error_is_about_is_found_below_its_context() {
        let error = Error::not_found("no such image").about("image", "a:1").context("building").context("line 3");
        assert_eq!(error.subject(), Some(("image", "a:1")));
        assert_eq!(Error::failed("x").with_source(std::io::Error::other("y")).subject(), None);
    }

    #[test]
    fn names_and_kinds_map_both_ways() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::from_name("nope"), None);
    }

    #[test]
    fn an_error_of_ours_goes_through_a_stream_as_it_is() {
        let error = Error::from(std::io::Error::other(Error::interrupted("enough").with_hint("go on")));
        assert_eq!((error.kind(), error.message(), error.hint()), (Kind::Interrupted, "enough", Some("go on")));
    }

    #[test]
    fn a_full_disk_is_no_space() {
        let error: Error = std::io::Error::from_raw_os_error(28).into();
        assert_eq!(error.kind(), Kind::NoSpace);
    }
}
