//! What a program needs to start, as it says itself: an ELF file's interpreter and libraries, a script's interpreter.
//!
//! The one door to `object`. Reads program headers only (System V ABI, "Program Loading and Dynamic Linking"), since
//! sections may be stripped. It knows nothing of where libraries lie: see [`super::closure`].

use object::elf::{self, FileHeader32, FileHeader64};
use object::endian::Endianness;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};

use crate::base::{Error, Result};

/// The most bytes of a script's first line that the kernel looks at (`BINPRM_BUF_SIZE`).
const MAX_SHEBANG_BYTES: usize = 256;

/// What kind of file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// An ELF program or library.
    Elf(Needs),
    /// A script: the interpreter and, when there is one, its argument.
    Script(String, Option<String>),
    /// Neither.
    Other,
}

/// What an ELF file asks of its loader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Class and machine: only files of the same kind can be loaded together.
    pub(super) kind: (u8, u16),
    /// PT_INTERP.
    pub(super) interpreter: Option<String>,
    /// DT_NEEDED, in order.
    pub(super) libraries: Vec<String>,
    /// DT_RPATH; it counts only without DT_RUNPATH.
    pub(super) rpath: Vec<String>,
    /// DT_RUNPATH.
    pub(super) runpath: Vec<String>,
}

/// Reads a file's beginning and, for ELF, its dynamic section.
///
/// # Errors
/// `corrupt` for an ELF file that cannot be read.
pub(super) fn inspect(data: &[u8]) -> Result<Program> {
    if data.starts_with(b"#!") {
        return Ok(shebang(data));
    }
    let read = match data {
        [0x7f, b'E', b'L', b'F', 1, ..] => needs::<FileHeader32<Endianness>>(data, 1),
        [0x7f, b'E', b'L', b'F', 2, ..] => needs::<FileHeader64<Endianness>>(data, 2),
        _ => return Ok(Program::Other),
    };
    let read = read.map_err(|error| Error::corrupt("a malformed ELF file").with_source(error));
    Ok(Program::Elf(read?))
}

fn shebang(data: &[u8]) -> Program {
    let line = &data[2..data.len().min(MAX_SHEBANG_BYTES)];
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.trim().split_once([' ', '\t']) {
        Some((interpreter, argument)) => Program::Script(interpreter.to_owned(), Some(argument.trim().to_owned())),
        None if line.trim().is_empty() => Program::Other,
        None => Program::Script(line.trim().to_owned(), None),
    }
}

fn needs<Elf: FileHeader<Endian = Endianness>>(data: &[u8], class: u8) -> object::read::Result<Needs> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let mut found = Needs { kind: (class, header.e_machine(endian).0), ..Needs::default() };
    let mut entries: &[Elf::Dyn] = &[];
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data)? {
            found.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
        if let Some(dynamic) = segment.dynamic(endian, data)? {
            entries = dynamic;
        }
    }
    let end = entries.iter().position(|entry| entry.tag(endian) == elf::DT_NULL).unwrap_or(entries.len());
    let entries = &entries[..end];
    let value = |tag| entries.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian));
    let (Some(address), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else { return Ok(found) };
    let loaded = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    let strings = loaded.filter_map(|segment| segment.data_range(endian, data, address, size).ok().flatten()).next();
    let text = |offset: u64| {
        let from = strings?.get(usize::try_from(offset).ok()?..)?;
        let end = from.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&from[..end]).into_owned())
    };
    let paths = |offset: u64| {
        let list = text(offset).unwrap_or_default();
        list.split(':').filter(|path| !path.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    for entry in entries {
        match entry.tag(endian) {
            elf::DT_NEEDED => found.libraries.extend(text(entry.val(endian))),
            elf::DT_RPATH => found.rpath.extend(paths(entry.val(endian))),
            elf::DT_RUNPATH => found.runpath.extend(paths(entry.val(endian))),
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_of_this_machine_needs_a_loader_and_a_c_library() {
        let data = std::fs::read("/bin/sh").unwrap();
        let Program::Elf(needs) = inspect(&data).unwrap() else { panic!("not an ELF file") };
        if let Some(interpreter) = &needs.interpreter {
            assert!(interpreter.contains("ld-"), "{interpreter}");
            assert!(needs.libraries.iter().any(|library| library.contains("libc")), "{:?}", needs.libraries);
        }
        for cut in [5, 16, 63, 64, 100, 500] {
            // Neither a panic nor a lie: an error, or fewer facts.
            if let Ok(Program::Elf(cut)) = inspect(&data[..cut]) {
                assert!(cut.libraries.len() <= needs.libraries.len());
            }
        }
    }

    #[test]
    fn scripts_name_their_interpreter() {
        let script = |text: &str| inspect(text.as_bytes()).unwrap();
        assert_eq!(script("#!/bin/sh\nls"), Program::Script("/bin/sh".into(), None));
        assert_eq!(script("#! /usr/bin/env -S a b\n"), Program::Script("/usr/bin/env".into(), Some("-S a b".into())));
        assert_eq!(script("#!\n"), Program::Other);
        assert_eq!(script("plain"), Program::Other);
    }
}
