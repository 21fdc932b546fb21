//! The `plimsoll corpus add` command.

use crate::command::{directory, output, stderr, stdout};

const SCHEDULE: &str = r#"# seed 7
{"format":1,"key":7,"clients":1,"pull_batch_frames":64,"push_batch_statements_max":1000,"synced_wal_frames_max":1000,"chunk_bytes":16384}
# why this step
{"id":3,"action":{"pull":{"client":0}}}
"#;

#[test]
fn a_schedule_is_added_once_with_the_skeleton_of_a_post_mortem() {
    let directory = directory("corpus-add");
    let file = directory.join("seed-7.min.jsonl").display().to_string();
    std::fs::write(&file, SCHEDULE).expect("the file can be written");
    let into = directory.display().to_string();
    let add = ["corpus", "add", &file, "--into", &into, "--name", "pulled-in-vain"];

    let added = output(&add);
    assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
    let text = stdout(&added);
    for part in [
        "pulled-in-vain.jsonl: 1 step, 0 faults",
        "no violation",
        "post-mortem",
        "--test corpus pulled-in-vain",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    let path = directory.join("pulled-in-vain.jsonl");
    let kept = std::fs::read_to_string(&path).expect("the file exists");
    assert!(kept.starts_with("# Post-mortem: TO BE WRITTEN"), "{kept}");
    assert!(kept.contains("# why this step\n{\"id\":3"), "{kept}");
    assert_eq!(kept.matches("# seed 7\n").count(), 1, "{kept}");

    std::fs::write(&path, "mine").expect("the file can be written");
    let again = output(&add);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("pulled-in-vain.jsonl"), "{}", stderr(&again));
    assert_eq!(std::fs::read_to_string(&path).expect("the file exists"), "mine", "nothing is overwritten");
}

#[test]
fn a_refused_schedule_leaves_no_file() {
    let directory = directory("corpus-refused");
    let file = directory.join("seed-7.jsonl").display().to_string();
    let into = directory.join("corpus").display().to_string();
    std::fs::write(&file, SCHEDULE).expect("the file can be written");
    let nowhere = output(&["corpus", "add", &file, "--into", &into]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(stderr(&nowhere).contains("--into DIR"), "{}", stderr(&nowhere));

    std::fs::create_dir(&into).expect("the directory can be created");
    let misnamed = output(&["corpus", "add", &file, "--into", &into, "--name", "../up"]);
    assert_eq!(misnamed.status.code(), Some(2));
    std::fs::write(&file, "{}").expect("the file can be written");
    let unread = output(&["corpus", "add", &file, "--into", &into]);
    assert_eq!(unread.status.code(), Some(2));
    assert!(stderr(&unread).contains("line 1"), "{}", stderr(&unread));
    assert_eq!(std::fs::read_dir(&into).expect("the directory can be listed").count(), 0);
}
