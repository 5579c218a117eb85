//! Lays a release's program file out by what starts execute (`main.rs` beside this).

fn main() {
    const SCRIPT: &str = "scripts/layout/first.ld";
    println!("cargo:rerun-if-changed={SCRIPT}");
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    // Other linkers than those of ELF files on Linux know no such script, and a debug build would link longer for nothing.
    if said("CARGO_CFG_TARGET_OS") == "linux" && said("OPT_LEVEL") != "0" {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{}/{SCRIPT}", said("CARGO_MANIFEST_DIR"));
    }
}
