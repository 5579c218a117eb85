//! Further processes in Docker's words: the JSON of an exec's `inspect`, and the rows of a listing, which Docker has not.

use serde_json::{Value, json};

use crate::base::Id;
use crate::docker::format::Listing;
use crate::docker::{container, words};
use crate::model::exec::Exec;

/// How many characters of a command a listing shows.
const COMMAND_WIDTH: usize = 40;

/// The JSON of an exec (Docker Engine API 1.43, `ExecInspect`).
pub fn inspect(exec: &Exec, container: &Id) -> Value {
    let (entrypoint, arguments) = exec.args.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let mut process = json!({
        "tty": exec.tty,
        "entrypoint": entrypoint,
        "arguments": arguments,
        "privileged": exec.privileged,
    });
    if let Some(user) = &exec.user {
        process["user"] = user.as_str().into();
    }
    json!({
        "ID": exec.id,
        "Running": exec.is_running(),
        "ExitCode": exec.exit_code,
        "ProcessConfig": process,
        "OpenStdin": false,
        "OpenStderr": true,
        "OpenStdout": true,
        "CanRemove": false,
        "ContainerID": container,
        "DetachKeys": "",
        "Pid": exec.pid,
    })
}

/// The listing.
pub const LISTING: Listing = Listing {
    type_name: "*container.execContext",
    columns: &[
        ("ID", "EXEC ID"),
        ("Pid", "PID"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
    ],
    table: r"{{.ID}}\t{{.Pid}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}",
    quiet: "{{.ID}}",
    raw: None,
    quiet_wins: false,
};

/// A row of the listing: `ID Pid Command CreatedAt RunningFor Status`.
pub fn list_row(exec: &Exec, no_trunc: bool) -> Value {
    json!({
        "ID": if no_trunc { exec.id.as_str() } else { exec.id.short() },
        "Pid": exec.pid.to_string(),
        "Command": command_cell(exec, no_trunc),
        "CreatedAt": container::date(exec.started),
        "RunningFor": container::age(exec.started),
        "Status": status_cell(exec),
    })
}

/// COMMAND of the listing.
pub fn command_cell(exec: &Exec, no_trunc: bool) -> String {
    let text = exec.args.join(" ");
    format!("{:?}", if no_trunc { text } else { words::ellipsis(&text, COMMAND_WIDTH) })
}

/// STATUS of the listing: `Running`, `Health check`, `Exited (0)`.
pub fn status_cell(exec: &Exec) -> String {
    match exec.exit_code {
        Some(code) => format!("Exited ({code})"),
        None if exec.health_check => "Health check".to_owned(),
        None => "Running".to_owned(),
    }
}
