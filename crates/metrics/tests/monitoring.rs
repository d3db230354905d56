//! Alarms and dashboard against the table of metrics and the page for those on call.

#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::collections::BTreeSet;
use std::path::Path;

use filejobs_metrics::table::{ALL, OF_THE_PROCESS};
use filejobs_metrics::{Descriptor, Kind};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::token::{T_LOR, TokenType};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    #[serde(rename = "alert")]
    name: String,
    expr: String,
    #[serde(rename = "for", default)]
    _for: Option<String>,
    labels: Labels,
    annotations: Annotations,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    severity: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    summary: String,
    description: String,
    runbook_url: String,
}

/// The labels by which installations are told apart. Whoever reads the metrics adds them: see the chart's `ServiceMonitor`.
const PLACE: [&str; 2] = ["namespace", "installation"];

fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

fn alerts() -> Vec<Alert> {
    let rules: Rules = serde_saphyr::from_str(&file("monitoring/alerts.yaml")).unwrap();
    let names: BTreeSet<_> = rules.groups.iter().map(|group| &group.name).collect();
    assert_eq!(names.len(), rules.groups.len(), "a group stands twice");
    rules.groups.into_iter().flat_map(|g| g.rules).collect()
}

/// Every series that an expression asks for.
#[derive(Default)]
struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.0.push(matrix.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// Where an expression puts together or compares figures of several installations.
#[derive(Default)]
struct Mixed(Vec<String>);

impl ExprVisitor for Mixed {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        let keeps = |labels: &Option<LabelModifier>, unless_said: bool| match labels {
            None => unless_said,
            Some(LabelModifier::Include(kept)) => {
                PLACE.iter().all(|l| kept.labels.iter().any(|k| k == l))
            }
            Some(LabelModifier::Exclude(gone)) => {
                PLACE.iter().all(|l| gone.labels.iter().all(|g| g != l))
            }
        };
        let is_apart = match expr {
            Expr::Aggregate(aggregate) => keeps(&aggregate.modifier, false),
            // What stands behind `or` is taken only where there is nothing before it: nothing is compared.
            Expr::Binary(binary) if binary.op == TokenType::new(T_LOR) => true,
            Expr::Binary(binary) => {
                let modifier = binary.modifier.as_ref();
                modifier.is_none_or(|modifier| keeps(&modifier.matching, true))
            }
            _ => true,
        };
        if !is_apart {
            self.0.push(expr.to_string());
        }
        Ok(true)
    }
}

/// The parts of an expression in which installations are mixed.
fn mixed(expr: &str) -> Vec<String> {
    let mut mixed = Mixed::default();
    let Ok(_) = walk_expr(&mut mixed, &parser::parse(expr).unwrap());
    mixed.0
}

/// What is wrong with an expression: its syntax, its metrics, their labels.
fn wrong(expr: &str) -> Vec<String> {
    let parsed = match parser::parse(expr) {
        Ok(parsed) => parsed,
        Err(problem) => return vec![problem],
    };
    let mut selectors = Selectors::default();
    let Ok(_) = walk_expr(&mut selectors, &parsed);
    let mut wrong = Vec::new();
    for selector in &selectors.0 {
        let name = selector.name.as_deref().unwrap_or_default();
        if OF_THE_PROCESS.contains(&name) {
            continue;
        }
        match ALL.iter().find(|metric| has_series(metric, name)) {
            Some(metric) => {
                let matchers = selector.matchers.matchers.iter();
                let unknown = matchers.filter(|matcher| !matches_something(metric, matcher));
                wrong.extend(unknown.map(|matcher| format!("{name}: {matcher}")));
            }
            None => wrong.push(format!("there is no metric `{name}`")),
        }
    }
    if selectors.0.is_empty() {
        wrong.push("it asks for nothing".to_owned());
    }
    wrong
}

fn has_series(metric: &Descriptor, name: &str) -> bool {
    match metric.kind {
        Kind::Counter | Kind::Gauge => metric.name == name,
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|part| name.strip_suffix(part) == Some(metric.name)),
    }
}

/// Whether at least one value of the label can match.
fn matches_something(metric: &Descriptor, matcher: &Matcher) -> bool {
    if PLACE.contains(&matcher.name.as_str()) {
        return true;
    }
    let Some(label) = metric
        .labels
        .iter()
        .find(|label| label.name == matcher.name)
    else {
        return false;
    };
    let Some(values) = label.values.known() else {
        return true;
    };
    match &matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => values.contains(&matcher.value.as_str()),
        // Each alternative on its own: a misspelt one must not hide behind the others.
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').all(|part| {
            let known = |value: &&str| match part.strip_suffix(".+") {
                Some(begin) => value.starts_with(begin),
                None => *value == part,
            };
            values.iter().any(known)
        }),
    }
}

#[test]
fn every_alarm_can_be_read_and_asks_for_metrics_and_labels_that_exist() {
    for alert in alerts() {
        assert_eq!(wrong(&alert.expr), Vec::<String>::new(), "{}", alert.name);
    }
}

#[test]
fn a_misspelt_metric_label_or_value_is_found() {
    for (expr, found) in [
        ("sum(filejobs_jobs_finish_total) > 0", true),
        (
            "sum(filejobs_jobs_finished_total{outcom=\"failed\"}) > 0",
            true,
        ),
        (
            "sum(filejobs_jobs_finished_total{outcome=\"fail\"}) > 0",
            true,
        ),
        (
            "sum(filejobs_queue_tasks{state=~\"pending|publish\"}) > 0",
            true,
        ),
        ("sum(filejobs_job_wait_seconds) > 0", true),
        ("sum(filejobs_jobs > 0", true),
        (
            "sum(filejobs_jobs_finished_total{outcome=\"failed\"}) > 0",
            false,
        ),
        ("sum(rate(filejobs_job_wait_seconds_sum[5m])) > 0", false),
    ] {
        assert_eq!(!wrong(expr).is_empty(), found, "{expr}: {:?}", wrong(expr));
    }
}

#[test]
fn each_installation_alarms_by_itself() {
    for alert in alerts() {
        assert_eq!(mixed(&alert.expr), Vec::<String>::new(), "{}", alert.name);
    }
}

#[test]
fn an_expression_that_mixes_installations_is_found() {
    for (expr, found) in [
        ("max(filejobs_workers) == 0", true),
        ("max by (namespace) (filejobs_workers) == 0", true),
        ("min without (installation) (filejobs_backend_up)", true),
        ("filejobs_workers > on () filejobs_dead_letters", true),
        (
            "filejobs_workers > ignoring (namespace) filejobs_dead_letters",
            true,
        ),
        ("min without (pod) (filejobs_backend_up) == 0", false),
        (
            "sum by (namespace, installation, code) (filejobs_workers) > 0",
            false,
        ),
        (
            "filejobs_workers > ignoring (pod) filejobs_dead_letters",
            false,
        ),
        (
            "filejobs_workers or on () absent(filejobs_build_info)",
            false,
        ),
    ] {
        assert_eq!(!mixed(expr).is_empty(), found, "{expr}: {:?}", mixed(expr));
    }
}

#[test]
fn every_alarm_has_a_section_for_who_is_on_call_and_every_section_an_alarm() {
    let page = file("docs/operations.md");
    let sections: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### Filejobs"))
        .map(|rest| format!("Filejobs{rest}"))
        .collect();
    let alerts = alerts();
    let names: Vec<_> = alerts.iter().map(|alert| alert.name.clone()).collect();
    assert_eq!(
        sections, names,
        "sections in docs/operations.md, in the order of the alarms"
    );
    for alert in &alerts {
        let name = &alert.name;
        let anchor = format!("docs/operations.md#{}", name.to_ascii_lowercase());
        let Annotations {
            summary,
            description,
            runbook_url,
        } = &alert.annotations;
        assert!(runbook_url.ends_with(&anchor), "{name}: {runbook_url}");
        assert!(
            !summary.is_empty() && !summary.ends_with('.'),
            "{name}: {summary}"
        );
        assert!(description.ends_with('.'), "{name}: {description}");
        let severity = alert.labels.severity.as_str();
        assert!(
            ["critical", "warning"].contains(&severity),
            "{name}: {severity}"
        );
    }
}

#[test]
fn every_panel_of_the_dashboard_asks_for_metrics_that_exist() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&file("monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets: Vec<_> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
        .collect();
    assert!(targets.len() >= panels.len() / 2);
    for target in targets {
        let expr = target["expr"].as_str().unwrap();
        // Grafana puts a time in its place.
        let expr = expr.replace("$__rate_interval", "5m");
        assert_eq!(wrong(&expr), Vec::<String>::new(), "{expr}");
        let mut selectors = Selectors::default();
        let Ok(_) = walk_expr(&mut selectors, &parser::parse(&expr).unwrap());
        for selector in &selectors.0 {
            for label in PLACE {
                let chosen = selector.matchers.find_matchers(label);
                let is_chosen = chosen.iter().any(|m| m.value == format!("${label}"));
                assert!(is_chosen, "{expr}: {label}");
            }
        }
    }
}
