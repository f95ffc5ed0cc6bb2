//! A layer of an image: a tar of files that does not depend on who writes it, where and when.

use std::collections::BTreeMap;

use anyhow::Result;
use tar::{Builder, EntryType, Header};

/// The files of a layer by path without a leading slash, sorted, so that directories come before their contents.
#[derive(Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    kind: EntryType,
    mode: u32,
    content: Vec<u8>,
}

impl Layer {
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32) -> Self {
        let (kind, content) = (EntryType::Directory, Vec::new());
        self.entries.insert(format!("{path}/"), Entry { kind, mode, content });
        self
    }

    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        let (kind, content) = (EntryType::Regular, content.into());
        self.entries.insert(path.to_owned(), Entry { kind, mode, content });
        self
    }

    /// The tar, in which everything belongs to root and has this time, in seconds since 1970.
    ///
    /// # Errors
    /// When a path is too long for a tar.
    pub fn tar(&self, time: u64) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = Header::new_ustar();
            header.set_entry_type(entry.kind);
            header.set_mode(entry.mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(time);
            header.set_size(entry.content.len() as u64);
            tar.append_data(&mut header, path, entry.content.as_slice())?;
        }
        Ok(tar.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_sorted_and_belong_to_root() {
        let layer = Layer::default()
            .file("program", 0o755, "binary")
            .file("etc/passwd", 0o644, "root")
            .directory("etc", 0o755)
            .directory("tmp", 0o1777);
        let tar = layer.tar(7).unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
                (0, 0, 7)
            );
            assert_eq!(header.username().unwrap(), Some(""));
            found.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
        }
        let expected = [
            ("etc/", 0o755),
            ("etc/passwd", 0o644),
            ("program", 0o755),
            ("tmp/", 0o1777),
        ];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
