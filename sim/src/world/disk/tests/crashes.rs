//! Tests which operations survive a crash between operations.

use super::*;

#[test]
fn a_power_loss_that_nothing_unsynced_survives_keeps_only_synced_writes() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"old!");
    process.sync("f");
    process.write("f", 2, b"new");
    assert_eq!(process.read("f"), b"olnew");
    assert_eq!(disk.durable("f").expect("the file is durable").as_slice(), b"old!");

    disk.crash_now(&NOTHING);
    assert!(disk.is_down());
    disk.restart();
    assert_eq!(Process::start(&disk).read("f"), b"old!");
}

#[test]
fn a_gap_and_an_extending_truncate_read_as_zeros() {
    let (_disk, process, _guard) = disk_with_file();
    process.write("f", 2, b"x");
    process.truncate("f", 5);
    assert_eq!(process.read("f"), [0, 0, b'x', 0, 0]);
}

#[test]
fn each_survival_keeps_the_operations_that_it_names() {
    for (survival, left) in [
        (Survival::Nothing, &b""[..]),
        (Survival::Everything, b"abcd"),
        (Survival::Prefix { operations: 2 }, b"ab"),
        (Survival::List { indices: vec![1, 3, 9] }, b"\0b\0d"),
        (Survival::Subset { keep_percent: 0, key: 1 }, b""),
        (Survival::Subset { keep_percent: 100, key: 1 }, b"abcd"),
    ] {
        let (disk, process, _guard) = disk_with_file();
        for (offset, byte) in (0..).zip(b"abcd") {
            process.write("f", offset, &[*byte]);
        }
        disk.crash_now(&power_loss(survival));
        assert_eq!(content(&disk, "f").as_deref(), Some(left));
    }
}

#[test]
fn the_list_of_a_subsets_survivors_repeats_the_subset() {
    let subset = Survival::Subset { keep_percent: 50, key: 3 };
    let survivors = subset.survivors(200);
    assert!((60..140).contains(&survivors.len()), "{} of 200", survivors.len());
    assert_eq!(Survival::List { indices: survivors.clone() }.survivors(200), survivors);
}

#[test]
fn a_torn_write_keeps_its_beginning() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"first");
    process.write("f", 5, b"second");
    process.truncate("f", 20);
    disk.crash_now(&CrashKind::PowerLoss {
        survival: Survival::Prefix { operations: 2 },
        torn: Some(Tear::Bytes(3)),
    });
    assert_eq!(content(&disk, "f").as_deref(), Some(&b"firstsec"[..]));
}

#[test]
fn a_write_torn_in_sectors_keeps_only_the_chosen_sectors() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, &[b'-'; 1200]);
    process.sync("f");
    process.write("f", 500, &[b'+'; 1000]);
    let crash = |sectors| {
        let torn = Some(Tear::Sectors { sectors });
        let image = disk.crash_image(&CrashKind::PowerLoss { survival: Survival::Everything, torn });
        let content = content(&image, "f").unwrap();
        content
            .split(|byte| *byte == b'-')
            .filter(|part| !part.is_empty())
            .map(<[u8]>::len)
            .collect::<Vec<_>>()
    };
    assert_eq!(crash(0b111), [1000]);
    assert_eq!(crash(0b101), [12, 476]);
    assert_eq!(crash(0b010), [512]);
    assert_eq!(crash(0), [0; 0]);
}

#[test]
fn a_power_loss_can_undo_a_truncate() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"tail");
    process.sync("f");
    process.truncate("f", 0);
    disk.crash_now(&NOTHING);
    assert_eq!(content(&disk, "f").as_deref(), Some(&b"tail"[..]));
}

#[test]
fn a_power_loss_can_undo_a_creation_although_the_file_was_synced() {
    let (disk, _, _guard) = new_disk();
    let process = Process::start(&disk);
    process.create("new");
    process.write("new", 0, b"x");
    process.sync("new");
    assert_eq!(disk.durable("new"), None);
    disk.crash_now(&NOTHING);
    assert_eq!(disk.paths(), Vec::<String>::new());
}

#[test]
fn a_power_loss_can_undo_a_rename() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"old");
    process.sync("f");
    process.create("f.tmp");
    process.write("f.tmp", 0, b"new");
    process.sync("f.tmp");
    process.rename("f.tmp", "f");
    assert_eq!(process.read("f"), b"new");
    disk.crash_now(&NOTHING);
    assert_eq!((disk.paths(), content(&disk, "f").as_deref()), (vec!["f".to_owned()], Some(&b"old"[..])));
}

#[test]
fn a_power_loss_can_undo_a_removal() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"old");
    process.sync("f");
    process.remove("f");
    assert_eq!(disk.paths(), Vec::<String>::new());
    disk.crash_now(&NOTHING);
    assert_eq!(content(&disk, "f").as_deref(), Some(&b"old"[..]));
}

#[test]
fn a_rename_survives_the_loss_of_the_creation_before_it() {
    let (disk, _, _guard) = new_disk();
    let process = Process::start(&disk);
    process.create("f.tmp");
    process.write("f.tmp", 0, b"synced");
    process.sync("f.tmp");
    process.rename("f.tmp", "f");
    disk.crash_now(&power_loss(Survival::List { indices: vec![1] }));
    assert_eq!(disk.paths(), ["f"]);
    assert_eq!(content(&disk, "f").as_deref(), Some(&b"synced"[..]));
}

#[test]
fn a_directory_sync_covers_only_its_own_directory() {
    let (disk, _, _guard) = new_disk();
    let process = Process::start(&disk);
    process.create("a/f");
    process.create("b/f");
    process.sync_dir("a/other");
    disk.crash_now(&NOTHING);
    assert_eq!(disk.paths(), ["a/f"]);
}

#[test]
fn a_kill_keeps_everything_and_a_power_loss_can_still_undo_it() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"volatile");
    disk.crash_now(&CrashKind::Kill);
    disk.restart();
    assert_eq!(Process::start(&disk).read("f"), b"volatile");
    assert_eq!(disk.unsynced_operations(), 1);

    disk.crash_now(&NOTHING);
    assert_eq!(content(&disk, "f").as_deref(), Some(&b""[..]));
    assert_eq!(disk.unsynced_operations(), 0);
}

#[test]
fn a_machine_that_is_down_can_still_lose_power() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"volatile");
    disk.crash_now(&CrashKind::Kill);
    disk.crash_now(&NOTHING);
    assert!(disk.is_down());
    assert_eq!(content(&disk, "f").as_deref(), Some(&b""[..]));
}

#[test]
fn operations_that_survived_a_power_loss_are_durable() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"lucky");
    disk.crash_now(&EVERYTHING);
    disk.restart();
    disk.crash_now(&NOTHING);
    assert_eq!(content(&disk, "f").as_deref(), Some(&b"lucky"[..]));
}

#[test]
fn unsynced_writes_stay_unsynced_over_a_restart_without_a_crash() {
    let (disk, process, _guard) = disk_with_file();
    process.write("f", 0, b"x");
    disk.restart();
    assert_eq!(Process::start(&disk).read("f"), b"x");
    disk.crash_now(&NOTHING);
    assert_eq!(content(&disk, "f").as_deref(), Some(&b""[..]));
}

#[test]
fn a_zombies_operations_are_neither_visible_nor_counted() {
    let (disk, trace, _guard) = new_disk();
    let zombie = Process::start(&disk);
    zombie.create("f");
    disk.begin_step(1);
    disk.crash_now(&CrashKind::Kill);
    let hash = lock(&trace).hash();
    zombie.write("f", 0, b"boo");
    assert_eq!(content(&disk, "f").as_deref(), Some(&b""[..]));
    assert_eq!(lock(&trace).hash(), hash);

    disk.restart();
    let hash = lock(&trace).hash();
    zombie.write("f", 0, b"boo again");
    zombie.rename("f", "g");
    zombie.sync_dir("g");
    zombie.io.generate_random_number();
    assert_eq!(zombie.read("g"), b"boo again", "the zombie sees its own writes");
    assert_eq!((disk.paths(), disk.operations_in_step()), (vec!["f".to_owned()], 0));
    assert_eq!(lock(&trace).hash(), hash);
}

#[test]
fn an_open_file_outlives_its_name() {
    let (disk, process, _guard) = disk_with_file();
    let file = process.open("f", OpenFlags::None);
    process.remove("f");
    let written = file.pwrite(0, Arc::new(Buffer::new(b"x".to_vec())), Completion::new_write(|_| ()));
    assert!(written.expect("the write succeeds").succeeded());
    assert_eq!((file.size().expect("a file has a size"), disk.read("f")), (1, None));
}

#[test]
fn a_missing_file_is_not_found() {
    let (disk, _, _guard) = new_disk();
    let io = disk.io();
    let error = io.open_file("f", OpenFlags::None, false).err().expect("the file does not exist");
    assert_eq!(error.to_string(), "I/O error (open): entity not found");
    assert!(io.remove_file("f").is_err());
    assert_eq!(io.rename("f", "g").map_err(|error| error.kind()), Err(std::io::ErrorKind::NotFound));
}

#[test]
fn random_numbers_depend_on_the_step_and_not_on_earlier_draws() {
    let (disk, _, _guard) = new_disk();
    let numbers_of_step = |step| {
        disk.begin_step(step);
        [disk.io().generate_random_number(), disk.io().generate_random_number()]
    };
    let first = numbers_of_step(1);
    assert_ne!(first[0], first[1]);
    assert_ne!(numbers_of_step(2), first);
    assert_eq!(numbers_of_step(1), first);
}
