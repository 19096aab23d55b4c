//! Memory for chunks that is used again: fresh memory costs the system about as much as what is read into it.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use bytes::Bytes;

mod block;

pub use self::block::NoMemory;
use self::block::{Block, UNIT};

/// Fresh memory is mapped for several large buffers, as many as so many bytes are enough for. They lie side by side then,
/// as a rule, so that the system can use huge pages for them whatever their size. What is mapped and not used takes no
/// memory but for the rest of such a page.
const ROW: usize = 32 * 1024 * 1024;

/// How many bytes are kept mapped that were never used: two rows, since what is read and what it is unpacked to differ in
/// size.
const FRESH_BYTES: usize = 2 * ROW;

/// How many bytes are kept for later.
const IDLE_BYTES: usize = 8 * 1024 * 1024;

/// Buffers that come back when the last slice of them is gone. Cheap to clone.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    idle: Mutex<Idle>,
    /// Where what is too much goes: a thread that gives it back to the system, which takes a while, so that nobody
    /// who plays has to. There is none before it is needed, nor where the system has none to spare.
    giver: OnceLock<Option<Sender<Vec<Block>>>>,
}

/// The memory that nobody uses now.
#[derive(Default)]
struct Idle {
    /// What came back, the last of it at the end.
    used: VecDeque<Block>,
    /// What is left of the last rows.
    fresh: VecDeque<Block>,
}

/// Memory with something in its front. As a slice it is that.
pub struct Buffer {
    memory: Block,
    filled: usize,
    home: Buffers,
}

impl Buffers {
    /// A buffer with room for so many bytes, and perhaps for more.
    ///
    /// # Errors
    /// Where there is not enough memory.
    pub fn take(&self, bytes: usize) -> Result<Buffer, NoMemory> {
        Ok(Buffer { memory: self.block(bytes)?, filled: 0, home: self.clone() })
    }

    /// A buffer that holds these bytes.
    ///
    /// # Errors
    /// Where there is not enough memory.
    pub fn copy(&self, bytes: &[u8]) -> Result<Buffer, NoMemory> {
        let mut buffer = self.take(bytes.len())?;
        buffer.append(bytes)?;
        Ok(buffer)
    }

    fn block(&self, bytes: usize) -> Result<Block, NoMemory> {
        let found = self.lock().find(bytes);
        let mut block = match found {
            Some(block) => block,
            None => self.fresh_block(bytes)?,
        };
        block.populate(bytes);
        Ok(block)
    }

    fn fresh_block(&self, bytes: usize) -> Result<Block, NoMemory> {
        let block = if block::may_be_huge(bytes) { self.start_row(bytes) } else { Block::new(bytes) };
        block.or_else(|NoMemory| {
            let unused = std::mem::take(&mut *self.lock());
            drop(unused);
            Block::new(bytes)
        })
    }

    /// A block of a new row. The others are for who needs one like it.
    fn start_row(&self, bytes: usize) -> Result<Block, NoMemory> {
        let block = Block::new(bytes)?;
        let others = 1..ROW / block.len();
        // All or none: the last one that there is memory for is needed elsewhere.
        let others: Result<Vec<Block>, NoMemory> = others.map(|_| Block::new(bytes)).collect();
        let too_much = self.lock().keep_fresh(others.unwrap_or_default());
        self.give_back(too_much);
        Ok(block)
    }

    /// Keeps a block for later.
    fn put(&self, block: Block) {
        if block.len() >= UNIT {
            let too_much = self.lock().keep(block);
            self.give_back(too_much);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        // The list is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives memory back to the system, but lets nobody wait for that.
    fn give_back(&self, memory: Vec<Block>) {
        if memory.is_empty() {
            return;
        }
        let start = || {
            let (sender, receiver) = mpsc::channel::<Vec<Block>>();
            let give = move || receiver.into_iter().for_each(drop);
            thread::Builder::new().name("fgplay-memory".into()).spawn(give).ok().map(|_| sender)
        };
        if let Some(giver) = self.0.giver.get_or_init(start) {
            // Where it is gone, this gives the memory back here.
            giver.send(memory).unwrap_or_default();
        }
    }
}

impl Idle {
    /// One that is large enough, but not so large that it would be wasted, and still warm if possible.
    fn find(&mut self, bytes: usize) -> Option<Block> {
        if bytes < UNIT {
            return None;
        }
        find(&mut self.used, bytes).or_else(|| find(&mut self.fresh, bytes))
    }

    /// Keeps the blocks of a row, in the order in which they were mapped. Gives those that are too much.
    fn keep_fresh(&mut self, row: Vec<Block>) -> Vec<Block> {
        // The next one to be used is the neighbour of the one that is used already.
        self.fresh.extend(row.into_iter().rev());
        trim(&mut self.fresh, FRESH_BYTES)
    }

    /// Keeps a block for later. Gives those that are too much.
    fn keep(&mut self, block: Block) -> Vec<Block> {
        if block.len() > IDLE_BYTES {
            return vec![block];
        }
        self.used.push_back(block);
        trim(&mut self.used, IDLE_BYTES)
    }
}

/// Takes the smallest block that has room for so many bytes, and of those of a size the last one. None that is more than
/// twice as large.
fn find(blocks: &mut VecDeque<Block>, bytes: usize) -> Option<Block> {
    let sizes = blocks.iter().map(|block| block.len()).enumerate().rev();
    let fits = sizes.filter(|&(_, size)| size >= bytes && size / 2 <= bytes);
    let (place, _) = fits.min_by_key(|&(_, size)| size)?;
    blocks.remove(place)
}

/// Takes the first blocks until the others have no more than so many bytes.
fn trim(blocks: &mut VecDeque<Block>, limit: usize) -> Vec<Block> {
    let mut bytes = size(blocks);
    let mut too_much = Vec::new();
    while bytes > limit
        && let Some(first) = blocks.pop_front()
    {
        bytes -= first.len();
        too_much.push(first);
    }
    too_much
}

fn size(blocks: &VecDeque<Block>) -> usize {
    blocks.iter().map(|block| block.len()).sum()
}

impl Buffer {
    /// How many bytes there is room for in all.
    pub fn room(&self) -> usize {
        self.memory.len()
    }

    /// Makes room for so many bytes in all.
    ///
    /// # Errors
    /// Where there is not enough memory.
    pub fn grow(&mut self, room: usize) -> Result<(), NoMemory> {
        if room > self.memory.len() {
            let mut memory = self.home.block(room)?;
            memory[..self.filled].copy_from_slice(self);
            self.home.put(std::mem::replace(&mut self.memory, memory));
        }
        Ok(())
    }

    /// All of the memory: what is filled, and what was there at some time.
    pub fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Says that so many bytes at the front hold something; no more than there is room for.
    pub fn set_filled(&mut self, bytes: usize) {
        self.filled = bytes.min(self.memory.len());
    }

    /// Appends bytes, for which room is made.
    ///
    /// # Errors
    /// Where there is not enough memory.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), NoMemory> {
        let end = self.filled + bytes.len();
        if end > self.memory.len() {
            self.grow(end.max(self.memory.len().saturating_mul(2)))?;
        }
        self.memory[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
        Ok(())
    }

    /// What it holds, to be shared. The memory is used again when nobody has it any more.
    pub fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.filled]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.memory));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("filled", &self.filled).field("room", &self.room()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::block::LARGE;
    use super::*;

    #[test]
    fn memory_comes_back_with_the_last_slice() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(100_000).unwrap();
        buffer.append(b"something").unwrap();
        let place = buffer.as_ptr();
        let shared = buffer.share();
        let slice = shared.slice(4..);
        drop(shared);
        assert_eq!(size(&buffers.lock().used), 0);
        assert_eq!(slice, &b"thing"[..]);
        drop(slice);
        assert_eq!(size(&buffers.lock().used), 2 * UNIT);
        let again = buffers.take(70_000).unwrap();
        assert!(again.is_empty());
        assert_eq!((again.as_ptr(), again.room()), (place, 2 * UNIT));
    }

    #[test]
    fn little_is_kept_and_nothing_is_wasted() {
        let buffers = Buffers::default();
        let all: Vec<Buffer> = (1..=40).map(|size| buffers.take(size * UNIT).unwrap()).collect();
        drop(all);
        let kept = size(&buffers.lock().used);
        assert!(kept <= IDLE_BYTES && kept > IDLE_BYTES - 40 * UNIT, "{kept}");
        assert!(buffers.take(UNIT).unwrap().room() <= 2 * UNIT);
        assert_eq!(buffers.take(10).unwrap().room(), 10);
        drop(buffers.take(IDLE_BYTES + 1).unwrap());
        assert!(size(&buffers.lock().used) <= IDLE_BYTES);
    }

    #[test]
    fn large_buffers_come_in_rows() {
        if !block::may_be_huge(LARGE) {
            println!("skipped: this system has no huge pages of a useful size");
            return;
        }
        let buffers = Buffers::default();
        let fresh = |buffers: &Buffers| buffers.lock().fresh.len();
        let in_row = ROW / LARGE;
        let mut first = buffers.take(LARGE).unwrap();
        assert_eq!(fresh(&buffers), in_row - 1);
        assert!(buffers.lock().fresh.iter().all(|block| block.is_untouched()));
        first.append(b"something").unwrap();
        // A little smaller: the next one of the row, which has nothing of the others.
        let second = buffers.take(LARGE - 7).unwrap();
        assert_eq!((second.room(), fresh(&buffers)), (LARGE, in_row - 2));
        assert!(second.memory.iter().all(|&byte| byte == 0));
        // What was used already is used before what was not.
        let place = first.as_ptr();
        drop(first);
        assert_eq!((buffers.take(LARGE).unwrap().as_ptr(), fresh(&buffers)), (place, in_row - 2));
        // Larger ones have a row of their own beside it, and those that are larger than half a row have none.
        let larger = buffers.take(ROW / 4).unwrap();
        assert_eq!((larger.room(), fresh(&buffers)), (ROW / 4, in_row - 2 + 3));
        drop(buffers.take(ROW / 2 + 1).unwrap());
        assert_eq!(fresh(&buffers), in_row - 2 + 3);
        // The oldest are given up where it becomes too much.
        let _other = buffers.take(ROW / 16).unwrap();
        let sizes: Vec<usize> = buffers.lock().fresh.iter().map(|block| block.len()).collect();
        let count = |size: usize| sizes.iter().filter(|&&other| other == size).count();
        assert_eq!((count(ROW / 4), count(ROW / 16)), (3, 15));
        assert_eq!(count(LARGE), (FRESH_BYTES - 3 * ROW / 4 - 15 * ROW / 16) / LARGE);
    }

    #[test]
    fn the_neighbour_of_what_is_used_comes_next_and_no_room_is_wasted() {
        let row: Vec<Block> = (0..3).map(|_| Block::new(LARGE).unwrap()).collect();
        let places: Vec<*const u8> = row.iter().map(|block| block.as_ptr()).collect();
        let mut idle = Idle::default();
        assert!(idle.keep_fresh(row).is_empty());
        assert!(idle.keep(Block::new(2 * LARGE).unwrap()).is_empty());
        let mut find = |bytes| idle.find(bytes).map(|block| (block.as_ptr(), block.len()));
        assert_eq!(find(LARGE / 2 - 1), None);
        assert_eq!(find(LARGE / 2), Some((places[0], LARGE)));
        // What was used already, unless it is much too large.
        assert_eq!(find(LARGE).unwrap().1, 2 * LARGE);
        assert_eq!(find(LARGE).unwrap().0, places[1]);
        // Of those that were used, the smallest that fits, and of these the last one.
        let sizes = [4, 2, 3, 2, 4].map(|size| size * UNIT);
        sizes.iter().for_each(|&size| drop(idle.keep(Block::new(size).unwrap())));
        let last = idle.used[3].as_ptr();
        assert_eq!(idle.find(2 * UNIT - 1).unwrap().as_ptr(), last);
        assert_eq!(idle.find(2 * UNIT + 1).unwrap().len(), 3 * UNIT);
    }

    #[test]
    fn what_is_appended_finds_room() {
        let mut buffer = Buffers::default().take(3).unwrap();
        // From the allocator's memory to pages, and to more of them.
        let bytes: Vec<u8> = (0..=255).cycle().take(5 * UNIT).collect();
        for part in bytes.chunks(1007) {
            buffer.append(part).unwrap();
        }
        assert_eq!(*buffer, bytes);
    }
}
