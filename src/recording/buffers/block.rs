//! Pieces of memory, and what the system is asked for them.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Smaller blocks are left to the allocator, which uses such memory again by itself. Sizes are multiples of this, so that
/// chunks of about the same size fit into the same blocks.
pub const UNIT: usize = 64 * 1024;

/// From this size on, huge pages are asked for: after it did something else, finding memory in many small pages takes the
/// processor longer than copying it.
pub const LARGE: usize = 512 * 1024;

/// There is not enough memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is not enough memory")]
pub struct NoMemory;

/// A piece of memory.
pub enum Block {
    /// The allocator's.
    Small(Vec<u8>),
    /// The system's own pages, which it has back when they are no longer used; huge ones, when all of them is unused or
    /// memory is short. What is freed between other things stays with an allocator, and a server that runs for weeks
    /// would have more and more of that.
    Pages {
        memory: MmapMut,
        /// For how many bytes at the front the system was asked to give pages.
        populated: usize,
    },
}

/// Whether the system may use huge pages for a block of so many bytes, together with its neighbours.
pub fn may_be_huge(bytes: usize) -> bool {
    bytes >= LARGE && system::has_huge_pages()
}

impl Block {
    /// With room for so many bytes, and perhaps for more.
    pub fn new(bytes: usize) -> Result<Self, NoMemory> {
        if bytes >= UNIT {
            let room = bytes.checked_next_multiple_of(UNIT).ok_or(NoMemory)?;
            let memory = MmapMut::map_anon(room).map_err(|_| NoMemory)?;
            if may_be_huge(bytes) {
                system::use_huge_pages(&memory);
            }
            return Ok(Block::Pages { memory, populated: 0 });
        }
        let mut memory = Vec::new();
        memory.try_reserve_exact(bytes).map_err(|_| NoMemory)?;
        memory.resize(bytes, 0);
        Ok(Block::Small(memory))
    }

    /// Asks the system to give pages for so many bytes at the front, as far as it was not asked before.
    pub fn populate(&mut self, bytes: usize) {
        if let Block::Pages { memory, populated } = self
            && bytes > *populated
        {
            system::give_pages(memory, *populated..bytes);
            *populated = bytes;
        }
    }

    /// Whether the system was not asked for pages yet.
    #[cfg(test)]
    pub fn is_untouched(&self) -> bool {
        matches!(self, Block::Pages { populated: 0, .. })
    }
}

impl Default for Block {
    fn default() -> Self {
        Block::Small(Vec::new())
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Block::Small(memory) => memory,
            Block::Pages { memory, .. } => memory,
        }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Block::Small(memory) => memory,
            Block::Pages { memory, .. } => memory,
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::ops::Range;
    use std::sync::LazyLock;

    use memmap2::{Advice, MmapMut};

    /// Huge pages of more bytes would waste too much.
    const HUGE_PAGE: usize = 2 * 1024 * 1024;

    /// Pages are given in so many bytes at once. Meanwhile no other thread can give memory back.
    const STEP: usize = 1024 * 1024;

    /// Whether the system has huge pages of a useful size.
    pub fn has_huge_pages() -> bool {
        static HAS: LazyLock<bool> = LazyLock::new(|| {
            let size = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
            size.is_ok_and(|size| size.trim().parse().is_ok_and(|size: usize| size <= HUGE_PAGE))
        });
        *HAS
    }

    /// Where the system has none left, small ones have to do.
    pub fn use_huge_pages(memory: &MmapMut) {
        memory.advise(Advice::HugePage).unwrap_or_default();
    }

    /// Has the system give pages for a part of fresh memory, all at once: a page fault for each of them takes twice as
    /// long. Where the system can't do that, they come one by one.
    pub fn give_pages(memory: &MmapMut, part: Range<usize>) {
        let end = part.end;
        for start in part.step_by(STEP) {
            memory.advise_range(Advice::PopulateWrite, start, STEP.min(end - start)).unwrap_or_default();
        }
    }
}

/// Other systems are asked for nothing.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::ops::Range;

    use memmap2::MmapMut;

    pub fn has_huge_pages() -> bool {
        false
    }

    pub fn use_huge_pages(_: &MmapMut) {}

    pub fn give_pages(_: &MmapMut, _: Range<usize>) {}
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_asked_for() {
        let block = Block::new(LARGE).unwrap();
        // Other processors may have huge pages that are too large.
        let may =
            cfg!(target_arch = "x86_64") && std::fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap();
        let Some(maps) = std::fs::read_to_string("/proc/self/smaps").ok().filter(|_| may) else {
            println!("skipped: this system has no huge pages, or does not tell what it uses");
            return;
        };
        let mut holds = false;
        let flags = maps.lines().find_map(|line| {
            if let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-')) {
                let [from, to] = [from, to].map(|place| usize::from_str_radix(place, 16));
                holds = (from.unwrap()..to.unwrap()).contains(&block.as_ptr().addr());
            }
            line.strip_prefix("VmFlags:").filter(|_| holds)
        });
        assert!(flags.unwrap().split(' ').any(|flag| flag == "hg"), "{flags:?}");
    }
}
