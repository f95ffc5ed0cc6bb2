//! A map with string keys, split into parts that clones share until one changes them.

use std::collections::HashMap;
use std::sync::Arc;

/// Enough that a change among ten thousand entries copies forty of them.
const SHARDS: usize = 256;

type Shard<V> = HashMap<Arc<str>, V>;

#[derive(Debug, Clone)]
pub struct Shards<V> {
    shards: Arc<[Arc<Shard<V>>]>,
    len: usize,
}

impl<V: Clone> Shards<V> {
    pub fn new() -> Self {
        let empty = Arc::new(HashMap::new());
        Self {
            shards: std::iter::repeat_n(empty, SHARDS).collect(),
            len: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, key: &str) -> Option<&V> {
        self.shards[shard_of(key)].get(key)
    }

    pub fn insert(&mut self, key: &str, value: V) {
        if self.shard(key).insert(key.into(), value).is_none() {
            self.len += 1;
        }
    }

    pub fn entry(&mut self, key: &str) -> &mut V
    where
        V: Default,
    {
        if self.get(key).is_none() {
            self.insert(key, V::default());
        }
        self.shard(key).entry(key.into()).or_default()
    }

    pub fn remove(&mut self, key: &str) -> Option<V> {
        // Checked first, so that a miss copies nothing.
        self.get(key)?;
        let removed = self.shard(key).remove(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    fn shard(&mut self, key: &str) -> &mut Shard<V> {
        let shards = Arc::make_mut(&mut self.shards);
        Arc::make_mut(&mut shards[shard_of(key)])
    }
}

/// FNV-1a. It only distributes entries over shards, each of which has its own hash.
fn shard_of(key: &str) -> usize {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash >> 32).unwrap_or_default() % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_a_clone_copies_one_shard_and_a_miss_none() {
        let mut original = Shards::new();
        (0..10_000).for_each(|i: u32| original.insert(&format!("host-{i}"), i));
        let shared = |clone: &Shards<u32>| {
            let pairs = original.shards.iter().zip(clone.shards.iter());
            pairs.filter(|(a, b)| Arc::ptr_eq(a, b)).count()
        };
        let mut clone = original.clone();
        assert_eq!(clone.remove("nobody"), None);
        assert_eq!(shared(&clone), SHARDS);
        clone.insert("host-7", 0);
        assert_eq!(shared(&clone), SHARDS - 1);
        assert_eq!((original.get("host-7"), clone.get("host-7")), (Some(&7), Some(&0)));
    }

    #[test]
    fn entries_spread_over_all_shards() {
        let mut shards = Shards::new();
        (0..10_000).for_each(|i: u32| shards.insert(&format!("host-{i}.example"), i));
        let largest = shards.shards.iter().map(|shard| shard.len()).max();
        assert!(largest.is_some_and(|entries| entries < 100), "{largest:?} of 10000");
    }
}
