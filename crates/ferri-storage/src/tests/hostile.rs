//! Links and other things planted in the target.

use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;

use super::*;

fn two() -> Fixture {
    Fixture::new(&[("sub/a", 40_000, ""), ("b", 30_000, "")])
}

#[test]
fn a_planted_link_is_refused_by_name_and_nothing_outside_is_touched() {
    for (link, target) in
        [("t", "outside"), ("t/sub", "../outside"), ("t/sub/a", "../../outside/a"), ("t/b", "../outside/new")]
    {
        let t = two();
        let outside = t.folder.path().join("downloads/outside");
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("a"), b"precious").unwrap();
        let link = t.root().join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, &link).unwrap();
        let storage = t.storage_with(Fixture::options(), &[]);
        let results: Vec<_> = (0..5).map(|piece| t.try_write(&storage, piece)).collect();
        assert!(
            results.iter().any(|result| matches!(result, Err(StorageError::Symlink { .. }))),
            "{results:?}"
        );
        for result in results {
            if let Err(error) = result {
                let text = error.to_string();
                assert!(
                    text.contains("a symbolic link is in the way") && text.contains("downloads/t"),
                    "{text}"
                );
            }
        }
        assert_eq!(tree(&outside), ["a"]);
        assert_eq!(std::fs::read(outside.join("a")).unwrap(), b"precious");
        assert!(link.is_symlink());
        assert!(matches!(storage.finish(), Ok(()) | Err(StorageError::Symlink { .. })));
        assert_eq!(tree(&outside), ["a"]);
    }
}

#[test]
fn reading_and_checking_do_not_follow_links_either() {
    let t = two();
    let (storage, _) = t.start();
    t.write_all(&storage);
    storage.close().unwrap();
    let elsewhere = t.folder.path().join("elsewhere");
    std::fs::rename(t.file("b"), &elsewhere).unwrap();
    symlink(&elsewhere, t.file("b")).unwrap();
    assert!(matches!(t.read(&storage, 3), Err(StorageError::Symlink { .. })));
    assert!(matches!(storage.check_piece(t.piece(3), &mut Vec::new()), Err(StorageError::Symlink { .. })));
}

#[test]
fn a_download_folder_that_is_a_link_is_the_users_choice() {
    let t = two();
    std::fs::create_dir(t.folder.path().join("disk2")).unwrap();
    symlink("disk2", t.root()).unwrap();
    let (storage, _) = t.start();
    t.write_all(&storage);
    assert_eq!(std::fs::read(t.folder.path().join("disk2/t/b")).unwrap(), &t.data[40_000..]);
}

#[test]
fn a_folder_that_becomes_a_link_again_and_again_never_leads_outside() {
    let t = two();
    let outside = t.folder.path().join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::create_dir_all(t.file("sub")).unwrap();
    let stop = AtomicBool::new(false);
    let (sub, aside) = (t.file("sub"), t.file("aside"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if std::fs::rename(&sub, &aside).is_ok() {
                    // The storage may have made the folder anew in between.
                    let _ = symlink(&outside, &sub);
                    let _ = std::fs::remove_file(&sub);
                    let _ = std::fs::remove_dir_all(&sub);
                    let _ = std::fs::rename(&aside, &sub);
                }
            }
        });
        let (mut tries, mut written) = (0, 0);
        // The other thread may be held up for long while the link is there.
        while tries < 1_000 || (written == 0 && tries < 1_000_000) {
            let storage = t.storage_with(Fixture::options(), &[]);
            written += u32::from(t.try_write(&storage, 0).is_ok());
            let _ = t.read(&storage, 0);
            tries += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(0 < written, "it works between the swaps");
    });
    assert_eq!(tree(&outside), Vec::<String>::new());
}

#[test]
fn a_file_where_a_folder_belongs_and_a_folder_where_a_file_belongs_are_told() {
    let t = two();
    std::fs::create_dir_all(t.file("b")).unwrap();
    std::fs::write(t.file("sub"), b"").unwrap();
    let storage = t.storage_with(Fixture::options(), &[]);
    assert!(matches!(t.try_write(&storage, 0), Err(StorageError::NotAFolder { .. })));
    let error = t.try_write(&storage, 3).unwrap_err();
    assert!(matches!(error, StorageError::NotAFile { .. }), "{error}");
    assert!(error.to_string().contains("t/b"));
    assert!(!storage.check_piece(t.piece(0), &mut Vec::new()).unwrap());
}

#[test]
fn a_pipe_where_a_file_belongs_does_not_hang() {
    let t = two();
    std::fs::create_dir_all(t.file("")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, t.file("b"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let storage = t.storage_with(Fixture::options(), &[]);
    assert!(matches!(t.try_write(&storage, 3), Err(StorageError::NotAFile { .. })));
    assert!(t.read(&storage, 3).is_err());
}

#[test]
fn what_is_in_the_way_to_a_file_is_named_and_not_the_file() {
    let t = Fixture::new(&[("sub/deep/a", 100, "")]);
    for is_link in [false, true] {
        std::fs::create_dir_all(t.file("")).unwrap();
        if is_link {
            symlink("elsewhere", t.file("sub")).unwrap();
        } else {
            std::fs::write(t.file("sub"), b"mine").unwrap();
        }
        let is_it = |error: &StorageError| match error {
            StorageError::Symlink { path } => is_link && *path == t.file("sub"),
            StorageError::NotAFolder { path } => !is_link && *path == t.file("sub"),
            _ => false,
        };
        let storage = t.storage_with(Fixture::options(), &[]);
        match storage.resume() {
            Err(error) => assert!(is_it(&error), "{error}"),
            Ok(_) => {
                let error = storage.guard().unwrap_err();
                assert!(is_it(&error), "{error}");
            }
        }
        let error = t.try_write(&storage, 0).unwrap_err();
        assert!(is_it(&error), "{error}");
        std::fs::remove_file(t.file("sub")).unwrap();
    }
}
