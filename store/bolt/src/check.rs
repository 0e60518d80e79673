//! Checking a whole database: every page is used once, or free.

use crate::page::LEAF;
use crate::read::{Db, Page, ReadAt};
use crate::{Error, Items, page};

/// Buckets within buckets; etcd has none.
const NESTING_MAX: usize = 16;

/// What a check has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub buckets: u64,
    pub keys: u64,
    pub pages_used: u64,
    /// As the file says, or if it does not, all that are not used.
    pub pages_free: u64,
}

impl<S: ReadAt> Db<S> {
    /// Reads everything. An error names a page that is used twice, is used and free, is neither, or
    /// cannot be read.
    pub fn check(&self) -> Result<Usage, Error> {
        let mut pages = Pages { used: Bits::new(self.meta().high_water), usage: Usage::default() };
        pages.used.take(0)?;
        pages.used.take(1)?;
        let free = self.freelist()?;
        if let Some((page, _)) = &free {
            pages.take(page)?;
        }
        pages.tree(self, self.meta().root, 0)?;
        pages.bucket(self.root(), 0)?;
        let mut listed = Bits::new(self.meta().high_water);
        if let Some((page, ids)) = &free {
            for &id in ids {
                if id < 2 || id >= self.meta().high_water {
                    return Err(Error::damaged(page.id, format!("it lists page {id}, which is not there")));
                }
                if pages.used.has(id) {
                    return Err(Error::damaged(id, "it is used, and listed as free"));
                }
                listed.take(id)?;
            }
        }
        let mut usage = pages.usage;
        for id in 0..self.meta().high_water {
            match (pages.used.has(id), listed.has(id)) {
                (true, _) => usage.pages_used += 1,
                (false, true) => usage.pages_free += 1,
                (false, false) if free.is_none() => usage.pages_free += 1,
                (false, false) => return Err(Error::damaged(id, "it is neither used nor free")),
            }
        }
        Ok(usage)
    }
}

struct Pages {
    used: Bits,
    usage: Usage,
}

impl Pages {
    fn take(&mut self, page: &Page) -> Result<(), Error> {
        (0..=u64::from(page.header.overflow)).try_for_each(|i| self.used.take(page.id + i))
    }

    /// Marks the pages of one bucket. No page is taken twice, so this ends.
    fn tree<S: ReadAt>(&mut self, db: &Db<S>, root: u64, depth: usize) -> Result<(), Error> {
        let page = db.page(root)?;
        if depth > 64 {
            return Err(Error::damaged(root, "it lies too deep"));
        }
        self.take(&page)?;
        if page.header.flags & LEAF == 0 {
            for i in 0..usize::from(page.header.count) {
                self.tree(db, page::branch_element(&page.data, page.id, i)?, depth + 1)?;
            }
        }
        Ok(())
    }

    fn bucket<S: ReadAt>(&mut self, mut items: Items<'_, S>, nesting: usize) -> Result<(), Error> {
        self.usage.buckets += 1;
        while let Some(item) = items.next()? {
            self.usage.keys += 1;
            if !item.is_bucket {
                continue;
            }
            if nesting >= NESTING_MAX {
                return Err(Error::damaged(item.page, "buckets lie too deep in one another"));
            }
            let inner = items.enter(&item)?;
            if let Some(root) = page::u64_at(&item.value, 0).filter(|root| *root != 0) {
                self.tree(items.db(), root, 0)?;
            }
            self.bucket(inner, nesting + 1)?;
        }
        Ok(())
    }
}

struct Bits(Vec<u64>);

impl Bits {
    /// The caller knows that the file has so many pages, so this is a fraction of its size.
    fn new(count: u64) -> Self {
        Self(vec![0; (count as usize).div_ceil(64)])
    }

    fn has(&self, id: u64) -> bool {
        self.0.get(id as usize / 64).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    fn take(&mut self, id: u64) -> Result<(), Error> {
        let word = self.0.get_mut(id as usize / 64).ok_or_else(|| Error::damaged(id, "it is not there"))?;
        let bit = 1 << (id % 64);
        if *word & bit != 0 {
            return Err(Error::damaged(id, "it is used twice"));
        }
        *word |= bit;
        Ok(())
    }
}
