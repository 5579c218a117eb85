//! Floor 8: dispatch. The hidden re-exec verbs first, before anything is parsed, then the command line.

use std::ffi::OsString;
use std::process::ExitCode;

use rhumb::cli;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let [_, verb] = args.as_slice()
        && verb == rhumb::runtime::monitor::VERB
    {
        return ExitCode::from(u8::try_from(rhumb::runtime::monitor::main(Some(rhumb::net::dns::serve))).unwrap_or(1));
    }
    if let [_, verb, parent] = args.as_slice()
        && verb == rhumb::runtime::log::compress::VERB
    {
        let code = rhumb::runtime::log::compress::main(&parent.to_string_lossy());
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    if let [_, verb, root, id] = args.as_slice()
        && verb == rhumb::engine::container::REAP
    {
        return cli::reap(root, &id.to_string_lossy()).into();
    }
    if let Some(args) = cli::oci::asked(&args) {
        return cli::oci::main(args).into();
    }
    cli::main(&args, Some(rhumb::repl::run)).into()
}
