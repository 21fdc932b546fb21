//! The disk against a naive model: the whole history as a list, replayed from the start for every question.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const PATHS: [&str; 4] = ["a-draft", "a-draft-wal", "a-info.tmp", "a-info"];

#[derive(Clone)]
enum Step {
    Create(&'static str, usize),
    Remove(&'static str),
    Rename(&'static str, &'static str, usize),
    Write(usize, usize, Vec<u8>),
    Truncate(usize, usize),
}

/// Every operation ever made and whether a sync has covered it.
#[derive(Default)]
struct Model {
    history: Vec<(Step, bool)>,
    files: usize,
}

type Tree = BTreeMap<&'static str, Vec<u8>>;

impl Model {
    fn replay(&self, mut counts: impl FnMut(bool) -> bool) -> (BTreeMap<&'static str, usize>, Vec<Vec<u8>>) {
        let mut names = BTreeMap::new();
        let mut files = vec![Vec::new(); self.files];
        for (step, synced) in &self.history {
            if !counts(*synced) {
                continue;
            }
            match step {
                Step::Create(path, file) => drop(names.insert(*path, *file)),
                Step::Remove(path) => drop(names.remove(path)),
                Step::Rename(from, to, file) => {
                    names.remove(from);
                    names.insert(*to, *file);
                }
                Step::Write(_, _, bytes) if bytes.is_empty() => {}
                Step::Write(file, offset, bytes) => {
                    let longer = files[*file].len().max(offset + bytes.len());
                    files[*file].resize(longer, 0);
                    files[*file].splice(*offset..offset + bytes.len(), bytes.iter().copied());
                }
                Step::Truncate(file, len) => files[*file].resize(*len, 0),
            }
        }
        (names, files)
    }

    fn tree(&self, counts: impl FnMut(bool) -> bool) -> Tree {
        let (names, files) = self.replay(counts);
        names.into_iter().map(|(path, file)| (path, files[file].clone())).collect()
    }

    fn names(&self) -> BTreeMap<&'static str, usize> {
        self.replay(|_| true).0
    }

    fn push(&mut self, step: Step) {
        self.history.push((step, false));
    }

    fn sync(&mut self, covered: impl Fn(&Step) -> bool) {
        for (step, synced) in &mut self.history {
            *synced |= covered(step);
        }
    }

    /// What a power loss leaves, which is then all there ever was.
    fn lose_power(&mut self, survivors: &[u32]) {
        let mut unsynced = 0;
        self.history.retain_mut(|(_, synced)| {
            if !*synced {
                *synced = survivors.contains(&unsynced);
                unsynced += 1;
            }
            *synced
        });
    }
}

fn tree_of(read: impl Fn(&str) -> Option<Arc<Vec<u8>>>) -> Tree {
    PATHS.into_iter().filter_map(|path| Some((path, read(path)?.to_vec()))).collect()
}

#[test]
fn the_disk_agrees_with_a_naive_model() {
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |bound: u64| rng.next_u64() % bound;
        let (disk, _, _guard) = new_disk();
        let mut process = Process::start(&disk);
        let mut model = Model::default();

        for _ in 0..150 {
            let path = PATHS[below(4) as usize];
            let file = model.names().get(path).copied();
            match (below(12), file) {
                (0, Some(_)) => {
                    process.remove(path);
                    model.push(Step::Remove(path));
                }
                (1, Some(file)) => {
                    let to = PATHS[below(4) as usize];
                    process.rename(path, to);
                    model.push(Step::Rename(path, to, file));
                }
                (2 | 3, Some(file)) => {
                    process.sync(path);
                    model.sync(|step| match step {
                        Step::Write(written, ..) | Step::Truncate(written, _) => *written == file,
                        _ => false,
                    });
                }
                (4, Some(file)) => {
                    let len = below(60);
                    process.truncate(path, len);
                    model.push(Step::Truncate(file, len as usize));
                }
                (5, _) => {
                    process.sync_dir(path);
                    model.sync(|step| !matches!(step, Step::Write(..) | Step::Truncate(..)));
                }
                (6, _) if below(4) == 0 => {
                    let survival = Survival::Subset { keep_percent: below(101) as u8, key: below(1000) };
                    disk.crash_now(&power_loss(survival));
                    let report = disk.take_crash().expect("the crash was ordered");
                    model.lose_power(&report.survivors);
                    disk.restart();
                    process = Process::start(&disk);
                }
                (7, _) if below(4) == 0 => {
                    disk.crash_now(&CrashKind::Kill);
                    disk.restart();
                    process = Process::start(&disk);
                }
                (_, Some(file)) => {
                    let offset = below(40);
                    let bytes = vec![below(256) as u8; below(20) as usize];
                    process.write(path, offset, &bytes);
                    model.push(Step::Write(file, offset as usize, bytes));
                }
                (_, None) => {
                    process.create(path);
                    model.push(Step::Create(path, model.files));
                    model.files += 1;
                }
            }
            assert_eq!(tree_of(|path| disk.read(path)), model.tree(|_| true), "current state, seed {seed}");
            assert_eq!(
                tree_of(|path| disk.durable(path)),
                model.tree(|synced| synced),
                "durable state, seed {seed}"
            );
        }
    }
}
