//! A root file system of this machine's own programs, for tests below the engine. It knows nothing of images.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// Files up to this size are copied by [`link`], since they may be written to; larger ones are programs and libraries.
const SMALL_BYTES: u64 = 16 << 10;

/// Makes a root at `root` with `programs` and what they are linked to, two users, and programs that cannot be executed.
pub(crate) fn make(root: &Path, programs: &[&str]) {
    for folder in ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "var/www", "usr/bin"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for program in programs {
        let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(Path::new);
        let path = folders.iter().map(|folder| folder.join(program)).find(|path| path.exists());
        let path = fs::canonicalize(path.unwrap_or_else(|| panic!("no {program}"))).unwrap().display().to_string();
        fs::copy(&path, root.join("bin").join(program)).unwrap_or_else(|e| panic!("{path}: {e}"));
        let ldd = Command::new("ldd").arg(&path).output().unwrap();
        for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            let to = root.join(word.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(word, to).unwrap();
        }
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nwww:x:33:\nadm:x:4:www\n").unwrap();
    fs::write(root.join("bin/not-executable"), "x").unwrap();
    fs::write(root.join("bin/nonsense"), "nonsense").unwrap();
    fs::write(root.join("bin/no-interpreter"), "#!/no/such/interpreter\n").unwrap();
    for name in ["nonsense", "no-interpreter"] {
        fs::set_permissions(root.join("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    symlink("../bin/true", root.join("usr/bin/yes")).unwrap();
}

/// Makes `to` a root like `from` that shares its programs as hard links: quick, and writable except for those.
pub(crate) fn link(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            link(&source, &target);
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else if metadata.size() <= SMALL_BYTES {
            fs::copy(&source, &target).unwrap();
        } else {
            fs::hard_link(&source, &target).unwrap();
        }
    }
}
