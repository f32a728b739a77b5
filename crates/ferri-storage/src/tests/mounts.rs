//! Tests that mount file systems, each in a process with mounts of its own, which end with it.

use std::process::Command;

use super::*;
use crate::check_folder;

/// Who a test has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    /// Root of a user namespace will do, and any user can be that.
    Anybody,
    /// The machine's own root: loop devices are the machine's.
    Root,
}

/// Set in the process that may mount.
const INSIDE: &str = "FERRI_STORAGE_MOUNTS";

/// Runs a test of this module, by its name, where it may mount. One that cannot run there fails, and says what makes it run.
fn with_mounts(name: &str, user: User, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let is_root = std::fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
        && rustix::process::geteuid().is_root();
    let by_hand = format!("sudo -E env PATH=\"$PATH\" cargo test -p ferri-storage --lib {name}");
    assert!(is_root || user == User::Anybody, "this needs the machine's root; run it with\n  {by_hand}");
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !is_root {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.arg("--").arg(std::env::current_exe().unwrap());
    unshare.args(["--exact", &format!("tests::mounts::{name}"), "--nocapture"]).env(INSIDE, name);
    let output = unshare.output().unwrap_or_else(|error| {
        panic!("unshare (package util-linux): {error}; install it, or run\n  {by_hand}")
    });
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    let hint =
        if is_root { String::new() } else { format!("\nif it was not allowed to mount, run\n  {by_hand}") };
    assert!(output.status.success() && said.contains("1 passed"), "{said}{hint}");
}

fn run(program: &str, package: &str, args: &[&Path]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error}; it comes with: apt-get install -y --no-install-recommends {package}")
    });
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Where something is mounted; not any more when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A file that is open must not keep it, nor the program behind FUSE with it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_folder_on_a_file_system_that_is_read_only_cannot_be_made() {
    with_mounts("a_folder_on_a_file_system_that_is_read_only_cannot_be_made", User::Anybody, || {
        let folder = tempfile::tempdir().unwrap();
        let args = ["-t", "tmpfs", "-o", "ro", "none"].map(Path::new);
        run("mount", "mount", &[&args[..], &[folder.path()]].concat());
        let _mounted = Mounted(folder.path().to_owned());
        check_folder(folder.path()).unwrap();
        let new = folder.path().join("new");
        let error = check_folder(&new.join("deeper")).unwrap_err();
        assert!(matches!(&error, StorageError::ReadOnly { path } if *path == new), "{error}");
    });
}

#[test]
fn a_really_full_file_system_is_told_and_recovers() {
    with_mounts("a_really_full_file_system_is_told_and_recovers", User::Anybody, || {
        let t = Fixture::new(&[("a", 100 * PIECE as u64, "")]);
        std::fs::create_dir(t.root()).unwrap();
        let mount = |options: &str| {
            let args = ["-t", "tmpfs", "-o", options, "none"].map(Path::new);
            run("mount", "mount", &[&args[..], &[&t.root()]].concat());
        };
        mount("size=1m");
        let _mounted = Mounted(t.root());
        let (storage, _) = t.start();
        let error = (0..100).find_map(|piece| t.try_write(&storage, piece).err()).unwrap();
        assert!(matches!(error, StorageError::NoSpace { .. }), "{error}");
        let missing = error.bytes_missing();
        assert!(missing.unwrap() > 400_000, "{missing:?}");
        assert!(storage.probe().is_err());
        mount("remount,size=8m");
        storage.probe().unwrap();
        t.write_all(&storage);
        assert_eq!(t.good(&storage).len(), 100);
        storage.close_idle();
        mount("remount,ro");
        assert!(t.try_write(&storage, 0).is_err());
    });
}

#[test]
fn a_file_system_with_bytes_and_no_more_files_is_told_as_such_and_recovers() {
    let name = "a_file_system_with_bytes_and_no_more_files_is_told_as_such_and_recovers";
    with_mounts(name, User::Anybody, || {
        let t = Fixture::new(&[("a", PIECE as u64, ""), ("b", PIECE as u64, ""), ("c", 0, "")]);
        std::fs::create_dir(t.root()).unwrap();
        // The folder itself, the torrent's, and one file.
        let args = ["-t", "tmpfs", "-o", "size=8m,nr_inodes=4", "none"].map(Path::new);
        run("mount", "mount", &[&args[..], &[&t.root()]].concat());
        let _mounted = Mounted(t.root());
        let (storage, _) = t.start();
        let filler = |n: u32| t.root().join(format!("filler{n}"));
        let made = (0..4).take_while(|n| std::fs::write(filler(*n), "").is_ok()).count();
        assert!(made < 4, "the mount has its limit");
        (0..made.min(2)).for_each(|n| std::fs::remove_file(filler(u32::try_from(n).unwrap())).unwrap());
        let error = (0..2).find_map(|piece| t.try_write(&storage, piece).err()).unwrap();
        let StorageError::NoFiles { path, available } = &error else { panic!("{error}") };
        assert!(*path == t.file("b") && *available > 1 << 20, "{error}");
        assert!(error.is_recoverable() && error.bytes_missing() == Some(0), "{error}");
        assert!(crate::is_out_of_files(&t.file("b")));
        let still = storage.probe_after(path).unwrap_err();
        assert!(matches!(still, StorageError::NoFiles { .. }), "{still}");
        let args = ["-o", "remount,nr_inodes=100"].map(Path::new);
        run("mount", "mount", &[&args[..], &[&t.root()]].concat());
        storage.probe_after(path).unwrap();
        t.write_all(&storage);
        storage.finish().unwrap();
        assert_eq!(t.good(&storage).len(), 2);
    });
}

/// An exFAT file system in a file, behind FUSE, whose inode numbers mean nothing. The device ends with the mount.
fn mount_exfat(folder: &Path, dir: &Path) -> Mounted {
    let image = folder.join("image");
    std::fs::File::create(&image).unwrap().set_len(48 << 20).unwrap();
    std::fs::create_dir_all(dir).unwrap();
    run("mkfs.exfat", "exfatprogs", &[&image]);
    let device = run("losetup", "mount", &[Path::new("--find"), Path::new("--show"), &image]);
    let device = Path::new(device.trim());
    run("mount.exfat-fuse", "exfat-fuse", &[device, dir]);
    let mounted = Mounted(dir.to_owned());
    run("losetup", "mount", &[Path::new("--detach"), device]);
    mounted
}

#[test]
fn names_on_a_real_exfat() {
    with_mounts("names_on_a_real_exfat", User::Root, || {
        let files = [
            ("ReadMe", LEN, ""),
            ("readme", LEN, ""),
            ("One: \"Why?\"/x", LEN, ""),
            ("end.", LEN, ""),
            ("l", 0, "l>ReadMe"),
        ];
        let t = Fixture::new(&files);
        let _mounted = mount_exfat(t.folder.path(), &t.root());
        let (storage, _) = t.start();
        t.write(&storage, (0..t.info.layout().piece_count()).rev());
        storage.finish().unwrap();
        storage.close().unwrap();
        drop(storage);
        let check = || {
            let found: Vec<_> = tree(&t.root()).into_iter().filter(|path| !path.ends_with('/')).collect();
            assert_eq!(found, ["t/One_ _Why__/x", "t/ReadMe", "t/end.", "t/readme.1"]);
            let (storage, _) = t.start();
            assert_eq!(t.good(&storage).len(), t.info.layout().piece_count() as usize);
            storage.close().unwrap();
        };
        check();
        std::fs::remove_dir_all(t.state()).unwrap();
        check();
    });
}

const LEN: u64 = PIECE as u64 + 100;
