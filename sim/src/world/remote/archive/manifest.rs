//! The manifest: which files an archive has, and what is in each.
//!
//! ```text
//! plimsoll archive manifest, format 1, XXH3 7a0f…        the hash of everything after this line
//! { "history_id": …, "closed": […], "current": … }
//! ```
//!
//! It is replaced atomically. Before a manifest is put in place, the files that it names are durable, and so are
//! their directory entries. A file that no manifest names any more is removed only when that manifest is durable.
//!
//! The manifest notes its own identity. If its file has another one, the directory is a copy.

use serde::{Deserialize, Serialize};
use turso_core::LimboError;
use xxhash_rust::xxh3::xxh3_128;

use super::error::ArchiveError;
use super::place::{CHUNK_BYTES, Identity, MANIFEST, MANIFEST_NEXT, Place, Stamp};
use crate::judge::format::FrameHeader;
use crate::world::remote::files;

const HEAD: &str = "plimsoll archive manifest, format ";
const FORMAT: u32 = 1;
/// The maximum length of a manifest, in bytes. It is enough for 100,000 generations.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// The content of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub history_id: String,
    /// The identity of the manifest's own file. `None` in a backup, which is a copy wherever it is.
    pub identity: Option<Identity>,
    /// The number of times a server has started on the directory. Each start replaces the manifest, so that a copy
    /// that is put back in place is recognized.
    pub starts: u64,
    pub stage: Stage,
    /// The end of the generation before the oldest one, if that generation was pruned.
    pub before_oldest: Option<LogEndStamp>,
    /// The closed generations, oldest first.
    pub closed: Vec<ClosedGeneration>,
    /// The number of the current generation.
    pub current: u64,
    /// The snapshot at the start of the current generation.
    pub snapshot: Stamp,
    /// Whether the current generation has had a frame. Then its frames must be in the core's WAL or in the log.
    #[serde(default)]
    pub has_frames: bool,
    /// Files of pruned generations that may not have been removed yet.
    pub removing: Vec<String>,
}

/// How far the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The first generation is being created. Nothing was served yet.
    Beginning,
    /// A database is being imported as the first generation. Nothing was served yet.
    Importing,
    Serving,
}

/// A generation that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClosedGeneration {
    pub generation: u64,
    pub snapshot: Stamp,
    pub log: Stamp,
    pub end: LogEndStamp,
}

/// The last frame of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogEndStamp {
    pub frames: u64,
    pub page_no: u32,
    pub db_size: u32,
    pub salts: [u32; 2],
    pub checksum: [u32; 2],
}

impl LogEndStamp {
    pub fn of(frames: u64, last: FrameHeader) -> Self {
        let FrameHeader { page_no, db_size, salts, checksum } = last;
        Self { frames, page_no, db_size, salts, checksum }
    }

    pub fn header(&self) -> FrameHeader {
        let Self { frames: _, page_no, db_size, salts, checksum } = *self;
        FrameHeader { page_no, db_size, salts, checksum }
    }
}

impl Manifest {
    /// The manifest of a directory whose first generation is being created.
    pub fn beginning(history_id: String, stage: Stage) -> Self {
        Self {
            history_id,
            identity: None,
            starts: 0,
            stage,
            before_oldest: None,
            closed: Vec::new(),
            current: 1,
            snapshot: Stamp { bytes: 0, hash: 0 },
            has_frames: false,
            removing: Vec::new(),
        }
    }

    /// The manifest after the current generation has ended with this log. The next one begins with a snapshot.
    pub fn close(mut self, log: Stamp, end: LogEndStamp, snapshot: Stamp) -> Self {
        self.closed.push(ClosedGeneration { generation: self.current, snapshot: self.snapshot, log, end });
        Self { current: self.current + 1, snapshot, has_frames: false, ..self }
    }

    /// The oldest generation.
    pub fn oldest(&self) -> u64 {
        self.closed.first().map_or(self.current, |closed| closed.generation)
    }

    pub fn closed(&self, generation: u64) -> Option<&ClosedGeneration> {
        let index = generation.checked_sub(self.oldest())?;
        self.closed.get(usize::try_from(index).ok()?)
    }

    /// Reads the manifest of a directory. `None` if there is none.
    pub fn read(place: &Place, names: &[String]) -> Result<Option<Self>, ArchiveError> {
        if !names.iter().any(|name| name == MANIFEST) {
            return Ok(None);
        }
        let file = place.open(MANIFEST)?;
        let size = place.size(MANIFEST, &file)?;
        let path = place.path(MANIFEST);
        if size > MANIFEST_BYTES_MAX {
            return Err(ArchiveError::damaged(&path, format!("is {size} bytes long")));
        }
        let bytes = place.read(MANIFEST, &file, 0..size)?;
        Self::parse(&bytes).map(Some).map_err(|problem| ArchiveError::damaged(&path, problem))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(bytes).map_err(|_| "is not text")?;
        let (head, body) = text.split_once('\n').ok_or("has no first line")?;
        let fields = head.strip_prefix(HEAD).and_then(|rest| rest.split_once(", XXH3 "));
        let (format, hash) = fields.ok_or("does not begin like a manifest")?;
        if format != FORMAT.to_string() {
            return Err(format!("has format {format}, and this program knows only {FORMAT}"));
        }
        if hash != hash_of(body) {
            return Err("does not match its checksum".to_owned());
        }
        let manifest: Self = serde_json::from_str(body).map_err(|error| format!("is malformed: {error}"))?;
        let generations = manifest.closed.iter().map(|closed| closed.generation);
        if !generations.eq(manifest.oldest()..manifest.current) {
            return Err("does not name consecutive generations".to_owned());
        }
        Ok(manifest)
    }

    fn print(&self) -> String {
        let body = serde_json::to_string_pretty(self).expect("a manifest has only string keys") + "\n";
        format!("{HEAD}{FORMAT}, XXH3 {}\n{body}", hash_of(&body))
    }

    /// Whether this manifest, which was read from the directory, is in the file that it was written to.
    pub fn is_original(&self, place: &Place) -> Result<bool, ArchiveError> {
        Ok(self.identity == Some(place.identity(MANIFEST)?))
    }

    /// Replaces the directory's manifest by this one, atomically and durably.
    ///
    /// # Errors
    /// If the error comes from the last step, the manifest may be in place.
    pub fn put(&mut self, place: &Place) -> Result<(), ArchiveError> {
        self.write(place, |place| place.identity(MANIFEST_NEXT).map(Some))
    }

    /// Like [`put`](Self::put), as the manifest of a copy.
    pub fn put_as_copy(&mut self, place: &Place) -> Result<(), ArchiveError> {
        self.write(place, |_| Ok(None))
    }

    fn write(
        &mut self,
        place: &Place,
        identity: impl FnOnce(&Place) -> Result<Option<Identity>, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let failed = |operation| move |source: LimboError| place.failed(operation, MANIFEST_NEXT)(source);
        let file = place.create(MANIFEST_NEXT)?;
        files::truncate(&place.io, &file, 0).map_err(failed("cut"))?;
        self.identity = identity(place)?;
        let text = self.print().into_bytes();
        for (index, piece) in text.chunks(CHUNK_BYTES as usize).enumerate() {
            let offset = index as u64 * CHUNK_BYTES;
            files::write_at(&place.io, &file, offset, piece.to_vec()).map_err(failed("write"))?;
        }
        files::sync_file(&place.io, &file).map_err(failed("sync"))?;
        let (from, to) = (place.path(MANIFEST_NEXT), place.path(MANIFEST));
        place.storage.rename(&from, &to).map_err(|source| ArchiveError::File {
            operation: "rename",
            path: from,
            source,
        })?;
        place.sync()
    }
}

fn hash_of(body: &str) -> String {
    format!("{:032x}", xxh3_128(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_refused_if_a_byte_differs() {
        let end = LogEndStamp { frames: 3, page_no: 1, db_size: 2, salts: [3, 4], checksum: [5, 6] };
        let stamp = Stamp { bytes: 4096, hash: u128::MAX - 7 };
        let closed = ClosedGeneration { generation: 1, snapshot: stamp, log: stamp, end };
        let manifest = Manifest {
            closed: vec![closed],
            current: 2,
            snapshot: stamp,
            stage: Stage::Serving,
            ..Manifest::beginning("h".to_owned(), Stage::Beginning)
        };
        let text = manifest.print();
        assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest));
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] ^= 1;
            assert!(Manifest::parse(&bytes).is_err(), "byte {index}");
        }
        assert!(Manifest::parse(&text.as_bytes()[..text.len() - 1]).is_err());
    }

    #[test]
    fn a_manifest_of_another_format_is_refused_by_its_number() {
        let text = Manifest::beginning("h".to_owned(), Stage::Serving).print();
        let newer = text.replace("format 1,", "format 2,");
        assert_eq!(
            Manifest::parse(newer.as_bytes()),
            Err("has format 2, and this program knows only 1".to_owned())
        );
    }
}
