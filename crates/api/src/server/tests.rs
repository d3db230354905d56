//! The server on a real socket, with clients that misbehave.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::tests::{Form, Service};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_mins(1);

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Running {
    async fn start(service: &Service, timeouts: Timeouts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = tokio::spawn(serve(listener, service.app.clone(), timeouts, shutdown));
        Self {
            address,
            stop: Some(stop),
            server,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, text: impl AsRef<[u8]>) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(text.as_ref()).await.unwrap();
        socket
    }
}

/// Everything that comes until the server closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes));
    // A reset after the answer is as good an end as any.
    let _ = read.await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The head of the next answer.
async fn head(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, socket.read_u8());
        text.push(byte.await.expect("an answer in time").unwrap());
    }
    String::from_utf8(text).unwrap()
}

fn short() -> Timeouts {
    let tenth = Duration::from_millis(200);
    Timeouts {
        header: tenth,
        body_idle: tenth,
        write_idle: tenth,
        drain: Duration::from_secs(5),
        grace: Duration::from_secs(5),
    }
}

fn upload_head(length: usize) -> String {
    format!(
        "POST /api/files/upload HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: {length}\r\n\r\n",
        Form::content_type()
    )
}

#[tokio::test]
async fn a_client_that_is_still_sending_can_read_that_its_file_is_too_large() {
    let service = Service::start_with(|limits| limits.upload_bytes = 5_000_000).await;
    let running = Running::start(&service, Timeouts::default()).await;
    let length = 9_000_000;
    let mut socket = running.send(upload_head(length)).await;
    // All of it goes out before a byte of the answer is read.
    let piece = vec![b'x'; 1_000_000];
    for _ in 0..9 {
        tokio::time::timeout(PATIENCE, socket.write_all(&piece))
            .await
            .unwrap()
            .unwrap();
    }
    let head = head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_is_refused_at_once() {
    let service = Service::start_with(|limits| limits.upload_bytes = 1_000).await;
    let running = Running::start(&service, Timeouts::default()).await;
    let head_text = upload_head(1_000_000).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let mut socket = running.send(head_text).await;
    let answer = head(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_header_that_does_not_come_ends_the_connection() {
    let service = Service::start().await;
    let running = Running::start(&service, short()).await;
    let mut silent = running.connect().await;
    let mut half = running.send("GET /api/limits HTTP/1.1\r\nhost:").await;
    assert_eq!(rest(&mut silent).await, "");
    let answer = rest(&mut half).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_a_problem() {
    let service = Service::start().await;
    let running = Running::start(&service, short()).await;
    let bytes = Form::file("a.csv", "id\n1\n").bytes();
    let mut socket = running.send(upload_head(bytes.len())).await;
    socket.write_all(&bytes[..bytes.len() - 20]).await.unwrap();
    let answer = head(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    crate::tests::eventually("nothing is left", || async { service.files() == 0 }).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let service = Service::start().await;
    let running = Running::start(&service, short()).await;
    // Many answers asked for at once, none of them read: the socket fills.
    let request = "GET /api/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut socket = running.connect().await;
    let began = Instant::now();
    loop {
        let write =
            tokio::time::timeout(Duration::from_secs(1), socket.write_all(request.as_bytes()));
        match write.await {
            Ok(Ok(())) | Err(_) => assert!(began.elapsed() < PATIENCE, "the server holds on"),
            Ok(Err(_)) => break,
        }
    }
}

#[tokio::test]
async fn connections_beyond_the_cap_are_told_to_come_again() {
    let service = Service::start_with(|limits| limits.connections = 1).await;
    let running = Running::start(&service, Timeouts::default()).await;
    let request = "GET /api/limits HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = running.send(request).await;
    assert!(head(&mut first).await.starts_with("HTTP/1.1 200 "));
    let mut second = running.connect().await;
    let answer = rest(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("soon"), "{answer}");
    drop(first);
    crate::tests::eventually("there is room again", || async {
        let mut third = running.connect().await;
        // The refusal can close the socket before the request is written.
        let _ = third.write_all(request.as_bytes()).await;
        let mut begin = [0; 12];
        third.read_exact(&mut begin).await.is_ok() && begin == *b"HTTP/1.1 200"
    })
    .await;
}

#[tokio::test]
async fn stopping_lets_requests_end_and_streams_close() {
    let service = Service::start().await;
    let job = service.upload("a.csv", "id\n1\n").await;
    let patient = Timeouts {
        grace: PATIENCE,
        ..Timeouts::default()
    };
    let mut running = Running::start(&service, patient).await;
    let stream = format!("GET /api/jobs/{job}/events HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut stream = running.send(stream).await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let bytes = Form::file("b.csv", "id\n1\n").bytes();
    let mut upload = running.send(upload_head(bytes.len())).await;
    upload.write_all(&bytes[..100]).await.unwrap();
    crate::tests::eventually("the upload has begun", || async { service.files() == 2 }).await;

    running.stop.take().unwrap().send(()).unwrap();
    rest(&mut stream).await;
    upload.write_all(&bytes[100..]).await.unwrap();
    assert!(head(&mut upload).await.starts_with("HTTP/1.1 202 "));
    tokio::time::timeout(PATIENCE, running.server)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn what_is_no_http_is_refused_without_a_trace() {
    let service = Service::start().await;
    let running = Running::start(&service, short()).await;
    for text in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let mut socket = running.send(text).await;
        let answer = rest(&mut socket).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let mut socket = running.send(large).await;
    assert!(rest(&mut socket).await.starts_with("HTTP/1.1 431 "));
}
