//! Lays a release's program file out by what starts execute (`main.rs` beside this). With `RHUMB_LINK_MAP` the linker writes
//! its map to that file.

#![expect(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

fn main() {
    const SCRIPT: &str = "scripts/layout/first.ld";
    const MAP: &str = "RHUMB_LINK_MAP";
    println!("cargo:rerun-if-changed={SCRIPT}");
    println!("cargo:rerun-if-env-changed={MAP}");
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    // Other linkers than those of ELF files on Linux know no such script, and a debug build would link longer for nothing.
    if said("CARGO_CFG_TARGET_OS") == "linux" && said("OPT_LEVEL") != "0" {
        // What cargo keeps of this outlives the place of the sources; that of the copy follows the target folder.
        let copy = format!("{}/first.ld", said("OUT_DIR"));
        if let Err(error) = std::fs::copy(SCRIPT, &copy) {
            println!("cargo:warning=the program file is laid out by the linker alone: copying {SCRIPT}: {error}");
            return;
        }
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{copy}");
    }
    if let Ok(path) = std::env::var(MAP) {
        println!("cargo:rustc-link-arg-bins=-Wl,-Map,{path}");
    }
}
