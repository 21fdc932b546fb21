//! Blocking file calls on a turso_core `IO`: what the remote needs beside the database itself.
//!
//! Every call ends with its completion's error, should it have one; nothing waits for a success that can't come.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

use turso_core::io::FileSyncType;
use turso_core::{Buffer, Completion, CompletionError, File, IO, LimboError, OpenFlags};

/// Where the core keeps the log of the database at `path`.
pub(crate) fn wal_path(path: &str) -> String {
    format!("{path}-wal")
}

/// Bytes of a file that exists.
pub(crate) fn size(io: &Arc<dyn IO>, path: &str) -> Result<u64, LimboError> {
    open(io, path)?.size()
}

/// Exactly the bytes of `range`; a file that ends before is an error.
pub(crate) fn read(io: &Arc<dyn IO>, path: &str, range: Range<u64>) -> Result<Vec<u8>, LimboError> {
    let length = range.end.checked_sub(range.start).expect("a range doesn't run backwards") as usize;
    if length == 0 {
        return Ok(Vec::new());
    }
    let buffer = Arc::new(Buffer::new(vec![0; length]));
    let completion = Completion::new_read(buffer.clone(), move |read| match read {
        Ok((_, count)) if count as usize != length => {
            Some(CompletionError::IOError(ErrorKind::UnexpectedEof, "pread"))
        }
        Ok(_) | Err(_) => None, // an error is the completion's already
    });
    let completion = open(io, path)?.pread(range.start, completion)?;
    io.wait_for_completion(completion)?;
    Ok(buffer.as_slice().to_vec())
}

/// The whole file.
pub(crate) fn read_all(io: &Arc<dyn IO>, path: &str) -> Result<Vec<u8>, LimboError> {
    read(io, path, 0..size(io, path)?)
}

/// Makes what was written to a file durable.
pub(crate) fn sync(io: &Arc<dyn IO>, path: &str) -> Result<(), LimboError> {
    let completion = open(io, path)?.sync(Completion::new_sync(|_| ()), FileSyncType::Fsync)?;
    io.wait_for_completion(completion)
}

/// Makes a new file with these bytes, durable but for its entry.
pub(crate) fn write_all(io: &Arc<dyn IO>, path: &str, bytes: &[u8]) -> Result<(), LimboError> {
    let file = io.open_file(path, OpenFlags::Create, false)?;
    if !bytes.is_empty() {
        let buffer = Arc::new(Buffer::new(bytes.to_vec()));
        io.wait_for_completion(file.pwrite(0, buffer, Completion::new_write(|_| ()))?)?;
    }
    io.wait_for_completion(file.sync(Completion::new_sync(|_| ()), FileSyncType::Fsync)?)
}

fn open(io: &Arc<dyn IO>, path: &str) -> Result<Arc<dyn File>, LimboError> {
    io.open_file(path, OpenFlags::None, false)
}
