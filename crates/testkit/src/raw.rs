//! HTTP by hand: for requests that no decent client would send.

use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection on which bytes are sent as they are.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

/// What came back.
#[derive(Debug)]
pub struct RawAnswer {
    /// The status code.
    pub status: u16,
    /// Header and body as they came.
    pub text: String,
}

impl Raw {
    /// Connects to `http://HOST:PORT`.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let address = url
            .strip_prefix("http://")
            .context("an http address is expected")?;
        Ok(Self {
            stream: TcpStream::connect(address.trim_end_matches('/')).await?,
        })
    }

    /// Sends bytes; an error when the service does not take them any more.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Whether an answer has begun to arrive.
    pub async fn is_answered(&self) -> bool {
        let mut byte = [0];
        let peeked = timeout(Duration::from_millis(1), self.stream.peek(&mut byte)).await;
        matches!(peeked, Ok(Ok(1..)))
    }

    /// Reads the answer until the service closes or is silent once a whole body has come.
    pub async fn answer(mut self) -> anyhow::Result<RawAnswer> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = timeout(ANSWER, self.stream.read(&mut buffer))
                .await
                .context("no answer")?;
            match read {
                Ok(0) | Err(_) => break,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            }
            if is_whole(&bytes) {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(RawAnswer {
            status: status.with_context(|| format!("no answer but {text:?}"))?,
            text,
        })
    }
}

/// Whether a body of the announced length is there.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: Option<usize> = length.and_then(|value| value.trim().parse().ok());
    length.is_some_and(|length| bytes.len() >= head.len() + 4 + length)
}

/// The head of an upload form and of its file part, up to the file's first byte, for a body of `length` bytes or,
/// without one, in chunks.
#[must_use]
pub fn upload_head(length: Option<u64>, name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let framing = match length {
        Some(length) => format!("Content-Length: {length}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    let head = format!(
        "POST /api/files/upload HTTP/1.1\r\nHost: test\r\nContent-Type: multipart/form-data; boundary=frontier\r\n\
         {framing}\r\n\r\n"
    );
    let mut part =
        b"--frontier\r\nContent-Disposition: form-data; name=\"file\"; filename=\"".to_vec();
    part.extend_from_slice(name);
    part.extend_from_slice(b"\"\r\nContent-Type: text/csv\r\n\r\n");
    (head.into_bytes(), part)
}

/// The end of an upload form whose file comes last.
pub const UPLOAD_END: &[u8] = b"\r\n--frontier--\r\n";

/// Bytes as one chunk of a chunked body.
#[must_use]
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
