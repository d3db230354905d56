//! Findings: written ahead, seen only once committed, read in the order of rows from any place.

use filejobs_core::finding::CodeCounts;
use filejobs_core::{Finding, FindingCode, JobId, JobState};

use super::{Bench, assert_status, effects, facts, finding, tally};
use crate::{
    Error, FindingCursor, FindingFilter, Listed, NewJob, Page, PlanCommit, StoredFinding,
    TaskCommit, TaskKind,
};

const CODES: [FindingCode; 3] = [
    FindingCode::TypeError,
    FindingCode::ConstraintError,
    FindingCode::MissingCell,
];
const COLUMNS: [&str; 2] = ["id", "value"];

/// Findings of rows `first..first + rows`: one or two a row, codes and columns mixed.
fn mixed(first: u64, rows: u64) -> Vec<Finding> {
    let of_row = |row: u64| {
        (0..=row as u32 % 2).map(move |seq| {
            let code = CODES[(row as usize + seq as usize) % 3];
            finding(row, seq, code, COLUMNS[(row as usize / 2) % 2])
        })
    };
    (first..first + rows).flat_map(of_row).collect()
}

fn with_findings(bench: &Bench, findings: &[Finding], rows: u64) -> TaskCommit {
    let mut commit = effects(rows, rows);
    commit.tally.errors_by_code = CodeCounts::default();
    for finding in findings {
        commit.tally.errors_by_code.add(finding.code);
    }
    commit.tally.errors_stored = findings.len() as u64;
    commit.findings = Some(bench.findings_file(findings));
    commit
}

/// A finished job of three pieces, committed out of order, each with `rows` bad rows; and all its findings in order.
async fn three_pieces(bench: &Bench, rows: u64, max: u64) -> (JobId, Vec<Finding>) {
    let mut new = bench.new_job();
    new.task.kind = TaskKind::Plan;
    new.findings_max = max;
    let id = bench.hand_in(new).await.id;
    let plan = bench.claim_next().await;
    let mut header = finding(0, 0, FindingCode::DuplicateLabel, "id");
    header.cell = None;
    header.byte_offset = None;
    header.raw_value = None;
    let mut counted = tally(0, 0);
    counted.errors_by_code.add(header.code);
    let plan_commit = PlanCommit {
        facts: facts(),
        tally: counted,
        rows_total: rows * 3,
        pieces: (0..3).map(|n| bench.new_task(TaskKind::Piece, n)).collect(),
        findings: Some(bench.findings_file(std::slice::from_ref(&header))),
        spends_upload: false,
    };
    let committed = bench.store.commit_plan(plan.task, 1, plan_commit).await;
    committed.expect("committed");
    let pieces = bench.claim_all().await;
    let mut all = vec![header];
    let of_piece = |n: usize| mixed(1 + rows * n as u64, rows);
    for n in [1, 2, 0] {
        let commit = with_findings(bench, &of_piece(n), rows);
        bench.commit(&pieces[n], commit).await;
    }
    (0..3).for_each(|n| all.extend(of_piece(n)));
    (id, all)
}

async fn page(
    bench: &Bench,
    id: JobId,
    filter: &FindingFilter,
    page: Page<FindingCursor>,
) -> Listed<StoredFinding, FindingCursor> {
    let listed = bench.store.findings(id, filter, page).await;
    listed.expect("answers").expect("the job is there")
}

fn plain(listed: &Listed<StoredFinding, FindingCursor>) -> Vec<Finding> {
    listed.items.iter().map(|s| s.finding.clone()).collect()
}

fn filters() -> Vec<FindingFilter> {
    let mut filters = Vec::new();
    for code in [
        None,
        Some(CODES[0]),
        Some(CODES[2]),
        Some(FindingCode::BlankRow),
    ] {
        for column in [None, Some("id"), Some("no such column")] {
            filters.push(FindingFilter {
                code,
                column: column.map(str::to_owned),
            });
        }
    }
    filters
}

fn lets_through(filter: &FindingFilter, finding: &Finding) -> bool {
    filter.code.is_none_or(|code| finding.code == code)
        && (filter.column.is_none() || finding.column_name == filter.column)
}

/// Every field comes back, the header's findings first, whatever the order of commits.
pub async fn findings_come_back_in_row_order(bench: &Bench) {
    let (id, all) = three_pieces(bench, 5, 1_000).await;
    let whole = Page::Offset {
        offset: 0,
        limit: 500,
    };
    let listed = page(bench, id, &FindingFilter::default(), whole).await;
    assert_eq!(plain(&listed), all);
    assert_eq!((listed.total, listed.next), (all.len() as u64, None));
    assert_eq!(listed.items[0].created_at, bench.sources.now());
    let job = bench.get(id).await;
    assert_eq!(
        (job.errors_stored, job.errors_truncated),
        (all.len() as u64, false)
    );
    let bare = Finding {
        byte_offset: None,
        column_name: None,
        column_number: None,
        cell: None,
        raw_value: None,
        ..finding(1, 0, FindingCode::BlankRow, "")
    };
    let commit = with_findings(bench, std::slice::from_ref(&bare), 1);
    let job = bench.finished(bench.new_job(), commit).await;
    let listed = page(bench, job.id, &FindingFilter::default(), whole).await;
    assert_eq!(plain(&listed), [bare]);
}

/// Filters change what is listed and counted, never its order.
pub async fn findings_are_filtered_by_code_and_column(bench: &Bench) {
    let (id, all) = three_pieces(bench, 7, 1_000).await;
    for filter in filters() {
        let wanted: Vec<_> = all
            .iter()
            .filter(|f| lets_through(&filter, f))
            .cloned()
            .collect();
        for offset in [0, 1, wanted.len() as u64 / 2, 1_000] {
            for limit in [1, 4, 100] {
                let listed = page(bench, id, &filter, Page::Offset { offset, limit }).await;
                let expected: Vec<_> = wanted
                    .iter()
                    .skip(offset as usize)
                    .take(limit as usize)
                    .cloned()
                    .collect();
                assert_eq!(plain(&listed), expected, "{filter:?} {offset} {limit}");
                assert_eq!(listed.total, wanted.len() as u64);
                let more = offset + u64::from(limit) < listed.total;
                assert_eq!(listed.next.is_some(), more, "{filter:?} {offset} {limit}");
            }
        }
    }
}

/// More findings than fit into one of the transactions that write them; any place is exact.
pub async fn deep_pages_are_exact(bench: &Bench) {
    let findings = mixed(1, 7_000);
    let count = findings.len() as u64;
    let commit = with_findings(bench, &findings, 7_000);
    let job = bench.finished(bench.new_job(), commit).await;
    assert_eq!(job.errors_stored, count);
    for offset in [0, 3_999, 4_000, 8_123, count - 2, count] {
        let deep = Page::Offset { offset, limit: 3 };
        let listed = page(bench, job.id, &FindingFilter::default(), deep).await;
        let expected: Vec<_> = findings
            .iter()
            .skip(offset as usize)
            .take(3)
            .cloned()
            .collect();
        assert_eq!(plain(&listed), expected, "{offset}");
    }
    for at in [0, 1, 3_998, 3_999, 7_777, count as usize - 2] {
        let cursor = Some(FindingCursor {
            row_number: findings[at].row_number,
            seq: findings[at].seq,
        });
        let after = Page::After { cursor, limit: 2 };
        let listed = page(bench, job.id, &FindingFilter::default(), after).await;
        let expected: Vec<_> = findings.iter().skip(at + 1).take(2).cloned().collect();
        assert_eq!(plain(&listed), expected, "{at}");
    }
}

/// Pages by cursor show each finding once, with and without filters, and across pieces.
pub async fn a_cursor_walks_all_findings(bench: &Bench) {
    let (id, all) = three_pieces(bench, 6, 1_000).await;
    for filter in filters() {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let listed = page(bench, id, &filter, Page::After { cursor, limit: 4 }).await;
            seen.extend(plain(&listed));
            cursor = listed.next;
            if cursor.is_none() {
                break;
            }
        }
        let wanted: Vec<_> = all
            .iter()
            .filter(|f| lets_through(&filter, f))
            .cloned()
            .collect();
        assert_eq!(seen, wanted, "{filter:?}");
    }
    let past = Some(FindingCursor {
        row_number: u64::from(u32::MAX),
        seq: 0,
    });
    let listed = page(
        bench,
        id,
        &FindingFilter::default(),
        Page::After {
            cursor: past,
            limit: 4,
        },
    )
    .await;
    assert_eq!((plain(&listed), listed.next), (vec![], None));
}

/// The cap counts in the order of rows, not of commits, for filtered lists, too.
pub async fn the_cap_keeps_the_first_rows(bench: &Bench) {
    for max in [0, 1, 5, 9, 13] {
        let (id, all) = three_pieces(bench, 5, max).await;
        let job = bench.get(id).await;
        assert_status(&job, JobState::Completed);
        assert_eq!((job.errors_stored, job.errors_truncated), (max, true));
        assert_eq!(job.errors_by_code.total(), all.len() as u64);
        let kept = &all[..max as usize];
        for filter in filters() {
            let wanted: Vec<_> = kept
                .iter()
                .filter(|f| lets_through(&filter, f))
                .cloned()
                .collect();
            let listed = page(
                bench,
                id,
                &filter,
                Page::Offset {
                    offset: 0,
                    limit: 50,
                },
            )
            .await;
            assert_eq!(plain(&listed), wanted, "{max} {filter:?}");
            assert_eq!(listed.total, wanted.len() as u64, "{max} {filter:?}");
        }
    }
}

/// Before its task is done, and after its attempt is lost, a finding does not exist.
pub async fn nobody_sees_findings_that_are_not_committed(bench: &Bench) {
    let job = bench.planned(2, |_| {}).await;
    let pieces = bench.claim_all().await;
    let all = Page::Offset {
        offset: 0,
        limit: 50,
    };
    let seen = || async {
        page(bench, job.id, &FindingFilter::default(), all)
            .await
            .total
    };
    bench
        .store
        .release(pieces[0].task, 1)
        .await
        .expect("released");
    let late = bench
        .store
        .commit(pieces[0].task, 1, bench.effects(1, 10, 5))
        .await;
    assert!(matches!(late, Err(Error::Stale)));
    assert_eq!(seen().await, 0);
    bench.commit(&pieces[1], bench.effects(11, 10, 3)).await;
    assert_eq!(seen().await, 3);
    let again = bench.claim_next().await;
    bench.commit(&again, bench.effects(1, 10, 5)).await;
    assert_eq!(seen().await, 8);
}

/// What cannot be read leaves the task as it was, for another attempt.
pub async fn a_broken_findings_file_commits_nothing(bench: &Bench) {
    bench.job().await;
    let claimed = bench.claim_next().await;
    let mut commit = bench.effects(1, 10, 5);
    let path = commit.findings.clone().expect("a file");
    let mut text = std::fs::read_to_string(&path).expect("read");
    text.push_str("{\"row_number\": 1, \n");
    std::fs::write(&path, text).expect("written");
    let broken = bench.store.commit(claimed.task, 1, commit.clone()).await;
    assert!(matches!(broken, Err(Error::Findings(_))), "{broken:?}");
    commit.findings = Some(path.with_extension("missing"));
    let missing = bench.store.commit(claimed.task, 1, commit).await;
    assert!(matches!(missing, Err(Error::Findings(_))), "{missing:?}");
    let job = bench.get(claimed.job.id).await;
    assert_status(&job, JobState::Processing);
    assert_eq!((job.rows_processed, job.errors_stored), (0, 0));
    let commit = bench.effects(1, 10, 5);
    assert_status(&bench.commit(&claimed, commit).await, JobState::Completed);
}

/// A page of nothing and no job are told apart.
pub async fn an_unknown_job_has_no_findings(bench: &Bench) {
    let all = Page::Offset {
        offset: 0,
        limit: 50,
    };
    let filter = FindingFilter::default();
    let unknown = bench
        .store
        .findings(bench.sources.job_id(), &filter, all)
        .await;
    assert_eq!(unknown.expect("answers"), None);
    let job = bench.hand_in(NewJob { ..bench.new_job() }).await;
    assert_eq!(page(bench, job.id, &filter, all).await.total, 0);
}
