//! Reads back what the engine found, for stores to write down: NDJSON, a part at a time, on a thread that may block.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use filejobs_core::Finding;
use tokio::sync::mpsc;

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

/// Sends the findings of a file in chunks of `size`, the last one shorter and never empty, or the error that ended the
/// reading. Ends early when nobody wants more.
pub fn read(path: &Path, size: usize, send: &mpsc::Sender<io::Result<Vec<Finding>>>) {
    if let Err(error) = each(path, size, send) {
        // Nobody waits for it only when the load has ended otherwise.
        let _ = send.blocking_send(Err(error));
    }
}

fn each(path: &Path, size: usize, send: &mpsc::Sender<io::Result<Vec<Finding>>>) -> io::Result<()> {
    let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
    let mut line = String::new();
    let mut chunk = Vec::new();
    loop {
        line.clear();
        let end = file.read_line(&mut line)? == 0;
        if !line.trim_ascii().is_empty() {
            chunk.push(serde_json::from_str(&line)?);
        }
        if (end && !chunk.is_empty()) || chunk.len() == size {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(size));
            if send.blocking_send(Ok(full)).is_err() {
                return Ok(());
            }
        }
        if end {
            return Ok(());
        }
    }
}
