//! Writes the linker script that puts the functions which commands execute side by side in the program file.
//!
//! A static program is mapped in strides of 64 KiB, and whatever a start touches of a stride costs a page fault and counts
//! as memory. The functions of one start are a few hundred of some thirty thousand; where they lie together, a start
//! touches a tenth of the strides.
//!
//! usage: layout PROGRAM MAP COMMANDS SCRIPT
//!
//! PROGRAM has fixed addresses; MAP is what the linker wrote of it, or `-` for the program's own symbols. Each line of
//! the file COMMANDS are arguments for it, separated by spaces; SCRIPT is written. Each function gets a breakpoint
//! (ptrace(2)), in every process that runs PROGRAM, until it is executed once; the first execution is what functions are
//! sorted by. A command begins when the one before it has ended; what that left running is followed too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

/// `int3` of the instruction set x86-64.
const BREAKPOINT: u8 = 0xcc;
/// How the section of a function begins that is seldom executed, behind `.text.`.
const COLD: &str = "unlikely.";
/// The section that the functions are put into.
const FIRST: &str = ".text.first";
/// The unit in which breakpoints are written, in bytes.
const PAGE: u64 = 4096;
/// Of a generic function's instances as many are named without the hash that tells them apart; of more, only the one that
/// was executed.
const FEW_INSTANCES: usize = 2;
/// Of what a generic function with more instances than that is, in bytes, all of them are named behind the others.
const SMALL: u64 = 8192;

/// How many instances a generic function has, and how large they are together.
#[derive(Default)]
struct Instances {
    count: usize,
    bytes: u64,
}

/// The functions of a program, by address.
struct Program {
    path: PathBuf,
    functions: BTreeMap<u64, Function>,
}

struct Function {
    name: String,
    bytes: u64,
    first: u8,
}

/// Address, size and name of a function of Rust, from a line of a map: address, load address, size, alignment, file and, in
/// parentheses, section. Each function has a section of its own name; a stripped program's map names nothing else.
fn function(line: &str) -> Option<(u64, u64, String)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let bytes = u64::from_str_radix(words.nth(1)?, 16).ok()?;
    let name = line.rsplit_once(":(.text.")?.1.strip_suffix(')')?;
    of_rust(address, bytes, name)
}

/// Functions of Rust alone: what is C's has no sections of its own.
fn of_rust(address: u64, bytes: u64, name: &str) -> Option<(u64, u64, String)> {
    let bare = name.trim_start_matches(COLD);
    (bare.starts_with("_ZN") || bare.starts_with("_R")).then(|| (address, bytes, name.to_owned()))
}

impl Program {
    /// Reads a program and the map that the linker wrote of it (`ld.lld --Map`), or its own symbols.
    fn read(path: PathBuf, map: &Path) -> Result<Program, Box<dyn Error>> {
        let bytes = fs::read(&path)?;
        let file = object::File::parse(&*bytes)?;
        if file.kind() != object::ObjectKind::Executable {
            return Err("the program has no fixed addresses".into());
        }
        let mut code = Vec::new();
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            code.push((section.address(), section.data()?));
        }
        let byte_at = |address: u64| {
            code.iter().find_map(|(start, data)| data.get(usize::try_from(address.checked_sub(*start)?).ok()?))
        };
        let mut functions = BTreeMap::new();
        let named: Vec<(u64, u64, String)> = match map == Path::new("-") {
            true => file
                .symbols()
                .filter_map(|symbol| of_rust(symbol.address(), symbol.size(), symbol.name().ok()?))
                .collect(),
            false => fs::read_to_string(map)?.lines().filter_map(function).collect(),
        };
        for (address, bytes, name) in named {
            if let Some(first) = byte_at(address) {
                functions.insert(address, Function { name, bytes, first: *first });
            }
        }
        if functions.is_empty() {
            return Err("neither the map nor the program names a function".into());
        }
        Ok(Program { path, functions })
    }

    /// Whether a process runs it: by the file, since it may be mounted a second time.
    fn is_run_by(&self, pid: Pid) -> std::io::Result<bool> {
        let (own, its) = (fs::metadata(&self.path)?, fs::metadata(format!("/proc/{pid}/exe"))?);
        Ok((own.dev(), own.ino()) == (its.dev(), its.ino()))
    }
}

struct Tracer<'a> {
    program: &'a Program,
    executed: Vec<u64>,
    seen: HashSet<u64>,
}

impl Tracer<'_> {
    /// Runs the program with `args`, until it has ended and, with `to_the_end`, everything that it left running.
    fn run(&mut self, args: &[&str], to_the_end: bool) -> Result<(), Box<dyn Error>> {
        let mut command = Command::new(&self.program.path);
        command.args(args);
        // SAFETY: ptrace(2) is a system call and allocates nothing.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        let child = Pid::from_raw(i32::try_from(command.spawn()?.id())?);
        waitpid(child, None)?;
        let follow = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
        ptrace::setoptions(child, follow | Options::PTRACE_O_TRACEEXEC)?;
        self.arm(child)?;
        ptrace::cont(child, None)?;
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return Ok(()),
                status => status?,
            };
            match status {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == child && !to_the_end => {
                    return Ok(());
                }
                WaitStatus::Stopped(pid, Signal::SIGTRAP) => go_on(pid, self.trap(pid)?)?,
                // How a traced process begins.
                WaitStatus::Stopped(pid, Signal::SIGSTOP) => go_on(pid, None)?,
                WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal))?,
                WaitStatus::PtraceEvent(pid, ..) => {
                    // Who is gone, or behind a mount namespace of its own, runs something else.
                    if status_is_exec(&status) && self.program.is_run_by(pid).unwrap_or(false) {
                        self.arm(pid)?;
                    }
                    go_on(pid, None)?;
                }
                _ => {}
            }
        }
    }

    /// Puts a breakpoint on every function that was not executed yet.
    fn arm(&self, pid: Pid) -> Result<(), Box<dyn Error>> {
        let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        let mut pages: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for address in self.program.functions.keys().filter(|address| !self.seen.contains(address)) {
            pages.entry(address / PAGE * PAGE).or_default().push(*address);
        }
        for (start, addresses) in pages {
            let mut page = [0; PAGE as usize];
            memory.read_exact_at(&mut page, start)?;
            for address in addresses {
                page[usize::try_from(address - start)?] = BREAKPOINT;
            }
            memory.write_all_at(&page, start)?;
        }
        Ok(())
    }

    /// Takes a breakpoint away that was met. Returns the signal when it was none.
    fn trap(&mut self, pid: Pid) -> Result<Option<Signal>, Box<dyn Error>> {
        let mut registers = ptrace::getregs(pid)?;
        let address = registers.rip - 1;
        let Some(function) = self.program.functions.get(&address) else { return Ok(Some(Signal::SIGTRAP)) };
        if self.seen.insert(address) {
            self.executed.push(address);
        }
        File::options().write(true).open(format!("/proc/{pid}/mem"))?.write_all_at(&[function.first], address)?;
        registers.rip = address;
        ptrace::setregs(pid, registers)?;
        Ok(None)
    }
}

fn status_is_exec(status: &WaitStatus) -> bool {
    matches!(status, WaitStatus::PtraceEvent(_, _, event) if *event == ptrace::Event::PTRACE_EVENT_EXEC as i32)
}

fn go_on(pid: Pid, signal: Option<Signal>) -> nix::Result<()> {
    match ptrace::cont(pid, signal) {
        // It was killed meanwhile.
        Err(Errno::ESRCH) => Ok(()),
        other => other,
    }
}

/// A name up to the hash at its end, which tells instances of one generic function and compilers apart.
fn without_hash(name: &str) -> Option<&str> {
    const HASH: usize = 16;
    let at = name.find("17h").filter(|_| name.trim_start_matches(COLD).starts_with("_ZN"))?;
    let at = name[at..].rfind("17h").map_or(at, |last| at + last);
    let hash = name.get(at + 3..at + 3 + HASH)?;
    hash.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| &name[..at + 3])
}

/// Whatever a section of this name matches, in the words of linker scripts.
fn pattern(name: &str, instances: &HashMap<&str, Instances>) -> Option<String> {
    match without_hash(name) {
        Some(prefix) if instances[prefix].count <= FEW_INSTANCES => Some(format!("{prefix}*")),
        Some(prefix) => Some(format!("{}E*", &name[..prefix.len() + 16])),
        // The standard library's own mangling has a hash of each crate inside.
        None if name.trim_start_matches(COLD).starts_with("_R") => {
            let mut parts = name.split(".llvm.").next()?.split("Cs");
            let first = parts.next()?.to_owned();
            let rest = parts.map(|part| part.split_once('_').map_or(part.to_owned(), |(_, rest)| format!("*_{rest}")));
            Some(rest.fold(first, |text, part| text + "Cs" + &part) + "*")
        }
        // Of C, whose functions have no sections of their own.
        None => None,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [program, map, commands, script] = &args[..] else {
        return Err("usage: layout PROGRAM MAP COMMANDS SCRIPT".into());
    };
    let program = Program::read(fs::canonicalize(program)?, map)?;
    let commands = fs::read_to_string(commands)?;
    let lines: Vec<&str> = commands.lines().collect();
    let mut tracer = Tracer { program: &program, executed: Vec::new(), seen: HashSet::new() };
    for (number, line) in lines.iter().enumerate() {
        let args: Vec<&str> = line.split(' ').collect();
        tracer.run(&args, number + 1 == lines.len())?;
        eprintln!("{:5} functions after: {line}", tracer.executed.len());
    }
    let mut instances: HashMap<&str, Instances> = HashMap::new();
    for function in program.functions.values() {
        if let Some(prefix) = without_hash(&function.name) {
            let known = instances.entry(prefix).or_default();
            known.count += 1;
            known.bytes += function.bytes;
        }
    }
    let executed: Vec<&str> = tracer.executed.iter().map(|address| program.functions[address].name.as_str()).collect();
    let exact = executed.iter().filter_map(|name| pattern(name, &instances));
    // Should hashes change, all instances of what is small are better than none.
    let any = executed.iter().filter_map(|name| without_hash(name)).filter(|prefix| instances[prefix].bytes <= SMALL);
    let mut written = HashSet::new();
    let patterns = exact.chain(any.map(|prefix| format!("{prefix}*")));
    let patterns: Vec<String> = patterns.filter(|pattern| written.insert(pattern.clone())).collect();
    write(script, &patterns)?;
    Ok(())
}

fn write(script: &Path, patterns: &[String]) -> std::io::Result<()> {
    let mut file = File::create(script)?;
    writeln!(
        file,
        "/* Written by scripts/layout.rhai: functions in the order in which commands first execute them. */"
    )?;
    writeln!(file, "SECTIONS {{ {FIRST} : {{")?;
    for pattern in patterns {
        writeln!(file, "*(.text.{pattern})")?;
    }
    writeln!(file, "}} }} INSERT BEFORE .text;")
}
