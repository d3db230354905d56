//! Processes of the release before work on this schema: an upgrade migrates first and replaces processes one by one.
//!
//! What that release sends, and the migrations that it was made for, stand in `previous/release.json`; `cargo xtask
//! freeze` writes it when a release is made. The release's own code is not here: its statements are run as text.

mod fresh;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use filejobs_testkit::postgres::PostgresServer;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Either, Executor as _, PgConnection};
use sqlx::{SqlSafeStr as _, Statement as _, TypeInfo};

const STORE: &str = env!("CARGO_MANIFEST_DIR");

/// Constraints that are new or have changed since, as `TABLE.NAME`, and why the processes of the release before neither
/// break them nor are broken by what they let in.
const HARMLESS: &[(&str, &str)] = &[];

fn release() -> Value {
    let path = Path::new(STORE).join("previous/release.json");
    let text = std::fs::read_to_string(path).expect("read");
    serde_json::from_str(&text).expect("JSON")
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    let list = list.as_array().expect("a list").iter();
    list.map(|text| text.as_str().expect("text"))
}

/// The name of a database with the schema of the release before.
fn previous_database(server: &PostgresServer) -> String {
    let folder = Path::new(STORE).join("migrations");
    let release = release();
    let migrations = texts(&release["migrations"]).map(|name| folder.join(name));
    let migrations: Vec<_> = migrations.collect();
    server
        .create_at(&migrations)
        .expect("released migrations stay")
}

#[tokio::test]
async fn every_statement_of_the_release_before_means_the_same_on_this_schema() {
    let mut connection = PgConnection::connect(&fresh::database().await)
        .await
        .expect("connected");
    let release = release();
    let statements = release["statements"].as_array().expect("a list");
    assert!(!statements.is_empty());
    let mut broken = Vec::new();
    for statement in statements {
        let query = statement["query"].as_str().expect("text");
        let prepared = connection.prepare(AssertSqlSafe(query).into_sql_str());
        let prepared = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                broken.push(format!("{error}\n{query}"));
                continue;
            }
        };
        let columns = prepared.columns().iter();
        let columns: Vec<_> = columns
            .map(|column| (column.name(), column.type_info().name()))
            .collect();
        let known = statement["columns"].as_array().expect("a list").iter();
        let known: Vec<_> = known
            .map(|column| (column[0].as_str().unwrap(), column[1].as_str().unwrap()))
            .collect();
        let parameters = match prepared.parameters() {
            Some(Either::Left(types)) => types.iter().map(TypeInfo::name).collect(),
            _ => Vec::new(),
        };
        let taken: Vec<_> = texts(&statement["parameters"]).collect();
        if (&columns, &parameters) != (&known, &taken) {
            broken.push(format!(
                "{parameters:?} -> {columns:?}, not {taken:?} -> {known:?}\n{query}"
            ));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

/// What a statement gives for a schema: a name, and the rest of the line.
fn catalog(server: &PostgresServer, database: &str, statement: &str) -> BTreeMap<String, String> {
    let lines = server.run(database, statement).expect("read");
    let lines = lines.lines().filter_map(|line| line.split_once('|'));
    lines
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

/// Columns: type, and whether a statement that writes a row may leave it out.
const COLUMNS: &str = "SELECT c.relname || '.' || a.attname,
        format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || '|' ||
        (a.atthasdef OR a.attidentity <> '' OR NOT a.attnotnull)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations'
        AND a.attnum > 0 AND NOT a.attisdropped";

/// Constraints: kind, columns, definition.
const CONSTRAINTS: &str = "SELECT c.relname || '.' || o.conname,
        o.contype::text || '|' || COALESCE((SELECT string_agg(a.attname, ',' ORDER BY a.attname) FROM pg_attribute a
            WHERE a.attrelid = o.conrelid AND a.attnum = ANY (o.conkey)), '') || '|' ||
        pg_get_constraintdef(o.oid)
    FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> '_sqlx_migrations'";

#[tokio::test]
async fn the_tables_have_all_that_the_release_before_knows_and_ask_for_nothing_else() {
    let server = PostgresServer::shared();
    let previous = previous_database(server);
    let url = fresh::database().await;
    let now = url.rsplit('/').next().expect("the database's name");
    let read = |statement| {
        (
            catalog(server, &previous, statement),
            catalog(server, now, statement),
        )
    };
    let table = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let mut broken = Vec::new();

    let (known, columns) = read(COLUMNS);
    let tables: BTreeSet<String> = known.keys().map(|name| table(name)).collect();
    assert!(tables.contains("jobs"), "{tables:?}");
    for (name, facts) in &known {
        if columns.get(name) != Some(facts) {
            broken.push(format!("{name} was {facts}, is {:?}", columns.get(name)));
        }
    }
    for (name, facts) in &columns {
        let asked = facts.ends_with("|false");
        if asked && tables.contains(&table(name)) && !known.contains_key(name) {
            broken.push(format!("{name} must be given, and nobody knew it"));
        }
    }

    let (were, constraints) = read(CONSTRAINTS);
    for (name, facts) in &constraints {
        let on = facts.split('|').nth(1).unwrap_or_default().split(',');
        let mut on = on.map(|column| format!("{}.{column}", table(name)));
        let old = tables.contains(&table(name)) && on.any(|column| known.contains_key(&column));
        let harmless = HARMLESS.iter().any(|(known, _)| known == name);
        if old && !harmless && were.get(name) != Some(facts) {
            broken.push(format!("{name}: {facts}"));
        }
    }
    // Statements name what they would collide with.
    for (name, facts) in &were {
        if facts.starts_with(['p', 'u']) && constraints.get(name) != Some(facts) {
            broken.push(format!("{name} is gone: {facts}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
