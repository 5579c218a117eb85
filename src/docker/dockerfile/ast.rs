//! What a Dockerfile says, with places: the result of [`super::parse`].
//!
//! Words keep their variables and quotes; [`super::expand`] takes them away when the values are known.

/// A place in the file: lines and columns count from 1, columns in characters; the end is behind the last character.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first line.
    pub line: usize,
    /// The first column.
    pub column: usize,
    /// The last line.
    pub end_line: usize,
    /// The column behind the last character.
    pub end_column: usize,
}

/// A piece of text and where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// As written.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// Its name, for messages.
    pub file: String,
    /// What `# syntax=` says.
    pub syntax: Option<Word>,
    /// The escape character: a backslash or a backquote.
    pub escape: char,
    /// What `# check=` says.
    pub check: Option<Word>,
    /// `ARG` in front of the first `FROM`.
    pub arguments: Vec<Instruction>,
    /// Every `FROM` and what follows it.
    pub stages: Vec<Stage>,
    /// Empty lines inside of continued instructions.
    pub empty_continuations: Vec<Span>,
}

/// A `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The `FROM` itself.
    pub from: Instruction,
    /// `--platform`.
    pub platform: Option<Word>,
    /// What it begins with: an image, a stage, or `scratch`.
    pub base: Word,
    /// The word `AS` as written.
    pub as_keyword: Option<Word>,
    /// Its name as written.
    pub name: Option<Word>,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// The name as written.
    pub keyword: Word,
    /// The whole, with its here-documents.
    pub span: Span,
    /// The comment lines right above, without their `#`.
    pub comments: Vec<String>,
    /// The text in one line, without continuations, behind it the bodies of its here-documents.
    pub text: String,
    /// What it says.
    pub kind: InstructionKind,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq)]
pub enum InstructionKind {
    /// `FROM`; what it says is in its [`Stage`].
    From,
    /// `ARG`: names with perhaps a default.
    Arg(Vec<Pair>),
    /// `ENV`.
    Env(Pairs),
    /// `LABEL`.
    Label(Pairs),
    /// `RUN`.
    Run(Box<Run>),
    /// `COPY` and `ADD`.
    Copy(Box<Copy>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `EXPOSE`.
    Expose(Vec<Word>),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `USER`.
    User(Word),
    /// `WORKDIR`.
    Workdir(Word),
    /// `STOPSIGNAL`.
    StopSignal(Word),
    /// `MAINTAINER`.
    Maintainer(Word),
    /// `HEALTHCHECK`.
    HealthCheck(Box<HealthCheck>),
    /// `ONBUILD`: the instruction as text, and what it says.
    OnBuild(String, Box<Instruction>),
}

/// `name=value` or `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name, as written.
    pub name: Word,
    /// The value, as written.
    pub value: Option<Word>,
}

/// What `ENV` and `LABEL` take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// Each has a value.
    pub pairs: Vec<Pair>,
    /// Written the old way, `ENV name value`.
    pub old: bool,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// For the shell.
    Shell(Word),
    /// Words in JSON.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What is run. With here-documents it names them.
    pub command: Command,
    /// `--mount`, as written.
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
    /// `--device`.
    pub devices: Vec<Word>,
    /// In the order of their names.
    pub documents: Vec<HereDocument>,
}

/// The body behind a `<<NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HereDocument {
    /// Its name without quotes.
    pub name: String,
    /// Its name was not quoted: variables in it are expanded.
    pub expand: bool,
    /// `<<-`: tabs at the beginning of lines go.
    pub chomp: bool,
    /// The number in front of `<<`.
    pub descriptor: Option<u32>,
    /// The lines, as written.
    pub body: String,
    /// Where the body is.
    pub span: Span,
}

impl HereDocument {
    /// The body as it is meant: without its tabs for `<<-`.
    pub fn content(&self) -> String {
        match self.chomp {
            true => self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect(),
            false => self.body.clone(),
        }
    }
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    /// It is `ADD`.
    pub add: bool,
    /// What is copied.
    pub sources: Vec<CopySource>,
    /// Where to.
    pub target: Word,
    /// `--from`.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--exclude`.
    pub exclude: Vec<Word>,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`.
    pub unpack: Option<bool>,
}

/// Something to copy.
#[derive(Debug, Clone, PartialEq)]
pub enum CopySource {
    /// A path, a pattern or an address.
    Path(Word),
    /// A file with this content.
    Document(HereDocument),
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// The command; none is `NONE`.
    pub command: Option<Command>,
    /// `--interval`.
    pub interval: Option<Word>,
    /// `--timeout`.
    pub timeout: Option<Word>,
    /// `--start-period`.
    pub start_period: Option<Word>,
    /// `--start-interval`.
    pub start_interval: Option<Word>,
    /// `--retries`.
    pub retries: Option<Word>,
}
