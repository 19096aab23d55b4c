//! What clients fetch with `fetchAsset`: files that the recording carries, and files below a directory.

mod directory;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::foxglove::shortened;
use directory::Directory;

/// The largest asset that is served, in bytes.
const SIZE_LIMIT: u64 = 256 * MIB;

/// How much memory assets may have for all clients together, in mebibytes: while they are read, and until clients have
/// taken them.
const MEMORY_MIB: usize = 768;

/// How long a client waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

const MIB: u64 = 1024 * 1024;

/// The files that a recording carries with it, by their names.
pub trait Attachments: Send + Sync {
    /// The size in bytes of the attachment of this name; `None` where there is none.
    fn size(&self, name: &str) -> Option<u64>;

    /// The bytes of the attachment of this name.
    ///
    /// # Errors
    /// Where it can't be read, or there is none.
    fn read(&self, name: &str) -> io::Result<Bytes>;
}

/// Finds what a client names in `fetchAsset`: first an attachment of exactly this name, and then, where a
/// directory is served, a file below it.
///
/// In the directory, `package://pkg/path` is the file `pkg/path`, and so is `file://pkg/path` as well as plain
/// `pkg/path`. An absolute path, as in `file:///data/robot/arm.stl`, is that file where it lies below the
/// directory (by its name as it was given, or without symbolic links), and is taken from the directory on
/// otherwise. Percent-encoding is undone once. Nothing outside of the directory is ever opened, whatever the
/// names and the symbolic links in it say.
pub struct Assets {
    attachments: Box<dyn Attachments>,
    directory: Option<Directory>,
    /// A permit for each mebibyte that assets may have in memory.
    room: Arc<Semaphore>,
}

/// Room in memory for an asset, as large as one may be.
pub(super) struct Room(OwnedSemaphorePermit);

/// An asset, and its room until nobody has it any more.
struct Roomed {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Roomed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Assets {
    /// Serves these attachments, and the files below `directory`.
    ///
    /// # Errors
    /// Where `directory` is none, or the system does not give it.
    pub fn new(attachments: Box<dyn Attachments>, directory: Option<&Path>) -> io::Result<Self> {
        let room = Arc::new(Semaphore::new(MEMORY_MIB));
        Ok(Assets { attachments, directory: directory.map(Directory::new).transpose()?, room })
    }

    /// Room for an asset, when there is some. `None` where there is none for long: some client does not take those
    /// that it asked for.
    pub(super) async fn room(&self) -> Option<Room> {
        let permits = Arc::clone(&self.room).acquire_many_owned((SIZE_LIMIT / MIB) as u32);
        Some(Room(timeout(PATIENCE, permits).await.ok()?.ok()?))
    }

    /// The bytes of what a client names, at most 256 MiB, in the room that was found for them. Blocks while it
    /// reads.
    ///
    /// # Errors
    /// Where there is no such asset, or it can't or must not be sent.
    pub(super) fn fetch(&self, uri: &str, room: Room) -> Result<Bytes, AssetError> {
        let bytes = self.read(uri)?;
        let Room(mut room) = room;
        let needed = bytes.len().div_ceil(MIB as usize);
        // What it does not need is for others.
        drop(room.split(room.num_permits().saturating_sub(needed)));
        Ok(Bytes::from_owner(Roomed { bytes, _room: room }))
    }

    /// As [`fetch`](Self::fetch), without room.
    pub(super) fn read(&self, uri: &str) -> Result<Bytes, AssetError> {
        let found = match (self.attachments.size(uri), &self.directory) {
            (Some(size), _) => self.attached(uri, size),
            (None, Some(directory)) => directory.read(uri),
            (None, None) => Err(Refusal::NoDirectory),
        };
        found.map_err(|reason| AssetError { asset: shortened(uri), reason })
    }

    fn attached(&self, name: &str, size: u64) -> Result<Bytes, Refusal> {
        if size > SIZE_LIMIT {
            return Err(Refusal::TooLarge);
        }
        self.attachments.read(name).map_err(|error| Refusal::unreadable(&error))
    }
}

/// Why an asset can't be had, in words for the user of the client.
#[derive(Debug, thiserror::Error)]
#[error("{} '{asset}': {reason}", reason.verdict())]
pub struct AssetError {
    /// What the client named, shortened.
    asset: String,
    reason: Refusal,
}

/// What stands against sending an asset. The directory is not named: where it lies is not for every client
/// to know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("the recording has no attachment of that name, and no directory is served (--assets)")]
    NoDirectory,
    #[error(
        "the recording has no attachment of that name, and there is no such file in the directory that is \
         served (--assets)"
    )]
    NoSuchFile,
    #[error("{0}")]
    BadName(&'static str),
    #[error("only attachments, package://, file:// and plain paths are served")]
    OtherScheme,
    #[error("it leads out of the directory that is served (--assets)")]
    Outside,
    #[error("a path with .. in it is not served")]
    Upwards,
    #[error("it is a directory")]
    IsDirectory,
    #[error("it is no regular file")]
    NotAFile,
    #[error("it is larger than {} MiB", SIZE_LIMIT / MIB)]
    TooLarge,
    #[error("it can't be read: {0}")]
    Unreadable(String),
}

impl Refusal {
    /// How the sentence begins that ends with the reason.
    fn verdict(&self) -> &'static str {
        match self {
            Refusal::NoDirectory | Refusal::NoSuchFile => "there is no asset",
            _ => "can't send the asset",
        }
    }

    /// Without the number of the error, which tells a user nothing.
    fn unreadable(error: &io::Error) -> Self {
        let text = error.to_string();
        Refusal::Unreadable(text.split(" (os error").next().unwrap_or(&text).to_lowercase())
    }
}
