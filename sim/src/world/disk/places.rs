//! Counts the operations of a step by place, and finds the armed crash point that an operation reaches.

use strum::EnumCount;

use crate::fault::{CrashPoint, FileClass, OperationKind, OperationPlace};

#[derive(Default)]
pub(super) struct Places {
    reached: [[u32; OperationKind::COUNT]; FileClass::COUNT],
    armed: Vec<CrashPoint>,
}

impl Places {
    pub(super) fn arm(&mut self, point: CrashPoint) {
        self.armed.push(point);
    }

    pub(super) fn take_armed(&mut self) -> Vec<CrashPoint> {
        std::mem::take(&mut self.armed)
    }

    /// The number of operations so far, of any kind and on any file.
    pub(super) fn operations(&self) -> u32 {
        self.reached[FileClass::Any as usize][OperationKind::AnyMutation as usize]
    }

    #[cfg(test)]
    pub(super) fn count(&self, file: FileClass, operation: OperationKind) -> u32 {
        self.reached[file as usize][operation as usize]
    }

    /// Counts an operation that is about to happen. If the operation reaches armed points, disarms and
    /// returns the point that was armed first. Also returns the operation's own place: the role of its file,
    /// and its kind, even if the point is for any file or any operation.
    pub(super) fn reach(
        &mut self,
        file: FileClass,
        operation: OperationKind,
    ) -> Option<(CrashPoint, OperationPlace)> {
        // A file without a role counts only as any file, and only once.
        let files = if file == FileClass::Any { &[FileClass::Any][..] } else { &[file, FileClass::Any] };
        let operations = [operation, OperationKind::AnyMutation];
        for file in files {
            for operation in operations {
                self.reached[*file as usize][operation as usize] += 1;
            }
        }
        let reached = self.armed.iter().position(|CrashPoint { place, .. }| {
            files.contains(&place.file)
                && operations.contains(&place.operation)
                && self.reached[place.file as usize][place.operation as usize] == place.nth
        });
        let place = OperationPlace { file, operation, nth: self.reached[file as usize][operation as usize] };
        reached.map(|index| (self.armed.remove(index), place))
    }
}
