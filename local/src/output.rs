//! The terminal: one writer for everything, so that lines of different processes never mix.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{IsTerminal, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// Where everything is printed. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
    colour: bool,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("colour", &self.colour)
            .finish_non_exhaustive()
    }
}

/// How wide the names before the lines of processes are.
const NAME_WIDTH: usize = 14;
/// Colours that differ clearly on light and on dark terminals.
const COLOURS: [u8; 6] = [32, 33, 34, 35, 36, 31];

impl Output {
    /// Prints to the standard output, in colour when it is a terminal and `NO_COLOR` is not set.
    pub fn stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::to(std::io::stdout(), wanted && std::io::stdout().is_terminal())
    }

    /// Prints to any writer.
    pub fn to(writer: impl Write + Send + 'static, colour: bool) -> Self {
        Self {
            writer: Arc::new(Mutex::new(Box::new(writer))),
            colour,
        }
    }

    /// Whether colours are wanted.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Prints a line of a process, or of a part of ours, under its name.
    pub(crate) fn print_line(&self, name: &str, text: &str) {
        let name = format!("{name:<NAME_WIDTH$}");
        if self.colour {
            self.write(&format!("\x1b[{}m{name} |\x1b[0m {text}\n", colour_of(name.trim_end())));
        } else {
            self.write(&format!("{name} | {text}\n"));
        }
    }

    /// Prints text as it is, with a line end after it.
    pub fn print(&self, text: &str) {
        self.write(&format!("{}\n", text.trim_end_matches('\n')));
    }

    /// Errors are ignored: the terminal is gone then.
    fn write(&self, text: &str) {
        let mut writer = self.writer.lock();
        let _ = writer.write_all(text.as_bytes());
        let _ = writer.flush();
    }
}

fn colour_of(name: &str) -> u8 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let index = hasher.finish() % COLOURS.len() as u64;
    usize::try_from(index)
        .ok()
        .and_then(|index| COLOURS.get(index).copied())
        .unwrap_or(36)
}
