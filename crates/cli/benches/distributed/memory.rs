//! How much memory an API process takes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use filejobs_cli::sample::Sample;
use filejobs_testkit::{events, processes};
use futures::future::try_join_all;
use futures::stream;
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use tokio::runtime::Runtime;

use crate::report::{Row, memory, sample};
use crate::stage::{Stage, good};

/// Many large files at a time. Nothing works on them: only taking them is measured.
pub(crate) fn uploads(runtime: &Runtime, mb: Option<u64>) -> anyhow::Result<Vec<Row>> {
    const UPLOADS: u64 = 50;
    let mb = mb.unwrap_or(500);
    let mut rows = Vec::new();
    Sample {
        rows: 3_000,
        ..Sample::default()
    }
    .write(&mut rows)?;
    let block = Bytes::from(rows);
    let blocks = (mb * 1_000_000 / block.len() as u64).max(1);
    runtime.block_on(async {
        let stage = Stage::set().await?;
        room_for(&stage, UPLOADS * mb)?;
        let before = processes::resident_bytes(stage.api.pid());
        let begun = Instant::now();
        let all = (0..UPLOADS).map(|_| {
            let block = block.clone();
            let body =
                stream::iter((0..blocks).map(move |_| Ok::<_, std::io::Error>(block.clone())));
            let part = Part::stream(Body::wrap_stream(body)).file_name("large.csv");
            let request = stage.client.post(stage.url("/api/files/upload"));
            good(request.multipart(Form::new().part("file", part)))
        });
        try_join_all(all).await?;
        let took = begun.elapsed().as_secs_f64();
        let row = memory(
            format!("API process, at most, while {UPLOADS} uploads of {mb} MB run"),
            100,
            processes::peak_resident_bytes(stage.api.pid()),
        );
        let measured = format!(
            "{} ({:.1} MiB before; {took:.0} s, {:.0} MB/s)",
            row.measured,
            before as f64 / f64::from(1 << 20),
            (UPLOADS * mb) as f64 / took
        );
        Ok(vec![Row { measured, ..row }])
    })
}

/// Fails when the disk is too small for what is to come.
fn room_for(stage: &Stage, mb: u64) -> anyhow::Result<()> {
    const SPARE_MB: u64 = 5_000;
    let folder = stage.cluster.files();
    let disk = rustix::fs::statvfs(folder.parent().unwrap_or(&folder))?;
    let free = disk.f_bavail * disk.f_frsize / 1_000_000;
    anyhow::ensure!(
        free >= mb + SPARE_MB,
        "{mb} MB are to be written, but only {free} MB are free; give `uploads=MB` for smaller files"
    );
    Ok(())
}

/// Many clients that listen to jobs that wait; then the jobs end.
pub(crate) fn streams(runtime: &Runtime, streams: Option<u64>) -> anyhow::Result<Vec<Row>> {
    const JOBS: usize = 20;
    let streams = streams.unwrap_or(2_000) as usize;
    runtime.block_on(async {
        let stage = Stage::set().await?;
        let upload = sample(10, 10.0)?;
        let jobs = try_join_all((0..JOBS).map(|_| stage.submit(&upload))).await?;
        let before = processes::resident_bytes(stage.api.pid());
        let mut listening = Vec::new();
        for number in 0..streams {
            let url = stage.url(&format!("/api/jobs/{}/events", jobs[number % JOBS]));
            let response = stage.client.get(url).send().await?.error_for_status()?;
            listening.push(tokio::spawn(events::read_until(response, "finished")));
        }
        // Long enough for all that streams do while nothing happens.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let open = processes::resident_bytes(stage.api.pid());
        let begun = Instant::now();
        for job in &jobs {
            let url = stage.url(&format!("/api/jobs/{job}/cancel"));
            good(stage.client.post(url)).await?;
        }
        for listener in listening {
            let told = listener.await??;
            let last = told.last().context("a stream told nothing")?;
            anyhow::ensure!(last.name == "finished", "{last:?}");
        }
        let told = begun.elapsed().as_secs_f64();
        let peak = processes::peak_resident_bytes(stage.api.pid());
        let row = memory(
            format!("API process with {streams} open event streams, at most"),
            200,
            peak,
        );
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let measured = format!(
            "{} ({:.1} MiB before, {:.1} MiB open; all told of the end after {told:.2} s)",
            row.measured,
            mib(before),
            mib(open)
        );
        Ok(vec![Row { measured, ..row }])
    })
}
