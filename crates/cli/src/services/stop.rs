//! When the service ends.

use std::io::{Read as _, Write as _};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Stops at SIGINT (Ctrl-C) and SIGTERM. A second one ends the process at once, as nothing is lost by that.
pub(crate) fn on_signals(stop: &CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut wait = async || {
            tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            }
        };
        let signal = wait().await;
        stop.cancel();
        tracing::info!(signal, "the service stops");
        // Nobody may be there to read it any more, which `eprintln` takes for a defect.
        let _ = writeln!(
            std::io::stderr(),
            "Stopping; what is under way is finished or given back. Once more to end at once."
        );
        let signal = wait().await;
        tracing::warn!(signal, "the service ends at once");
        leave();
    });
    Ok(())
}

#[expect(clippy::exit, reason = "asked for twice: no drain, no destructors")]
fn leave() -> ! {
    std::process::exit(130)
}

/// Stops when standard input ends: with the program that holds its other end, whatever way that ends.
pub(crate) fn when_stdin_closes(stop: &CancellationToken) -> std::io::Result<()> {
    let stop = stop.clone();
    // A thread of its own, which nobody waits for: a read of standard input cannot be called off.
    let reader = std::thread::Builder::new().name("stdin".to_owned());
    reader.spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; 256];
        while let Ok(1..) = stdin.read(&mut buffer) {}
        tracing::info!("standard input ended, the service stops");
        stop.cancel();
    })?;
    Ok(())
}
