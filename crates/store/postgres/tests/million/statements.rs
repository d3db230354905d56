//! Every statement's plan.

use std::path::Path;

use serde_json::Value;

use crate::{Million, is_small, million};

/// Statements that may walk through a table that grows: a part of the statement, and why.
const MAY_SCAN: &[(&str, &str)] = &[];

/// A statement of the crate, as `prepare` wrote it down.
struct Statement {
    text: String,
    parameters: usize,
}

fn statements() -> Vec<Statement> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let files = std::fs::read_dir(folder).expect("the prepared statements");
    let mut statements: Vec<_> = files
        .map(|file| {
            let text = std::fs::read_to_string(file.expect("a file").path()).expect("read");
            let prepared: Value = serde_json::from_str(&text).expect("JSON");
            Statement {
                text: prepared["query"].as_str().expect("a query").to_owned(),
                parameters: prepared["describe"]["parameters"]["Left"]
                    .as_array()
                    .map_or(0, Vec::len),
            }
        })
        .collect();
    statements.sort_by(|a, b| a.text.cmp(&b.text));
    statements
}

/// The plan that is used for any arguments: what a process comes to that runs a statement again and again.
fn plan(million: &Million, statement: &Statement) -> anyhow::Result<Value> {
    let nulls = vec!["NULL"; statement.parameters].join(", ");
    let arguments = if nulls.is_empty() {
        nulls
    } else {
        format!("({nulls})")
    };
    let explained = million.run(&format!(
        "SET plan_cache_mode = force_generic_plan; PREPARE asked AS {};
        EXPLAIN (FORMAT JSON) EXECUTE asked{arguments}",
        statement.text
    ))?;
    let plans: Value = serde_json::from_str(&explained)?;
    Ok(plans[0]["Plan"].clone())
}

/// Where a plan reads all of a table or of an index that grows.
fn scans(plan: &Value, walkable: &[&str], found: &mut Vec<String>) {
    let text = |key: &str| plan[key].as_str().unwrap_or_default();
    match text("Node Type") {
        "Seq Scan" if !is_small(text("Relation Name")) => {
            found.push(format!("all of the table `{}`", text("Relation Name")));
        }
        "Index Scan" | "Index Only Scan" | "Bitmap Index Scan"
            if plan["Index Cond"].is_null() && !walkable.contains(&text("Index Name")) =>
        {
            found.push(format!("all of the index `{}`", text("Index Name")));
        }
        _ => {}
    }
    for inner in plan["Plans"].as_array().into_iter().flatten() {
        scans(inner, walkable, found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_reads_all_of_a_table_that_grows() {
    let million = million().await;
    let indexes = million
        .run("SELECT indexrelid::regclass, indrelid::regclass, indpred IS NOT NULL FROM pg_index");
    let indexes = indexes.unwrap();
    // Those that hold few of a table's rows, and those of small tables.
    let walkable: Vec<&str> = indexes
        .lines()
        .map(|line| line.split('|').collect::<Vec<_>>())
        .filter(|index| index[2] == "t" || is_small(index[1]))
        .map(|index| index[0])
        .collect();
    let mut told = Vec::new();
    let mut allowed = vec![0; MAY_SCAN.len()];
    let statements = statements();
    assert!(statements.len() > 50, "{}", statements.len());
    for statement in &statements {
        let plan = plan(million, statement).unwrap();
        let mut found = Vec::new();
        scans(&plan, &walkable, &mut found);
        if found.is_empty() {
            continue;
        }
        match MAY_SCAN
            .iter()
            .position(|(part, _)| statement.text.contains(part))
        {
            Some(position) => allowed[position] += 1,
            None => told.push(format!("{}\n=> reads {}", statement.text, found.join(", "))),
        }
    }
    assert!(
        told.is_empty(),
        "statements that cost more with every job; give them an index, or a reason in MAY_SCAN:\n\n{}",
        told.join("\n\n")
    );
    for ((part, _), times) in MAY_SCAN.iter().zip(allowed) {
        assert_eq!(times, 1, "as many statements scan because of `{part}`");
    }
}
